"""What `explore` and `export` share: the options of a page, and its making."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from safelight.command.console import counting
from safelight.command.options import add_fields
from safelight.config.latent import PageConfig

if TYPE_CHECKING:
    from safelight.run import Run

__all__ = ["add_page", "page_config", "write_page"]


def add_page(group: Any) -> None:
    """The options for `write_page`."""
    add_fields(group, PageConfig())
    group.add_argument(
        "--no-images",
        action="store_true",
        help="leave the images themselves out; their names, labels and codes stay",
    )


def write_page(run: Run, path: str | os.PathLike[str], options: Namespace, overwrite: bool) -> Path:
    """Make the page that was asked for, with a bar for its t-SNE."""
    with counting("iterations") as count:
        return run.page(
            path,
            with_images=not options.no_images,
            overwrite=overwrite,
            on_progress=count,
            **asdict(page_config(options)),
        )


def page_config(options: Namespace) -> PageConfig:
    """What the options ask the page to show."""
    return PageConfig(**{field.name: options[field.name] for field in fields(PageConfig)})
