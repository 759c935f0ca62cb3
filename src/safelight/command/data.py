"""`safelight data`."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from safelight.command.console import err, name_of, out, reading
from safelight.command.images import add_source, fetched, idle_of_labels
from safelight.command.options import add_fields, make_parser
from safelight.command.verb import Idle, Verb
from safelight.config.data import DataConfig, FitOptions
from safelight.files import new_file, printable

if TYPE_CHECKING:
    from safelight.data.checking import Check

__all__ = ["VERB"]


PAGE = "check.html"


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    actions = parser.add_subcommands(dest="action", required=True)
    check = make_parser(
        "Look through a set of images: what is there, what is wrong, what is there twice. It is read as "
        "train reads it, and kept, so that a training with the same options starts at once.",
        "safelight data check photos/",
        "safelight data check photos/ --size 64 --json | jq .findings.near.count",
    )
    check.add_argument("source", type=str, help="named set, file or folder of images")
    check.add_argument("--out", type=str, help=f"where the page goes (default: {PAGE}, and none with --json)")
    check.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument("--strict", action="store_true", help="exit with 2 if any picture was left out")
    add_source(check, DataConfig())
    add_fields(check, FitOptions())
    actions.add_subcommand("check", check, help="say what is in a set of images, and what is wrong with it")
    listing = make_parser(
        "List the named sets, and the pictures that are kept in the cache.", "safelight data list"
    )
    actions.add_subcommand("list", listing, help="list the named sets, and what is kept in the cache")
    clear = make_parser(
        "Free what is kept of pictures that were read; they are read again when they are needed.",
        "safelight data clear",
    )
    actions.add_subcommand("clear", clear, help="free what is kept of pictures that were read")
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
    actions = {"check": _check, "list": _list, "clear": _clear, "fetch": _fetch, "moved": _move}
    actions[options.action](options[options.action])


def _check(options: Namespace) -> None:
    fit = FitOptions(**{field.name: options[field.name] for field in dataclasses.fields(FitOptions)})
    data = DataConfig(
        labels=options.labels,
        group_by=options.group_by,
        encoding=options.encoding,
        keep_na=options.keep_na,
    )
    path = None
    if options.out or not options.json:
        path = new_file(options.out or PAGE, [".html"], options.overwrite)  # before minutes of reading
    from safelight.data.checking import check_source

    with reading() as on_reading:
        check, images = check_source(fetched(options.source), data, fit, on_reading)
    if options.json:
        print(json.dumps(check.to_dict(), indent=2))
    else:
        for note in check.notes:
            err.print(printable(note), markup=False)
        out.print(_summary(check) if check.faults else "Nothing is wrong with these images")
    if path is not None:
        from safelight.reporting.check import write_check

        write_check(path, check, images)
        if not options.json:
            out.print(f"Page: {name_of(path)}")
    if options.strict:
        from safelight.data.finding import refuse_left_out

        refuse_left_out(images)


def _summary(check: Check) -> Table:
    """The faults that were found, with an example of each."""
    table = Table()
    table.add_column("found")
    table.add_column("", justify="right")
    table.add_column("such as")
    for found in check.faults:
        row = found.rows[0]
        example = " and ".join(row.names) + (f" ({row.remark})" if row.remark else "")
        table.add_row(found.kind.title, f"{found.count:,}", escape(printable(example)))
    return table


def _list(options: Namespace) -> None:
    from safelight.data import sources
    from safelight.data.store import stores

    table = Table()
    for heading in ("name", "images", "size", "here", "what it is"):
        table.add_column(heading)
    for name, images, size, here, description in sources.overview():
        table.add_row(name, images, size, "yes" if here else "no", description)
    out.print(table)
    found = stores()
    if found:
        table = Table(title="Pictures that were read, kept until safelight data clear", title_justify="left")
        for heading in ("pictures from", "images", "fitted to", "size", "last used"):
            table.add_column(heading)
        for kept, store in reversed(found):
            used = datetime.datetime.fromtimestamp(kept.used).strftime("%Y-%m-%d %H:%M") if kept.used else "–"
            what = ("not finished", "–", "–")
            if store is not None:
                shape = f"{store.fit.width}×{store.fit.height}×{store.fit.channels}"
                what = (escape(printable(store.source)), f"{store.count:,}", shape)
            table.add_row(*what, _size(kept.size), used)
        out.print(table)
        out.print(f"In all {_size(sum(kept.size for kept, _ in found))}.")
    out.print(
        "Also: a folder or zip file of pictures, Parquet files, a TIFF stack, .npy, .npz and IDX files."
    )


def _clear(options: Namespace) -> None:
    from safelight.data.cache import clear_kept, home

    count, size = clear_kept()
    sets = f"{count:,} set{'s' * (count != 1)} of pictures that were read"
    out.print(f"Freed {_size(size)} of {sets} in {name_of(home())}; named sets stay")


def _fetch(options: Namespace) -> None:
    from safelight.data.sources import fetch

    folder = fetch(options.name, progress=err.is_terminal)
    out.print(f"{options.name} is in {name_of(folder)}")


def _move(options: Namespace) -> None:
    place = _moved(options.run, options.place)
    out.print(f"{name_of(Path(options.run))} finds its images in {name_of(Path(place))}")


def _size(count: int) -> str:
    """Bytes as people read them.

    Example:
        >>> _size(12_700_000), _size(3_210_000_000)
        ('12.7 MB', '3.21 GB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


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


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    if options.action != "check":
        return {}
    chosen = options[options.action]
    has_page = chosen.out or not chosen.json
    found = {} if has_page else {"--overwrite": "--json without --out writes no page"}
    return found | idle_of_labels(chosen.labels)


VERB = Verb(
    "data",
    "look through sets of images; list, fetch and free them; say where a run's are now",
    "What is in sets of images; the sets that have names; what is kept in the cache; where a run's own are.",
    ("safelight data check photos/", "safelight data fetch mnist"),
    _add_options,
    _run,
    _idle,
)
