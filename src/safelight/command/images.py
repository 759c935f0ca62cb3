"""Which images a verb works on: a run's own, or others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import err, reading
from safelight.config.data import DataConfig
from safelight.errors import ConfigError
from safelight.files import printable

if TYPE_CHECKING:
    from safelight.data.images import ImageSet
    from safelight.latent.stored import StoredCodes
    from safelight.run import Run

__all__ = [
    "add_images",
    "add_keep_na",
    "add_source",
    "chosen_codes",
    "chosen_images",
    "fetched",
    "idle_of_labels",
    "say",
    "taken",
]


def add_source(group: Any, data: DataConfig) -> None:
    """The options for how pictures are labelled and grouped; a config's values are the defaults."""
    group.add_argument(
        "--labels",
        type=str,
        default=data.labels,
        metavar="folders|none|FILE",
        help="classes of pictures: their first folders, none, or a table of filename and label "
        "(default: folders)",
    )
    group.add_argument(
        "--encoding",
        type=str,
        default=data.encoding,
        help="of that table, such as cp1252, shift_jis or gbk",
    )
    add_keep_na(group, data.keep_na)
    group.add_argument(
        "--group-by",
        type=str,
        default=data.group_by,
        metavar="REGEX",
        help="pictures whose names agree in what this finds stay in one part, as of one patient",
    )


def idle_of_labels(labels: str | None) -> dict[str, str]:
    """Which of these options would do nothing with `--labels` as it is, and why."""
    found = {}
    if labels in (None, "folders", "none"):
        found["--encoding"] = (
            f"--labels {labels} names no table" if labels else "without --labels there is no table"
        )
    if labels == "none":
        found["--keep-na"] = "--labels none leaves no labels"
    return found


def add_keep_na(group: Any, default: bool = False) -> None:
    """The option for classes that are called like nothing."""
    group.add_argument(
        "--keep-na",
        action="store_true",
        default=default,
        help="take NA, none, null, ? and the like for classes, not for labels that are not known",
    )


def add_images(parser: ArgumentParser, what: str = "named set, file or folder of images") -> None:
    """The options for `chosen_images`."""
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("data", type=str, nargs="?", help=f"{what} (default: the run's own)")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="which of them (default: train of the run's own, all of others)",
    )


def chosen_images(run: Run, options: Namespace) -> ImageSet:
    """The images that were asked for."""
    if options.data is None:
        return run.images(options.split or "train")
    from safelight.data.sources import load_for

    if options.split is None:
        return taken(run, options.data)
    with reading() as on_reading:
        return load_for(fetched(options.data), DataConfig(), run.config.image, options.split, on_reading)


def chosen_codes(run: Run, options: Namespace) -> StoredCodes | None:
    """The codes that were asked for in place of images; None where there are none.

    Raises:
        ConfigError: a split of them was asked for, too.
    """
    found = None if options.data is None else run.stored(options.data)
    if found is not None and options.split is not None:
        raise ConfigError("--split would do nothing here: codes are not divided; leave it out")
    return found


def say(notes: Iterable[str]) -> None:
    """Notes on what came in, a line each."""
    for note in notes:
        err.print(printable(note), markup=False)


def taken(run: Run, data: str) -> ImageSet:
    """Images as a run takes them: fitted as its own were, read under a bar; what was done to them is said."""
    with reading() as on_reading:
        images = run.taken(fetched(data), on_reading)
    say(images.notes)
    return images


def fetched(data: str) -> str:
    """What was asked for; a named set is downloaded, under a bar, where it is not here yet."""
    from safelight.data.named_sets import NAMED_SETS, fetch, is_cached

    if data in NAMED_SETS and not is_cached(data):
        fetch(data, progress=err.is_terminal)
    return data
