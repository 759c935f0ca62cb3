"""`safelight evolve`."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from safelight.command.console import name_of, out, search_progress, stop_on_signals
from safelight.command.images import fetched
from safelight.command.options import add_fields
from safelight.command.start import Start
from safelight.command.verb import Idle, Verb
from safelight.config.reading import to_dict
from safelight.config.search import DECIDED, ENGINES, SearchConfig
from safelight.errors import ConfigError

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    start = Start.read("evolve", arguments)
    run = parser.add_argument_group("The search")
    words = f"settings of every trial where no gene decides, but for {', '.join(DECIDED)}, which the search"
    start.add_folder(run, "search", "generations", f"{words} itself decides; limit and validation")
    start.add_options(run, run)
    run.add_argument(
        "--validation",
        type=int,
        default=start.data.validation,
        help="number of validation images (default: a sixth of a named set, else a tenth)",
    )
    add_fields(run, start.search)
    where = parser.add_argument_group("Where trials run")
    where.add_argument("--workers", type=int, help="trials at a time; by default one a core")
    words = ", ".join(f"{name}: {what}" for name, what in ENGINES.items())
    where.add_argument(
        "--engine",
        choices=tuple(ENGINES),
        default="local",
        help=f"{words}; clusters trust their network (default: local)",
    )
    where.add_argument(
        "--address",
        type=str,
        help="of the cluster, such as tcp://host:8786; without it, workers are started on this machine",
    )


def _run(options: Namespace, arguments: list[str]) -> None:
    start = Start.read("evolve", arguments)
    if options.resume:
        expected = dataclasses.asdict(start.search) | {"validation": start.data.validation}
        start.refuse_changes(options, "generations", expected)
    elif not options.data:
        raise ConfigError("evolve: expected data, such as mnist; safelight data list shows the named sets")
    elif not options.out:
        raise ConfigError("evolve: expected --out, the folder to make, such as --out runs/evo")
    from safelight.evolution import evolve

    where = {name: options[name] for name in ("workers", "engine", "address")}
    with stop_on_signals("the trials that run") as is_stopped, search_progress() as on_status:
        watch: dict[str, Any] = {"progress": False, "on_status": on_status, "is_stopped": is_stopped}
        if options.resume:
            found = evolve.resume_evolution(options.resume, options.generations, **where, **watch)
        else:
            training = {n: v for n, v in to_dict(start.training).items() if n not in DECIDED}
            settings = training | to_dict(start.network) | start.settings(options)
            settings.pop("name")
            found = evolve.evolve(
                fetched(options.data),
                options.model,
                options.out,
                task=options.task,
                settings=settings,
                validation=options.validation,
                overwrite=options.overwrite,
                command=shlex.join(["safelight", "evolve", *arguments]),
                **where,
                **watch,
                **{f.name: options[f.name] for f in dataclasses.fields(SearchConfig)},
            )
    report = found.report()  # before anything is printed, to whoever may have left
    table = Table(title="The winner")
    table.add_column("gene")
    table.add_column("value", justify="right")
    for name, value in found.values.items():
        table.add_row(name, escape(str(value)))
    out.print(table)
    unit = found.measure.unit
    search = found.config.search
    what = f"of {len(found.validation)} fresh seeds"
    if search.for_epochs:
        what = f"after {search.for_epochs} epochs"
        foresight = found.foresight
        out.print(f"Budget: {foresight.spent:.1f} of {search.budget} epochs of the starting settings")
        out.print(f"Law: {foresight.verdict(found.config)}", soft_wrap=True)
    judged, tested = (f"{found.measure.words} {which}:" for which in (what, "of the same"))
    out.print(f"Validation {judged} {evolve.spread(found.validation)} {unit}")
    out.print(f"{'Test ' + tested:{len('Validation ' + judged)}} {evolve.spread(found.test)} {unit}")
    out.print(f"Settings: {name_of(found.path / 'best.json')}")
    out.print(f"Report:   {name_of(report)}")
    for note in found.notes:
        out.print(f"Note:     {note}", markup=False)


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    found = Start.read("evolve", arguments).idle(options)
    if options.address is not None and options.engine != "local":
        found["--workers"] = "the cluster at --address has a number of its own"
    if not options.for_epochs:
        found["--budget"] = "it is of a search with --for-epochs; --generations says how long others are"
    if options.rungs and options.epochs != options.rungs[-1]:
        found["--epochs"] = f"the last of --rungs says how long a whole trial is, {options.rungs[-1]}"
    return found


VERB = Verb(
    "evolve",
    "search for settings or a structure",
    "Search for the settings or the structure of a network by training many of them, on one thread "
    "each. Trials are judged on validation images; only the winner is measured on the test images.",
    (
        "safelight evolve mnist --model conv-vae --out runs/evo",
        "safelight evolve mnist --space structure --workers 2 --out runs/evo2",
        "safelight evolve --resume runs/evo --generations 20",
        "safelight evolve mnist --model conv-vae --for-epochs 30 --out runs/evo3",
        "safelight evolve mnist --model conv-vae --epochs 10 --equal-cost --limit 1000 --out runs/evo4",
        "safelight train mnist --config runs/evo/best.json --epochs 30 --out runs/best",
    ),
    _add_options,
    _run,
    _idle,
)
