"""`safelight traverse`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.images import add_images, chosen_images
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    add_images(parser)
    parser.add_argument("--steps", type=int, default=9, help="images a dimension (default: 9)")
    parser.add_argument(
        "--out", type=str, default="traversals.png", help="the picture to make (default: traversals.png)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.files import new_file, write_file
    from safelight.latent.charts import traversal_chart
    from safelight.reporting.charts import LIGHT, render
    from safelight.run import Run

    path = new_file(options.out, [".png"], options.overwrite)
    run = Run(options.run)
    found, images = run.traverse(chosen_images(run, options), options.steps)
    write_file(path, render(traversal_chart(found, images, LIGHT)))
    out.print(f"{len(images)} dimensions, the most telling first: {name_of(path)}")


VERB = Verb(
    "traverse",
    "draw what each dimension of the code does",
    "Draw what each dimension of the code does, over the range that the images' codes have in it; the most "
    "telling first.",
    ("safelight traverse runs/first --out traversals.png",),
    _add_options,
    _run,
)
