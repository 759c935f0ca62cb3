"""`python -m safelight`."""

import sys

from safelight.command.main import main

if __name__ == "__main__":
    sys.exit(main())
