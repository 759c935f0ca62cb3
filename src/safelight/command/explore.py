"""`safelight explore`."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import err, name_of, out
from safelight.command.pages import add_page, write_page
from safelight.command.verb import Verb

if TYPE_CHECKING:
    from safelight.run import Run

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    add_page(parser)
    parser.add_argument("--rebuild", action="store_true", help="make the page again")
    parser.add_argument("--port", type=int, default=0, help="to listen on (default: one that is free)")
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="address to listen on; by others than 127.0.0.1, other machines see the images "
        "(default: 127.0.0.1)",
    )


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.explorer.serving import Served, serve
    from safelight.run import Run

    run = Run(options.run)
    path = run.folder.page
    if options.rebuild or options.n is not None or options.no_images or not _is_current(path, run):
        write_page(run, path, options, overwrite=True)
        out.print(f"Page: {name_of(path)}")
    page = Served("text/html; charset=utf-8", path.read_bytes())
    with serve({"/": page}, options.host, options.port) as server:
        out.print(f"{server.url} (Ctrl-C ends)")
        if err.is_terminal:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print("Stopped.")


def _is_current(path: Path, run: Run) -> bool:
    """Whether the page is there, and no older than the weights."""
    weights = run.path / run.folder.trained
    return path.is_file() and not path.is_symlink() and path.stat().st_mtime >= weights.stat().st_mtime


VERB = Verb(
    "explore",
    "walk through the latent space in a browser",
    "Make the run's page if there is none yet, and serve it to this machine's browser: a map of the codes, "
    "walks, sliders, drawing, new images, labels.",
    ("safelight explore runs/first", "safelight explore runs/first --n 70000 --port 8000"),
    _add_options,
    _run,
)
