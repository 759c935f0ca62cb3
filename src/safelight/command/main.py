"""The `safelight` command: one function a verb, and the only file that parses arguments or prints.

Everything heavy is imported inside the verbs, so that `--help` comes at once.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from safelight.command.options import Start, build_parser, parse, refuse_changes
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError, Interrupted, SafelightError
from safelight.machine import prepare_process, shorten_spinning

if TYPE_CHECKING:
    from safelight.api import Progress
    from safelight.evolution.search import Status

__all__ = ["exit_code", "main", "progress", "search_progress", "stop_on_signals"]

SHOWN_GENERATIONS = 20
SEARCH_COLUMNS = ("best", "median", "spread", "failures", "trials an hour", "time left")
USER_MISTAKE, OUR_MISTAKE, INTERRUPTED = 2, 1, 130

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code, as in `exit_code`.
    """
    shorten_spinning()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    return exit_code(lambda: _dispatch([a for a in arguments if a != "--debug"]), debug)


def exit_code(action: Callable[[], None], debug: bool = False) -> int:
    """Do something, and say in one line what went wrong, if anything did.

    Args:
        action: what to do.
        debug: show the traceback too.

    Returns:
        0, 2 for a user's mistake, 1 for ours or a reader that left, 130 when interrupted.
    """
    try:
        action()
        sys.stdout.flush()
    except SystemExit as error:  # --help and --version
        return int(error.code or 0)
    except (KeyboardInterrupt, Interrupted) as error:
        _complain(str(error) or "interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUR_MISTAKE
    except SafelightError as error:
        _complain(str(error), debug)
        return USER_MISTAKE
    except OSError as error:  # a disk, a permission: what the user's system answered
        _complain(f"{error.strerror or error}: {error.filename or 'no file named'}", debug)
        return USER_MISTAKE
    except Exception as error:
        _complain(f"unexpected {type(error).__name__}: {error} (our mistake; --debug shows where)", debug)
        return OUR_MISTAKE
    return 0


def _dispatch(arguments: list[str]) -> None:
    start = Start.read(arguments[0], arguments[1:]) if arguments[:1] in (["train"], ["evolve"]) else Start()
    options = parse(build_parser(start), arguments)
    prepare_process()
    verb = options.verb
    if verb in ("train", "evolve"):
        action = _train if verb == "train" else _evolve
        action(options[verb], start, shlex.join(["safelight", *arguments]))
    elif verb == "data":
        _data(options.data)
    else:
        {"evaluate": _evaluate, "report": _report, "compare": _compare}[verb](options[verb])


def _complain(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"safelight: {' '.join(message.split())}", file=sys.stderr)


# The verbs


def _train(options: Namespace, start: Start, command: str) -> None:
    from safelight import api

    if options.resume:
        refuse_changes("train", options, start)
    elif not options.data:
        raise ConfigError(
            "train: expected data, such as mnist or a folder; safelight data list shows the named sets"
        )
    elif not options.out:
        raise ConfigError("train: expected --out, the run folder to make, such as --out runs/first")
    settings = {f.name: options[f.name] for f in dataclasses.fields(TrainingConfig)}
    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step):
        if options.resume:
            epochs = None if options.epochs == start.training.epochs else options.epochs
            run = api.resume(options.resume, epochs, on_epoch=on_epoch, on_step=on_step)
        else:
            from safelight.data import sources

            run = api.train(
                sources.load(options.data, progress=err.is_terminal),
                options.model,
                options.out,
                likelihood=options.likelihood,
                validation=options.validation,
                limit=options.limit,
                init_from=options.init_from,
                overwrite=options.overwrite,
                command=command,
                on_epoch=on_epoch,
                on_step=on_step,
                **settings,
                **vars(options.network),
            )
    out.print(f"Run folder: {escape(str(run.path))}")
    out.print(
        f"Next:       safelight evaluate {escape(str(run.path))} && safelight report {escape(str(run.path))}"
    )


