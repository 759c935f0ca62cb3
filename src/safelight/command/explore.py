"""`safelight explore`."""

from __future__ import annotations

import secrets
import webbrowser
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import err, name_of, out
from safelight.command.images import idle_of_labels
from safelight.command.pages import add_page, page_config, write_page
from safelight.command.verb import Idle, Verb
from safelight.errors import ConfigError

if TYPE_CHECKING:
    from safelight.explorer.serving import PageServer

__all__ = ["VERB"]


PORTS = range(20_000, 32_000)  # below those that systems give away
TRIED = 8


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "--labels",
        type=str,
        metavar="FILE",
        help="table that labels given in the page are kept in, as they are given (default: in the browser)",
    )
    parser.add_argument("--encoding", type=str, help="of that table, such as cp1252 or gbk")
    add_page(parser)
    parser.add_argument("--rebuild", action="store_true", help="make the page again")
    parser.add_argument(
        "--port",
        type=int,
        help="to listen on; 0 for one that is free (default: always the same for the same images, as "
        "browsers keep labels by it)",
    )
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="address to listen on; by others than 127.0.0.1, other machines see the images "
        "(default: 127.0.0.1)",
    )


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.explorer.bundling import made_of, with_label_file
    from safelight.explorer.labelling import LabelFile
    from safelight.explorer.serving import Served, serve
    from safelight.run import Run

    run = Run(options.run)
    labels = None if options.labels is None else LabelFile(options.labels, options.encoding)
    path = run.folder.page
    if options.rebuild or made_of(path) != run.made_of(page_config(options), not options.no_images):
        write_page(run, path, options, overwrite=True)
        out.print(f"Page: {name_of(path)}")
    content, token = path.read_bytes(), secrets.token_urlsafe()
    if labels is not None:
        content = with_label_file(content, labels.path.name, token)
        out.print(f"Labels: {name_of(labels.path)}, every change in {name_of(labels.changes)}")
    page = Served("text/html; charset=utf-8", content)
    first = PORTS[zlib.crc32(str(run.config.data.fingerprint).encode()) % len(PORTS)]
    ports = range(first, first + TRIED) if options.port is None else [options.port]
    with _listening(ports, lambda port: serve({"/": page}, options.host, port, labels, token)) as server:
        out.print(f"{server.url} (Ctrl-C ends)")
        if err.is_terminal:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print("Stopped.")


def _listening(ports: Sequence[int], listen: Callable[[int], PageServer]) -> PageServer:
    """A server on the first port that nobody listens on."""
    for port in ports[:-1]:
        try:
            return listen(port)
        except ConfigError as error:
            out.print(f"Note: {error}; trying the next, by which browsers keep other labels", markup=False)
    return listen(ports[-1])


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    return idle_of_labels(options.labels)


VERB = Verb(
    "explore",
    "walk through the latent space in a browser",
    "Make the run's page if there is none yet, and serve it to this machine's browser: a map of the codes, "
    "walks, sliders, drawing, new images, labels.",
    (
        "safelight explore runs/first --labels labels.csv",
        "safelight explore runs/first --n 70000 --map umap",
    ),
    _add_options,
    _run,
    _idle,
)
