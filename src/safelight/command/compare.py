"""`safelight compare`."""

from __future__ import annotations

import json
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from safelight.command.console import name_of, out, storing
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("runs", type=str, nargs="+", help="run folders")
    parser.add_argument(
        "--out", type=str, default="compare.png", help="where the picture goes (default: compare.png)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.files import new_file
    from safelight.reporting.comparison import compare, draw_comparison
    from safelight.runs.folder import RunFolder

    folders = [RunFolder(run) for run in options.runs]
    path = new_file(options.out, [".png"], options.overwrite)
    rows = compare(folders)
    with storing(lambda: draw_comparison(folders, path)):
        if options.json:
            print(json.dumps(rows, indent=2))
        else:
            out.print(_table(rows))
    if not options.json:
        out.print(f"Picture: {name_of(path)}")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for heading in ("", *(row["run"] for row in rows)):
        table.add_column(escape(heading), justify="right" if heading else "left")
    for name in list(rows[0])[1:]:
        values = (row[name] for row in rows)
        cells = (f"{v:.2f}" if isinstance(v, float) else "–" if v is None else str(v) for v in values)
        table.add_row(name.replace("_", " "), *map(escape, cells))
    return table


VERB = Verb(
    "compare",
    "print and draw runs side by side",
    "Print and draw runs side by side.",
    ("safelight compare runs/first runs/second",),
    _add_options,
    _run,
)
