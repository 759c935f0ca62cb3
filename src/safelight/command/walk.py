"""`safelight walk`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.verb import Verb

__all__ = ["VERB"]

COLUMNS = 12


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    for name in ("start", "end"):
        parser.add_argument(name, type=str, help="a picture, or an image's place in the run's set, from 0")
    parser.add_argument("--steps", type=int, default=12, help="number of images (default: 12)")
    parser.add_argument(
        "--path",
        choices=("linear", "spherical", "flow"),
        help="the way between both codes: linear, spherical, or flow, straight among the numbers that the "
        "prior's flow makes codes of (default: flow where the prior is one, else spherical)",
    )
    parser.add_argument("--out", type=str, default="walk.png", help="the picture to make (default: walk.png)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.data.pictures import png, tile
    from safelight.files import new_file, write_file
    from safelight.latent.walks import walk_path
    from safelight.run import Run
    from safelight.tasks.priors import Flow

    path = new_file(options.out, [".png"], options.overwrite)
    start, end = (int(text) if text.isdecimal() else text for text in (options.start, options.end))
    run = Run(options.run)
    images = run.walk(start, end, options.steps, options.path)
    write_file(path, png(tile(images, COLUMNS)))
    way = walk_path(options.path, isinstance(run.prior, Flow))
    out.print(f"A {way} walk of {len(images)} steps: {name_of(path)}")


VERB = Verb(
    "walk",
    "draw the way from one image's code to another's",
    "Draw the images on the way from one image's code to another's.",
    ("safelight walk runs/first a.png b.png --steps 12 --out walk.png", "safelight walk runs/first 0 1"),
    _add_options,
    _run,
)
