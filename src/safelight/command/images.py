"""Which images a verb works on: a run's own, or others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import err

if TYPE_CHECKING:
    from safelight.data.images import ImageSet
    from safelight.run import Run

__all__ = ["add_images", "chosen_images", "fetched"]


def add_images(parser: ArgumentParser) -> None:
    """The options for `chosen_images`."""
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "data", type=str, nargs="?", help="named set, file or folder of images (default: the run's own)"
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="which of them (default: train of the run's own, all of others)",
    )


def chosen_images(run: Run, options: Namespace) -> ImageSet:
    """The images that were asked for."""
    if options.data is None:
        return run.images(options.split or "train")
    from safelight.data import sources

    return sources.load(fetched(options.data), options.split, accept=run.check_shape)


def fetched(data: str) -> str:
    """What was asked for; a named set is downloaded, under a bar, where it is not here yet."""
    from safelight.data.named_sets import NAMED_SETS, fetch, is_cached

    if data in NAMED_SETS and not is_cached(data):
        fetch(data, progress=err.is_terminal)
    return data