def _evolve(options: Namespace, start: Start, command: str) -> None:
    if options.resume:
        refuse_changes("evolve", options, start)
    elif not options.data:
        raise ConfigError("evolve: expected data, such as mnist; safelight data list shows the named sets")
    elif not options.out:
        raise ConfigError("evolve: expected --out, the folder to make, such as --out runs/evo")
    from safelight.data import sources
    from safelight.evolution import evolve as searching

    where = {name: options[name] for name in ("workers", "engine", "address")}
    with stop_on_signals("the trials that run") as is_stopped, search_progress() as on_status:
        watch: dict[str, Any] = {"on_status": on_status, "is_stopped": is_stopped}
        if options.resume:
            found = searching.resume_evolution(options.resume, options.generations, **where, **watch)
        else:
            training = dataclasses.asdict(start.training)
            found = searching.evolve(
                sources.load(options.data, progress=err.is_terminal),
                options.model,
                options.out,
                likelihood=options.likelihood,
                settings=training | dataclasses.asdict(start.network),
                overwrite=options.overwrite,
                command=command,
                **where,
                **watch,
                **{f.name: options[f.name] for f in dataclasses.fields(SearchConfig)},
            )
    table = Table(title="The winner")
    table.add_column("gene")
    table.add_column("value", justify="right")
    for name, value in found.values.items():
        table.add_row(name, escape(str(value)))
    out.print(table)
    out.print(f"Validation loss of 3 fresh seeds: {searching.spread(found.validation)} nats per image")
    out.print(f"Test loss of the same:            {searching.spread(found.test)}")
    from safelight.evolution.report import write_search_report
    from safelight.evolution.search import SearchFolder

    out.print(f"Settings: {escape(str(found.path / 'best.json'))}")
    out.print(f"Report:   {escape(str(write_search_report(SearchFolder(found.path))))}")


def _evaluate(options: Namespace) -> None:
    from safelight.api import Run

    measures = Run(options.run).evaluate(options.split, options.samples)
    if options.json:
        print(json.dumps(measures, indent=2))
        return
    table = Table(title=f"{escape(options.run)}, {options.split} split, {measures['n']} images")
    table.add_column("measure")
    table.add_column("nats per image", justify="right")
    table.add_column("convention")
    for name, convention in (
        ("loss", "-ELBO, one sample of z"),
        ("reconstruction", "its first part, -log p(x | z)"),
        ("kl", "its second part, KL(q(z | x) ‖ p(z))"),
        ("loss_at_mean", "the same with z at the mean; not a bound"),
        ("iw_bound", f"importance-weighted bound, {measures['iw_samples']} samples of z"),
    ):
        value = measures[name]
        table.add_row(name, "–" if value is None else f"{value:.4f}", convention)
    out.print(table)
    if measures["active_units"] is not None:
        dimensions = len(measures["kl_per_dimension"])
        out.print(f"Active units: {measures['active_units']} of {dimensions} dimensions of the code")


def _report(options: Namespace) -> None:
    from safelight.evolution.report import write_search_report
    from safelight.evolution.search import SearchFolder
    from safelight.reporting.report import write_report
    from safelight.runs.folder import RunFolder
    from safelight.runs.folders import kind_of

    if kind_of(Path(options.run)) == "search":
        out.print(f"Report:    {escape(str(write_search_report(SearchFolder(options.run))))}")
        out.print(f"Pictures:  {escape(str(SearchFolder(options.run).figures))}")
        return
    folder = RunFolder(options.run)
    report = write_report(folder)
    out.print(f"Report:    {escape(str(report))}")
    out.print(f"Pictures:  {escape(str(folder.figures))}")
    measures = folder.read_evaluation().get("test")
    if measures:
        out.print(f"Test loss: {measures['loss']:.4f} nats per image")
    else:
        out.print(f"Test loss: not measured yet; safelight evaluate {escape(options.run)}")


def _compare(options: Namespace) -> None:
    from safelight.reporting.comparison import compare, draw_comparison
    from safelight.runs.folder import RunFolder

    folders = [RunFolder(run) for run in options.runs]
    rows = compare(folders)
    draw_comparison(folders, Path(options.out))
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table()
    for heading in ("", *(row["run"] for row in rows)):
        table.add_column(escape(heading), justify="right" if heading else "left")
    for name in list(rows[0])[1:]:
        values = (row[name] for row in rows)
        cells = (f"{v:.2f}" if isinstance(v, float) else "–" if v is None else str(v) for v in values)
        table.add_row(name.replace("_", " "), *map(escape, cells))
    out.print(table)
    out.print(f"Picture: {escape(options.out)}")


