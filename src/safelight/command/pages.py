"""What `explore` and `export` share: the options of a page, and its making."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from safelight.command.console import counting

if TYPE_CHECKING:
    from safelight.run import Run

__all__ = ["add_page", "write_page"]


def add_page(group: Any) -> None:
    """The options for `write_page`."""
    group.add_argument("--n", type=int, help="the most training images to show (default: 10000)")
    group.add_argument(
        "--no-images",
        action="store_true",
        help="leave the images themselves out; their names, labels and codes stay",
    )


def write_page(run: Run, path: str | os.PathLike[str], options: Namespace, overwrite: bool) -> Path:
    """Make the page that was asked for, with a bar for its t-SNE."""
    size = {} if options.n is None else {"n": options.n}
    with counting("iterations") as count:
        return run.page(
            path, with_images=not options.no_images, overwrite=overwrite, on_progress=count, **size
        )
