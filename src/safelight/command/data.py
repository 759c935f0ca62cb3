"""`safelight data`."""

from __future__ import annotations

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


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.data import sources

    if options.action == "fetch":
        folder = sources.fetch(options.fetch.name, progress=err.is_terminal)
        out.print(f"{options.fetch.name} is in {name_of(folder)}")
        return
    table = Table()
    for heading in ("name", "images", "size", "here", "what it is"):
        table.add_column(heading)
    for name, images, size, here, description in sources.overview():
        table.add_row(name, images, size, "yes" if here else "no", description)
    out.print(table)
    out.print("Also: a folder of IDX files, a .npy or .npz file, a folder of PNG or JPEG files of one size.")


VERB = Verb(
    "data",
    "list or fetch named sets of images",
    "The named sets of images.",
    ("safelight data fetch mnist",),
    _add_options,
    _run,
)
