"""`safelight sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from safelight.command.console import name_of, out
from safelight.command.verb import Idle, Verb
from safelight.config.reading import check
from safelight.errors import DataError

if TYPE_CHECKING:
    from safelight.data.images import ImageSet
    from safelight.run import Run

__all__ = ["VERB"]

MAX_COUNT = 10_000  # images that one sheet holds
JUDGED = 10_000


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("-n", "--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument(
        "--method",
        choices=("prior", "mixture"),
        help="draw from the prior, or from a Gaussian mixture fitted to the training codes (default: prior "
        "where there is one, else mixture)",
    )
    parser.add_argument(
        "--label", type=str, help="draw from a mixture fitted to the class of this name alone"
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes the draws (default: 0)")
    parser.add_argument(
        "--out",
        type=str,
        default="samples.png",
        help="one picture, ending in .png, or a new folder of them (default: samples.png)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that is there")
    parser.add_argument(
        "--judge",
        type=str,
        metavar="RUN",
        help="also judge 10,000 samples of each method by this run's classifier",
    )


def _run(options: Namespace, arguments: list[str]) -> None:
    import numpy as np

    from safelight.data.pictures import png
    from safelight.files import new_file, new_folder, write_file
    from safelight.latent.sampling import nearest_images, sampling_method
    from safelight.latent.sheets import sample_sheet, write_samples
    from safelight.run import Run

    check(1 <= options.count <= MAX_COUNT, "count", f"1 to {MAX_COUNT:,}", options.count)
    as_file = bool(Path(options.out).suffix)
    path = new_file(options.out, [".png"], options.overwrite) if as_file else new_folder(options.out)
    run, judge = Run(options.run), Run(options.judge) if options.judge else None
    if judge is not None:  # before any work is done
        judge.check_shape(run.config.image.shape)
    samples = run.sample(options.count, options.method, options.label, options.seed)
    method = sampling_method(options.count, options.method, options.label, run.prior is not None)
    words = {"prior": "drawn from the prior", "mixture": "drawn from a mixture fitted to the codes"}[method]
    words += "" if options.label is None else f" of class {options.label}"
    train = _training_images(run)
    if as_file:
        write_file(path, png(sample_sheet(samples, words, train)))
    else:
        path.mkdir(exist_ok=True)
        write_samples(path, samples, train)
    out.print(f"{len(samples)} images, {words}: {name_of(path)}")
    if train is not None:
        _, distances = nearest_images(samples, train)
        out.print(
            f"Distance to the nearest training image: median {np.median(distances):.3f}, least "
            f"{distances.min():.3f} (root mean square of pixels in [0, 1])"
        )
    if judge is not None:
        _print_judgement(run, judge, options.seed)


def _print_judgement(run: Run, judge: Run, seed: int) -> None:
    from safelight.latent.codes import some_images
    from safelight.latent.judging import judge_samples
    from safelight.latent.sampling import METHODS

    table = Table(title=f"{JUDGED:,} samples of each method, judged by {escape(str(judge.path))}")
    for heading in ("drawn from the", "Fréchet distance", "precision", "recall"):
        table.add_column(heading, justify="left" if heading == "drawn from the" else "right")
    real = some_images(run.images("train"), JUDGED)
    for method in METHODS[1:] if run.prior is None else METHODS:
        seen = (real.floats(chunk).numpy() for chunk in real.chunks())
        found = judge_samples(judge.network, seen, run.sample_parts(JUDGED, method, seed=seed))
        table.add_row(method, *(f"{found[name]:.3f}" for name in ("frechet", "precision", "recall")))
    out.print(table)
    out.print("In the features of that classifier: not comparable with an Inception FID.")


def _training_images(run: Run) -> ImageSet | None:
    """None, and a line that says why, where they are gone."""
    try:
        return run.images("train")
    except DataError as error:
        out.print(f"Note: no nearest training images: {error}", markup=False)
        return None


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    found = {}
    if not Path(options.out).suffix:
        found["--overwrite"] = "a folder of samples must be new or empty"
    if options.judge:
        found["--label"] = "--judge looks at samples of all classes"
    return found


VERB = Verb(
    "sample",
    "draw new images",
    "Draw new images, and show the training images nearest to them.",
    (
        "safelight sample runs/first -n 64 --out samples.png",
        "safelight sample runs/first --method mixture --label 3 --out threes/",
    ),
    _add_options,
    _run,
    _idle,
)
