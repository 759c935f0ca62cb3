"""`safelight train`."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import advise, length_of, name_of, out, progress, stop_on_signals, tell
from safelight.command.images import add_source, fetched, idle_of_labels
from safelight.command.options import add_fields
from safelight.command.start import Start
from safelight.command.verb import Idle, Verb
from safelight.config.data import FitOptions
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

if TYPE_CHECKING:
    from safelight.runs.choosing import Plan

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    start = Start.read("train", arguments)
    run = parser.add_argument_group("The run")
    start.add_folder(run, "run", "epochs", "start from these settings")
    run.add_argument("--init-from", type=str, metavar="RUN", help="start from this run's weights")
    data = parser.add_argument_group("The images")
    data.add_argument("--limit", type=int, default=start.data.limit, help="train on only this many images")
    data.add_argument(
        "--validation",
        type=int,
        default=start.data.validation,
        help="number of validation images; 0 trains on all but the test images "
        "(default: a sixth of a named set, else a tenth)",
    )
    add_source(data, start.data)
    add_fields(data, start.fit)
    data.add_argument("--strict", action="store_true", help="refuse a set of which any picture is left out")
    run.add_argument(
        "--dry-run", action="store_true", help="say what would be trained on what, and train nothing"
    )
    network = parser.add_argument_group("The network")
    start.add_options(network, parser.add_argument_group("The task"), start.left_open("task"))
    add_fields(network, start.network, "network.", left_open=start.left_open("network"))
    training = parser.add_argument_group("The training")
    add_fields(training, start.training, left_open=start.left_open("training"))


def _run(options: Namespace, arguments: list[str]) -> None:
    start = Start.read("train", arguments)
    if options.resume:
        names = ("limit", "validation", "labels", "group_by", "encoding", "keep_na")
        expected = {name: getattr(start.data, name) for name in names}
        expected |= dataclasses.asdict(start.fit)
        network = dataclasses.asdict(start.network).items()
        expected |= {f"network.{name}": value for name, value in network if name != "name"}
        start.refuse_changes(options, "epochs", expected | dataclasses.asdict(start.training))
    elif not options.data:
        raise ConfigError(
            "train: expected data, such as mnist or a folder; safelight data list shows the named sets"
        )
    elif not (options.out or options.dry_run):
        raise ConfigError("train: expected --out, the run folder to make, such as --out runs/first")
    from safelight import api

    settings = {f.name: options[f.name] for f in dataclasses.fields(TrainingConfig)}
    fit = {f.name: options[f.name] for f in dataclasses.fields(FitOptions)}
    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step, on_reading):
        if options.resume:
            epochs = None if options.epochs == start.training.epochs else options.epochs
            run = api.resume(options.resume, epochs, on_epoch=on_epoch, on_step=on_step, progress=False)
        else:
            run = api.train(
                fetched(options.data),
                options.model,
                options.out,
                task=options.task,
                validation=options.validation,
                limit=options.limit,
                labels=options.labels,
                group_by=options.group_by,
                encoding=options.encoding,
                keep_na=options.keep_na,
                init_from=options.init_from,
                overwrite=options.overwrite,
                command=shlex.join(["safelight", "train", *arguments]),
                on_reading=on_reading,
                strict=options.strict,
                on_epoch=on_epoch,
                on_step=on_step,
                progress=False,
                on_start=_tell_and_stop if options.dry_run else tell,
                **fit,
                **settings,
                **start.settings(options),
                **vars(options.network),
            )
    advise(run)
    out.print(f"Run folder: {name_of(run.path)}")
    out.print(f"Next:       safelight evaluate {name_of(run.path)} && safelight report {name_of(run.path)}")


def _tell_and_stop(plan: Plan) -> None:
    """Say what would be trained, and end before it is."""
    from safelight.networks.table import cost

    tell(plan)
    config, image = plan.config, plan.config.image
    kind = f"{image.width}×{image.height}, {image.channels} channel{'s' * (image.channels > 1)}"
    parts = ", ".join(f"{count:,} {name}" for name, count in plan.images.items() if count)
    out.print(f"Images:     {kind}, {image.range[0]:g} to {image.range[1]:g}: {parts}")
    parameters, flops = cost(config.network, image)
    size = f"{parameters:,} parameters, {flops / 1e6:,.1f} MFLOP an image"
    out.print(f"Network:    {config.network.name}, {size}")
    out.print(f"Training:   {length_of(plan)} of {config.training.batch_size} images")
    out.print("Nothing was trained, as --dry-run asks")
    raise SystemExit(0)


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    network, found = options.network, Start.read("train", arguments).idle(options)
    if options.model == "denoising-unet" and network.attention == 0:
        found["--network.heads"] = "--network.attention is 0"
    return found | idle_of_labels(options.labels)


VERB = Verb(
    "train",
    "train a network on images",
    "Train a network. --model and --task decide which other options there are.",
    (
        "safelight train mnist --out runs/first",
        "safelight train photos/ --model deep-conv-ae --network.latent 32 --epochs 50 --out runs/photos",
        "safelight train --resume runs/first --epochs 20",
    ),
    _add_options,
    _run,
    _idle,
)
