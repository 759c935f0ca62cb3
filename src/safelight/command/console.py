"""What the command says, and what a person sees while it works."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from safelight.machine import seconds_without_core, torchrun_rank

if TYPE_CHECKING:
    from safelight.evolution.status import Status
    from safelight.run import Run
    from safelight.runs.choosing import Plan
    from safelight.runs.recorder import Progress

__all__ = [
    "advise",
    "complain",
    "counting",
    "err",
    "name_of",
    "out",
    "progress",
    "reading",
    "search_progress",
    "speak_anywhere",
    "stop_on_signals",
    "storing",
    "tell",
]

SHOWN_GENERATIONS = 20
LINES = 4  # of a count, where there is no terminal
LONG_EPOCH = 2.0  # seconds; a shorter one says nothing of the machine
BUSY = 0.15  # share of the time of all threads; an idle machine shows some 1%
SEARCH_COLUMNS = ("best", "median", "spread", "failures", "trials an hour", "time left")

LEAST_WIDTH = 80  # of a table that stays: a narrow terminal breaks its lines, and cuts no number
CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in b"\t\n"}


OnEpoch = Callable[[dict[str, Any]], None]
OnStep = Callable[["Progress"], bool]
OnReading = Callable[[int, int], None]


class _Console(Console):
    """Shows what folders say letter by letter: an escape sequence in it is no order to a terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(text.translate(CONTROL), **options)


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not stderr:  # where bars are drawn anew, on lines that must not be broken
        console.width = max(LEAST_WIDTH, console.width)
    return console


out, err = _console(stderr=False), _console(stderr=True)


def speak_anywhere() -> None:
    """Make the streams take everything: a letter that one cannot show, and words for one that is closed.

    Of the processes of one training, the first speaks.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if torchrun_rank():
        out.quiet = err.quiet = True


def name_of(path: Path) -> str:
    """A path as a command takes it, and as rich prints it letter by letter."""
    return escape(shlex.quote(str(path)))


def complain(message: str, debug: bool) -> None:
    """Say in one line what went wrong; of the processes of one training, the first that knows does."""
    if torchrun_rank() is not None:
        from safelight.engines.ranks import has_the_word

        if not (debug or has_the_word()):
            return
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        if debug:
            traceback.print_exc()
        print(f"safelight: {' '.join(message.split())}".translate(CONTROL), file=sys.stderr)


@contextmanager
def storing(store: Callable[[], object]) -> Iterator[None]:
    """Keep what was found, then print it in the block: whoever reads may leave, and a folder may be full."""
    try:
        store()
    finally:
        yield  # the numbers are there in any case


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

    is_main = threading.current_thread() is threading.main_thread()  # signals go to no other
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield is_stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(
    is_stopped: Callable[[], bool],
) -> Iterator[tuple[OnEpoch, OnStep, OnReading]]:
    """A bar on a terminal, and a line an epoch anywhere: `train`'s callbacks."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        neighbours, is_told = _Neighbours(), False

        def on_epoch(record: dict[str, Any]) -> None:
            for line in neighbours.after_epoch():
                bar.console.print(line)
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
            nonlocal is_told
            if progress.preview and not is_told:
                is_told = True
                bar.console.print(f"Preview, renewed while it trains: {name_of(progress.preview)}")
            if err.is_terminal:
                bar.update(
                    task,
                    description=f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.2f}",
                    completed=(progress.epoch - 1) * progress.steps + progress.step,
                    total=progress.epochs * progress.steps,
                )
            return is_stopped()

        def on_reading(done: int, total: int) -> None:
            bar.update(task, description="reading pictures", completed=done, total=total)

        yield on_epoch, on_step, on_reading


def tell(plan: Plan) -> None:
    """What is going to be trained, and why: `train`'s callback before it begins."""
    for note in plan.config.notes:
        err.print(escape(note))
    took = datetime.timedelta(seconds=max(1, round(plan.seconds)))
    err.print(f"{length_of(plan)}: about {took} on this machine; Ctrl-C saves")


def length_of(plan: Plan) -> str:
    """How long a training is: "1 epoch, 26 steps"."""
    lengths = ((plan.epochs, "epoch"), (plan.steps, "step"))
    return ", ".join(f"{count:,} {word}{'s' * (count != 1)}" for count, word in lengths)


def advise(run: Run) -> None:
    """Say what is wrong with a run, or could be better."""
    from safelight.reporting.diagnosis import diagnose
    from safelight.reporting.summary import summarize

    for sentence in diagnose(summarize(run.folder)):
        err.print(escape(sentence.replace("RUN", shlex.quote(str(run.path)))))


class _Neighbours:
    """Notices that other programs take the cores that training waits for, and says so once."""

    def __init__(self) -> None:
        self.said = False
        self._before = self._now()

    def after_epoch(self) -> list[str]:
        import torch

        before, self._before = self._before, self._now()
        wall, waited = (now - then for now, then in zip(self._before, before, strict=True))
        share = min(1.0, waited / max(wall * torch.get_num_threads(), 1e-9))  # more threads may have waited
        if self.said or wall < LONG_EPOCH or share < BUSY:
            return []
        self.said = True
        return [
            f"Other programs keep the processor busy: training waited for a core {share:.0%} of its time. "
            "Fewer --threads may be faster."
        ]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), seconds_without_core()


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """A bar while pictures are read, where that takes a while: the callback of `safelight.load`."""
    with contextlib.ExitStack() as shown:
        count: list[Callable[[int, int], None]] = []

        def on_reading(done: int, total: int) -> None:
            if not count:
                count.append(shown.enter_context(counting("pictures read")))
            count[0](done, total)

        yield on_reading


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line now and then anywhere else: called with what is done, and of how much."""
    from rich.progress import Progress as Bar

    said = 0
    with Bar(console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def count(done: int, total: int) -> None:
            nonlocal said
            bar.update(task, completed=done, total=total)
            if not err.is_terminal and LINES * done // total > said:
                said = LINES * done // total
                err.print(f"{what}: {done:,} of {total:,}")

        yield count


@contextmanager
def search_progress() -> Iterator[Callable[[Status], None]]:
    """A live table on a terminal, a line a generation anywhere else: `evolve`'s callback."""
    from rich.live import Live

    rows: dict[int, Status] = {}
    said = 0
    with Live(console=err, auto_refresh=False) if err.is_terminal else nullcontext() as live:

        def on_status(status: Status) -> None:
            nonlocal said
            before = rows.get(status.generation)
            rows[status.generation] = status
            if live is not None:
                live.update(_search_table(list(rows.values())[-SHOWN_GENERATIONS:]), refresh=True)
            elif status.is_complete and not (before and before.is_complete):
                cells = zip(("generation", *SEARCH_COLUMNS), _search_row(status), strict=True)
                err.print("  ".join(f"{name} {cell}" for name, cell in cells))
            if live is None and status.finals and status.finals[0] > said:
                said = status.finals[0]
                err.print(f"{_finals(status)}, time left {_search_row(status)[-1]}")

        yield on_status


def _finals(status: Status) -> str:
    done, planned = status.finals or (0, 0)
    return f"training the finalists again: {done} of {planned} done"


def _search_table(rows: Sequence[Status]) -> Table:
    last = rows[-1]
    what = _finals(last) if last.finals else f"searching: {last.done} of {last.planned} trials"
    if last.spent is not None:
        what += f", {last.spent:.0f} epochs of the budget"
    table = Table(caption=f"{what}; Ctrl-C saves")
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
