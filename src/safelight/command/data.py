"""`safelight data`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.table import Table

from safelight.command.console import err, name_of, out
from safelight.command.options import make_parser
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    actions = parser.add_subcommands(dest="action", required=True)
    listing = make_parser("List the named sets.", "safelight data list")
    actions.add_subcommand("list", listing, help="list the named sets")
    fetch = make_parser("Fetch a named set into the cache.", "safelight data fetch mnist")
    fetch.add_argument("name", type=str, help="name of the set")
    actions.add_subcommand("fetch", fetch, help="fetch a named set into the cache")
    moved = make_parser(
        "Say where the images of a run or a search are now; they must be the same.",
        "safelight data moved runs/photos /new/disk/photos",
    )
    moved.add_argument("run", type=str, help="folder of a run or a search")
    moved.add_argument("place", type=str, help="where its images are now")
    actions.add_subcommand("moved", moved, help="say where the images of a run or a search are now")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.data import sources

    if options.action == "fetch":
        folder = sources.fetch(options.fetch.name, progress=err.is_terminal)
        out.print(f"{options.fetch.name} is in {name_of(folder)}")
        return
    if options.action == "moved":
        place = _moved(options.moved.run, options.moved.place)
        out.print(f"{name_of(Path(options.moved.run))} finds its images in {name_of(Path(place))}")
        return
    table = Table()
    for heading in ("name", "images", "size", "here", "what it is"):
        table.add_column(heading)
    for name, images, size, here, description in sources.overview():
        table.add_row(name, images, size, "yes" if here else "no", description)
    out.print(table)
    out.print("Also: a folder of IDX files, a .npy or .npz file, a folder of PNG or JPEG files of one size.")


def _moved(path: str, place: str) -> str:
    """Write where the same images are now to a folder's config; the place as it stands there."""
    from safelight.data.finding import find_images
    from safelight.evolution.folder import SearchFolder
    from safelight.evolution.record import SearchRecord
    from safelight.runs.folder import RunFolder
    from safelight.runs.folders import kind_of

    folder = SearchFolder(path) if kind_of(path) == "search" else RunFolder(path)
    folder.read_config()  # before a lock is made in what may be neither
    with folder.locked():
        config = folder.read_config()
        run = config.base if isinstance(config, SearchRecord) else config
        source = find_images(run.data, run.image, folder.path, place).source
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, source=source))
        folder.write_config(
            dataclasses.replace(config, base=run) if isinstance(config, SearchRecord) else run
        )
    return str(source)


VERB = Verb(
    "data",
    "list or fetch named sets of images; say where a run's images are now",
    "The named sets of images, and the place of a run's own.",
    ("safelight data fetch mnist",),
    _add_options,
    _run,
)
