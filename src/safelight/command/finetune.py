"""`safelight finetune`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out, progress, stop_on_signals
from safelight.command.images import add_keep_na, fetched, idle_of_labels
from safelight.command.options import add_fields, is_given
from safelight.command.verb import Idle, Verb
from safelight.config.reading import fields_of
from safelight.config.task import ClassifyConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

if TYPE_CHECKING:
    from safelight.run import Run

__all__ = ["VERB"]

DEFAULTS = {
    "epochs": "4, or with few images as many as make 1500 batches",
    "batch_size": "128",
    "lr": "0.004, of a fine-tuned encoder 0.001",
}
UNEQUAL = 3  # times as many labels of one class as of another


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    run = parser.add_argument_group("The run")
    run.add_argument("run", type=str, nargs="?", help="run folder to start from")
    run.add_argument(
        "data", type=str, nargs="?", help="named set, file or folder of images (default: the run's own)"
    )
    run.add_argument("--out", type=str, help="run folder to make")
    run.add_argument("--overwrite", action="store_true", help="replace a run that is in --out")
    run.add_argument("--resume", type=str, metavar="RUN", help="continue this run")
    labels = parser.add_argument_group("The labels")
    labels.add_argument(
        "--labels",
        type=str,
        metavar="FILE",
        help="table of filename and label; images without a name are called by their places, from 0 "
        "(default: the set's own labels)",
    )
    labels.add_argument("--encoding", type=str, help="of the table, such as cp1252, shift_jis or gbk")
    add_keep_na(labels)
    labels.add_argument(
        "--labels-per-class", type=int, help="use only so many labels of each class, drawn by --seed"
    )
    labels.add_argument("--supervised-only", action="store_true", help="leave the unlabelled images alone")
    images = parser.add_argument_group("The images")
    images.add_argument("--limit", type=int, help="train on only this many images")
    images.add_argument(
        "--validation", type=int, help="number of validation images (default: the run's, of the same images)"
    )
    network = parser.add_argument_group("The network")
    network.add_argument(
        "--from-scratch", action="store_true", help="leave the run's weights and codes alone, to compare"
    )
    network.add_argument(
        "--model",
        choices=("classifier", "fine-tuned"),
        help="a small network of its own, or the run's encoder with a linear layer "
        "(default: classifier; with --supervised-only fine-tuned)",
    )
    add_fields(parser.add_argument_group("The task"), ClassifyConfig(), given_only=True)
    training = parser.add_argument_group("The training")
    add_fields(training, TrainingConfig(), given_only=True, defaults=DEFAULTS)


def _run(options: Namespace, arguments: list[str]) -> None:
    names = {*fields_of(ClassifyConfig), *fields_of(TrainingConfig)} - {"name"}
    settings = {name: options[name] for name in sorted(names) if is_given(options.get(name))}
    if options.resume:
        others = [word for word in arguments if word.startswith("--") and not word.startswith("--resume")]
        if options.run or others:
            raise ConfigError(f"--resume goes on as the run began; drop {options.run or others[0]}")
    elif not options.run:
        raise ConfigError("finetune: expected a run to start from, such as runs/first")
    elif not options.out:
        raise ConfigError("finetune: expected --out, the run folder to make, such as --out runs/digits")
    from safelight import api

    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step, on_reading):
        if options.resume:
            run = api.resume(options.resume, on_epoch=on_epoch, on_step=on_step, progress=False)
        else:
            run = api.finetune(
                options.run,
                fetched(options.data or _own_images(options.run)),
                options.labels,
                options.out,
                encoding=options.encoding,
                keep_na=options.keep_na,
                labels_per_class=options.labels_per_class,
                supervised_only=options.supervised_only,
                from_scratch=options.from_scratch,
                network=options.model,
                validation=options.validation,
                limit=options.limit,
                overwrite=options.overwrite,
                command=shlex.join(["safelight", "finetune", *arguments]),
                on_reading=on_reading,
                on_epoch=on_epoch,
                on_step=on_step,
                progress=False,
                **settings,
            )
    _tell(run)


def _own_images(run: str) -> str:
    """What a run was trained on."""
    from safelight.runs.folder import RunFolder

    source = RunFolder(run).read_config().data.source
    if source is None:
        raise ConfigError(f"finetune: {run} was trained on images handed over in Python; name some images")
    return source


def _tell(run: Run) -> None:
    """What the labels were and how far to trust what came of them."""
    import numpy as np

    from safelight.data.label_files import UNKNOWN
    from safelight.reporting.summary import counted
    from safelight.runs.folder import CROSS_VALIDATED

    task = run.config.task
    known = np.asarray(run.images("train").labels)
    counts = np.bincount(known[known != UNKNOWN])
    out.print(
        f"Labels:     {counts.sum()} of {len(counts)} classes, {counts.min()} to {counts.max()} of each"
    )
    if counts.max() > UNEQUAL * counts.min() and isinstance(task, ClassifyConfig) and not task.balance:
        out.print("            --balance draws every class as often")
    for note in run.config.notes:
        out.print(f"            {note.removeprefix('labels: ')}", markup=False)
    found, folder = run.folder.read_evaluation().get(CROSS_VALIDATED), name_of(run.path)
    if found:
        of = f"{found['accuracy_low']:.1f} to {found['accuracy_high']:.1f}% by Wilson's interval"
        out.print(f"Accuracy:   {found['accuracy']:.1f}% {CROSS_VALIDATED} ({of}), on {counted(found)}")
        out.print(f"            {found['method']}")
    out.print(f"Run folder: {folder}")
    verb = "report" if found else "evaluate"
    out.print(f"Next:       safelight {verb} {folder} && safelight classify {folder} IMAGES --out found.csv")


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    return {} if options.resume else idle_of_labels(options.labels)  # which refuses all others itself


VERB = Verb(
    "finetune",
    "train a classifier from a run and a few labels",
    "Train a classifier: labels are spread from a few images over those that a run finds alike.",
    (
        "safelight finetune runs/first mnist --labels-per-class 10 --out runs/digits",
        "safelight finetune runs/photos photos/ --labels labels.csv --out runs/mine",
        "safelight finetune --resume runs/mine",
    ),
    _add_options,
    _run,
    _idle,
)
