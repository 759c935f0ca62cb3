"""What the command says, and what a person sees while it works."""

from __future__ import annotations

import datetime
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from safelight.evolution.status import Status
    from safelight.runs.recorder import Progress

__all__ = ["complain", "err", "name_of", "out", "progress", "search_progress", "stop_on_signals"]

SHOWN_GENERATIONS = 20
SEARCH_COLUMNS = ("best", "median", "spread", "failures", "trials an hour", "time left")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def name_of(path: Path) -> str:
    """A path as a command takes it, and as rich prints it letter by letter."""
    return escape(shlex.quote(str(path)))


def complain(message: str, debug: bool) -> None:
    """Say in one line what went wrong."""
    if debug:
        traceback.print_exc()
    print(f"safelight: {' '.join(message.split())}", file=sys.stderr)


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
            measured = "".join(
                f"  {part} {next(iter(record[part].values())):8.3f}"
                for part in ("train", "validation")
                if record[part]
            )
            bar.console.print(
                f"epoch {record['epoch']:3d}{measured}"
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
