"""`safelight project`."""

from __future__ import annotations

import dataclasses

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import counting, name_of, out
from safelight.command.images import add_images, chosen_codes, chosen_images, say
from safelight.command.options import add_fields
from safelight.command.verb import Idle, Verb
from safelight.config.latent import MapConfig

__all__ = ["VERB"]

OF_METHOD = {"perplexity": "tsne", "neighbours": "umap"}


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    add_images(parser, "named set, file or folder of images, or of codes that embed wrote")
    parser.add_argument(
        "--out",
        type=str,
        default="map.png",
        help="the picture to make, or .parquet for the coordinates and how they were made (default: map.png)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--by",
        choices=("label", "cluster", "loss"),
        help="what the colours show (default: label where there are labels, else cluster)",
    )
    add_fields(parser.add_argument_group("The map"), MapConfig())


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.files import new_file, write_file
    from safelight.latent.charts import map_chart, map_words
    from safelight.latent.maps import write_map
    from safelight.reporting.charts import LIGHT, render
    from safelight.run import Run

    path = new_file(options.out, [".png", ".parquet"], options.overwrite)
    settings = {field.name: options[field.name] for field in dataclasses.fields(MapConfig)}
    run = Run(options.run)
    stored = chosen_codes(run, options)
    with counting("iterations") as count:
        found = run.project(stored or chosen_images(run, options), on_progress=count, **settings)
    say(stored.notes if stored else ())
    if path.suffix.lower() == ".png":
        write_file(path, render(map_chart(found, LIGHT, options.by)))
    else:
        write_map(found, path)
    for note in found.notes:
        out.print(f"Note: {note}", markup=False)
    for line in map_words(found):
        out.print(line, markup=False)
    out.print(f"Map: {name_of(path)}")


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    found = {
        f"--{name}": f"only --method {method} has one"
        for name, method in OF_METHOD.items()
        if options.method != method
    }
    if options.out.lower().endswith(".parquet"):
        found["--by"] = "a table of coordinates has no colours"
    return found


VERB = Verb(
    "project",
    "map the codes of images: PCA, t-SNE or UMAP",
    "Map the codes of images onto a plane or into space, and say how far the map can be trusted.",
    (
        "safelight project runs/first --method tsne --out tsne.png",
        "safelight project runs/first mnist --split test --dims 3 --n 2000 --sampled --out pca.png",
        "safelight project runs/first codes/ --method tsne",
    ),
    _add_options,
    _run,
    _idle,
)