def _data(options: Namespace) -> None:
    from safelight.data import sources

    if options.action == "fetch":
        folder = sources.fetch(options.fetch.name, progress=err.is_terminal)
        out.print(f"{options.fetch.name} is in {escape(str(folder))}")
        return
    table = Table()
    for heading in ("name", "images", "size", "here", "what it is"):
        table.add_column(heading)
    for name, images, size, here, description in sources.overview():
        table.add_row(name, images, size, "yes" if here else "no", description)
    out.print(table)
    out.print("Also: a folder of IDX files, a .npy or .npz file, a folder of PNG or JPEG files of one size.")


# What a person sees while it works


@contextmanager
def stop_on_signals(finishing: str = "the batch") -> Iterator[Callable[[], bool]]:
    """Ctrl-C, or a polite kill, ends the work after what is at hand; the second time, at once."""
    received: list[int] = []
    training = False

    def is_stopped() -> bool:
        nonlocal training
        training = True
        return bool(received)

    def note(number: int, frame: object) -> None:
        if received or not training:
            raise KeyboardInterrupt
        received.append(number)
        err.print(f"\nFinishing {finishing}, then saving; once more to stop now.")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield is_stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(
    is_stopped: Callable[[], bool],
) -> Iterator[tuple[Callable[[dict[str, Any]], None], Callable[[Progress], bool]]]:
    """A bar on a terminal, and a line an epoch anywhere: `train`'s two callbacks."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def on_epoch(record: dict[str, Any]) -> None:
            validation = "" if record["val_loss"] is None else f"  validation {record['val_loss']:8.3f}"
            bar.console.print(
                f"epoch {record['epoch']:3d}  train {record['train_loss']:8.3f}{validation}"
                f"  {record['seconds']:6.1f} s  {record['images_per_second']:,.0f} images/s"
            )

        def on_step(progress: Progress) -> bool:
            if err.is_terminal:
                bar.update(
                    task,
                    description=f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.2f}",
                    completed=(progress.epoch - 1) * progress.steps + progress.step,
                    total=progress.epochs * progress.steps,
                )
            return is_stopped()

        yield on_epoch, on_step


@contextmanager
def search_progress() -> Iterator[Callable[[Status], None]]:
    """A live table on a terminal, a line a generation anywhere else: `evolve`'s callback."""
    from rich.live import Live

    rows: dict[int, Status] = {}
    with Live(console=err, auto_refresh=False) if err.is_terminal else nullcontext() as live:

        def on_status(status: Status) -> None:
            before = rows.get(status.generation)
            rows[status.generation] = status
            if live is not None:
                live.update(_search_table(list(rows.values())[-SHOWN_GENERATIONS:]), refresh=True)
            elif status.is_complete and not (before and before.is_complete):
                cells = zip(("generation", *SEARCH_COLUMNS), _search_row(status), strict=True)
                err.print("  ".join(f"{name} {cell}" for name, cell in cells))

        yield on_status


def _search_table(rows: Sequence[Status]) -> Table:
    table = Table(caption=f"{rows[-1].what}: {rows[-1].done} of {rows[-1].planned} trials; Ctrl-C saves")
    for heading in ("generation", *SEARCH_COLUMNS):
        table.add_column(heading, justify="right")
    for status in rows:
        table.add_row(*_search_row(status))
    return table


def _search_row(status: Status) -> tuple[str, ...]:
    losses = (status.best, status.median, status.spread)
    pace, left = status.trials_an_hour, status.seconds_left
    return (
        f"{status.generation}/{status.generations}",
        *("–" if loss is None else f"{loss:.3f}" for loss in losses),
        str(status.failures),
        "–" if pace is None else f"{pace:.0f}",
        "–" if left is None else str(datetime.timedelta(seconds=round(left))),
    )


if __name__ == "__main__":
    sys.exit(main())
