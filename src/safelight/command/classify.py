"""`safelight classify`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.images import taken
from safelight.command.verb import Idle, Verb
from safelight.errors import ConfigError

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder of a classifier")
    parser.add_argument("data", type=str, help="named set, file or folder of images")
    parser.add_argument(
        "--out",
        type=str,
        required=True,
        help="file to write: .csv with name, label, probability, whether the image is unlike those trained "
        "on, and each class's probability; .npy with these alone",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--min-probability",
        type=float,
        default=0.0,
        help="leave the label empty where the likeliest class is less probable (default: 0)",
    )


def _run(options: Namespace, arguments: list[str]) -> None:
    if not 0 <= options.min_probability <= 1:
        raise ConfigError(f"--min-probability: expected 0 to 1, got {options.min_probability}")
    from safelight.data.label_files import names_of
    from safelight.files import new_file
    from safelight.labels.predictions import write_predictions
    from safelight.run import Run

    path = new_file(options.out, [".csv", ".npy"], options.overwrite)
    run = Run(options.run)
    images = taken(run, options.data)
    found = run.classify(images)
    write_predictions(path, names_of(images), found, options.min_probability)
    names = found.names(options.min_probability)
    for name in found.classes:
        out.print(f"{names.count(name):8d}  {name}", markup=False)
    if options.min_probability:
        out.print(f"{names.count(None):8d}  less probable than {options.min_probability:g}")
    if found.unlike is not None:
        out.print(f"{int(found.unlike.sum()):8d}  unlike those that were trained on, marked as such")
    out.print(f"Written to {name_of(path)}")


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    is_array = options.out.lower().endswith(".npy")
    return {"--min-probability": "an .npy file holds every probability and no label"} if is_array else {}


VERB = Verb(
    "classify",
    "tell which class images are of",
    "Tell which class images are of, and how surely.",
    (
        "safelight classify runs/digits new/ --out found.csv",
        "safelight classify runs/digits images.npy --min-probability 0.9 --out found.csv",
    ),
    _add_options,
    _run,
    _idle,
)
