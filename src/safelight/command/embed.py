"""`safelight embed`."""

from __future__ import annotations

import time

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import counting, name_of, out
from safelight.command.images import add_images, chosen_images
from safelight.command.verb import Verb
from safelight.errors import Interrupted

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    add_images(parser)
    parser.add_argument(
        "--out", type=str, default="codes.parquet", help="the file to make (default: codes.parquet)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.run import Run

    run = Run(options.run)
    images = chosen_images(run, options)
    started = time.perf_counter()
    try:
        with counting("images") as count:
            path = run.embed(
                images, options.out, options.overwrite, on_progress=lambda done: count(done, len(images))
            )
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on from there") from None
    seconds = time.perf_counter() - started
    out.print(
        f"Codes of {len(images):,} images: {name_of(path)} ({len(images) / seconds:,.0f} images a second)"
    )


VERB = Verb(
    "embed",
    "write the codes of images into a Parquet file",
    "Write the codes of images into a Parquet file: name, label, mu, logvar, reconstruction loss. Killed, it "
    "goes on where it stopped when it is started again.",
    ("safelight embed runs/first mnist --split test --out codes.parquet",),
    _add_options,
    _run,
)
