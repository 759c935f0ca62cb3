"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or, after a kill or on a full disk, as it was before.

    Args:
        path: the file; its folder must be there.
        content: text is written as UTF-8.

    Raises:
        OSError: the disk is full, or the folder cannot be written.

    Example:
        >>> path = Path(tempfile.mkdtemp()) / "numbers.json"
        >>> write_atomically(path, "[1, 2]")
        >>> path.read_text()
        '[1, 2]'
    """
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
