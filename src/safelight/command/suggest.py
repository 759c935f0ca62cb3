"""`safelight suggest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.images import idle_of_labels, taken
from safelight.command.verb import Idle, Verb
from safelight.files import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safelight.data.images import ImageSet
    from safelight.run import Run

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder, of an autoencoder or a classifier")
    parser.add_argument(
        "data",
        type=str,
        nargs="?",
        help="named set, file or folder of images (default: those that the run was trained on)",
    )
    parser.add_argument("-n", "--count", type=int, default=50, help="images to label (default: 50)")
    parser.add_argument("--labels", type=str, metavar="FILE", help="table of those that are labelled already")
    parser.add_argument("--encoding", type=str, help="of that table, such as cp1252, shift_jis or gbk")
    parser.add_argument("--seed", type=int, default=0, help="fixes the choice (default: 0)")
    parser.add_argument("--out", type=str, required=True, help="table to write, its labels to be filled in")
    parser.add_argument("--sheet", type=str, help="page to write, of the images beside their names")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.data.label_files import names_of
    from safelight.files import new_file
    from safelight.labels.suggestion import suggest_images, write_suggestions
    from safelight.run import Run

    path = new_file(options.out, [".csv"], options.overwrite)
    sheet = options.sheet and new_file(options.sheet, [".html"], options.overwrite)
    run = Run(options.run)
    images, among = _chosen(run, options.data)
    found = run.classify(images) if run.config.task.name == "classify" else None
    chosen = suggest_images(
        run.network, images, options.count, options.labels, found, options.seed, options.encoding, among
    )
    names = names_of(images)
    write_suggestions(path, names, chosen)
    if sheet:
        from safelight.reporting.finds import card, write_finds

        cards = [card(images, [place], [names[place]], "") for place in chosen.tolist()]
        lead = f"{len(cards):,} of {len(images):,} images to label, those that stand for most others first."
        write_finds(
            sheet, "suggest", run.path.name, lead, [("To label", cards)], f"They go into {path.name}."
        )
        out.print(f"Page: {name_of(sheet)}")
    given = " ".join(filter(None, (options.run, options.data)))
    out.print(
        f"Written to {name_of(path)}: fill in the labels, then safelight finetune {printable(given)} "
        f"--labels {name_of(path)} --out RUN"
    )


def _chosen(run: Run, data: str | None) -> tuple[ImageSet, NDArray[np.int64] | None]:
    """The images, and where they are the run's own the places of those that it learns from."""
    if data is not None:
        images = taken(run, data)
        if not images.is_what(run.config.data.fingerprint):
            return images, None
    return run.whole()


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    return idle_of_labels(options.labels)


VERB = Verb(
    "suggest",
    "choose images to label",
    "Choose images to label: those that stand for many others, and that a classifier is unsure of.",
    ("safelight suggest runs/photos -n 50 --out to_label.csv --sheet to_label.html",),
    _add_options,
    _run,
    _idle,
)
