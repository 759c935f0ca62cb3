"""`safelight train`."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import advise, name_of, out, progress, stop_on_signals, tell
from safelight.command.images import fetched
from safelight.command.options import add_fields
from safelight.command.start import Start
from safelight.command.verb import Verb
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

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
    network = parser.add_argument_group("The network")
    start.add_options(network, parser.add_argument_group("The task"), start.left_open("task"))
    add_fields(network, start.network, "network.", left_open=start.left_open("network"))
    training = parser.add_argument_group("The training")
    add_fields(training, start.training, left_open=start.left_open("training"))


def _run(options: Namespace, arguments: list[str]) -> None:
    start = Start.read("train", arguments)
    if options.resume:
        expected: dict[str, Any] = {"limit": start.data.limit, "validation": start.data.validation}
        network = dataclasses.asdict(start.network).items()
        expected |= {f"network.{name}": value for name, value in network if name != "name"}
        start.refuse_changes(options, "epochs", expected | dataclasses.asdict(start.training))
    elif not options.data:
        raise ConfigError(
            "train: expected data, such as mnist or a folder; safelight data list shows the named sets"
        )
    elif not options.out:
        raise ConfigError("train: expected --out, the run folder to make, such as --out runs/first")
    from safelight import api

    settings = {f.name: options[f.name] for f in dataclasses.fields(TrainingConfig)}
    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step):
        if options.resume:
            epochs = None if options.epochs == start.training.epochs else options.epochs
            run = api.resume(options.resume, epochs, on_epoch=on_epoch, on_step=on_step)
        else:
            run = api.train(
                fetched(options.data),
                options.model,
                options.out,
                task=options.task,
                validation=options.validation,
                limit=options.limit,
                init_from=options.init_from,
                overwrite=options.overwrite,
                command=shlex.join(["safelight", "train", *arguments]),
                on_epoch=on_epoch,
                on_step=on_step,
                on_start=tell,
                **settings,
                **start.settings(options),
                **vars(options.network),
            )
    advise(run)
    out.print(f"Run folder: {name_of(run.path)}")
    out.print(f"Next:       safelight evaluate {name_of(run.path)} && safelight report {name_of(run.path)}")


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
)
