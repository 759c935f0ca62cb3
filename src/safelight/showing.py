"""What Python's users see: bars of work, on a terminal or in a notebook; tables and pictures there."""

from __future__ import annotations

import base64
import functools
import html
import importlib
import inspect
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, final

from safelight.machine import torchrun_rank

__all__ = ["open_bar", "picture", "showing", "table"]

EVERY = 0.1  # seconds from one look of a bar to the next

P = ParamSpec("P")
R = TypeVar("R")


class _Bar(ABC):
    """How far work has come; it goes when the work is done."""

    def __init__(self) -> None:
        self._last = 0.0

    def is_due(self) -> bool:
        """Whether it is time for another look, which may cost something."""
        return time.monotonic() - self._last >= EVERY

    def show(self, words: str, done: int, total: int) -> None:
        """Say how far it is."""
        self._last = time.monotonic()
        self._draw(words, done, total)

    @abstractmethod
    def _draw(self, words: str, done: int, total: int) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Take it away."""


@final
class _Terminal(_Bar):
    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("starting", total=None)
        self._bar.start()

    def _draw(self, words: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=words, completed=done, total=total)

    def close(self) -> None:
        self._bar.stop()


@final
class _Notebook(_Bar):
    def __init__(self) -> None:
        super().__init__()
        shown: Any = importlib.import_module("IPython.display")
        self._html = shown.HTML
        self._handle = shown.display(shown.HTML("starting"), display_id=True)

    def _draw(self, words: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}"></progress>'
        self._handle.update(self._html(f"{bar} {html.escape(words)}, {done:,} of {total:,}"))

    def close(self) -> None:
        self._handle.update(self._html(""))


@contextmanager
def open_bar(is_wanted: bool = True) -> Iterator[_Bar | None]:
    """A bar on a terminal or in a notebook; None elsewhere, and in all but the first of torchrun's processes.

    Args:
        is_wanted: False is None everywhere.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    in_notebook = type(shell).__name__ == "ZMQInteractiveShell"
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    if not is_wanted or torchrun_rank() or not (in_notebook or on_terminal):
        yield None
        return
    bar = _Notebook() if in_notebook else _Terminal()
    try:
        yield bar
    finally:
        bar.close()


def showing(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function show a bar, unless its `progress` is false.

    Args:
        function: with arguments on_reading, on_step or on_status, whose own callbacks are called too.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def shown(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        with open_bar(given.arguments["progress"]) as bar:
            if bar is None:
                return function(*args, **kwargs)
            for name, show in LOOKS.items():
                if name in given.arguments:
                    given.arguments[name] = _both(show, bar, given.arguments[name])
            return function(*given.args, **given.kwargs)

    return shown


def _both(show: Callable[..., None], bar: _Bar, own: Callable[..., object] | None) -> Callable[..., object]:
    def look(*args: Any) -> object:
        if bar.is_due():
            show(bar, *args)
        return own(*args) if own is not None else None

    return look


def _show_reading(bar: _Bar, done: int, total: int) -> None:
    bar.show("reading pictures", done, total)


def _show_step(bar: _Bar, progress: Any) -> None:
    done = (progress.epoch - 1) * progress.steps + progress.step
    words = f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.2f}"
    bar.show(words, done, progress.epochs * progress.steps)


def _show_status(bar: _Bar, status: Any) -> None:
    done, total = status.finals or (status.done, status.planned)
    best = "" if status.best is None else f"  best {status.best:.2f}"
    what = "finalists" if status.finals else f"generation {status.generation}/{status.generations}"
    bar.show(what + best, done, total)


LOOKS: dict[str, Callable[..., None]] = {
    "on_reading": _show_reading,
    "on_step": _show_step,
    "on_status": _show_status,
}


def table(rows: Iterable[tuple[object, object]], caption: str = "") -> str:
    """Names and what they are, as HTML.

    Example:
        >>> table([("loss", "<b>")])
        '<table><tr><th>loss</th><td>&lt;b&gt;</td></tr></table>'
    """
    cells = (f"<tr><th>{html.escape(str(a))}</th><td>{html.escape(str(b))}</td></tr>" for a, b in rows)
    head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{head}{''.join(cells)}</table>"


def picture(png: bytes, words: str) -> str:
    """A PNG file as HTML.

    Args:
        png: its bytes.
        words: for who cannot see it.
    """
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'
