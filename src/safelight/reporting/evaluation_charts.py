"""What an evaluation holds besides numbers, as charts: one row of a table for each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from safelight.reporting.charts import Theme, new_figure, style

__all__ = ["EVALUATION_CHARTS", "EvaluationChart", "NumberTable", "kl_chart"]

LABELLED_BARS = 40
MAX_ROWS = 200  # a longer table is left to the files


@dataclass(frozen=True)
class NumberTable:
    """A chart's numbers in words.

    Attributes:
        headings: of its columns.
        rows: text, in the order of the chart.
        total: number of rows that there would be without a limit.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    total: int


@dataclass(frozen=True)
class EvaluationChart:
    """How to draw a value of evaluation.json.

    Attributes:
        read: the value as `draw` takes it; raises TypeError, ValueError or KeyError where it does not fit.
        draw: the chart.
        table: its numbers.
        words: what is to be seen on it.
    """

    read: Callable[[Any], Any]
    draw: Callable[[Any, Theme], Figure]
    table: Callable[[Any], NumberTable]
    words: str


def kl_chart(kl: Sequence[float], theme: Theme) -> Figure:
    """What each dimension of the code tells of an image, the most telling first."""
    figure, axes = new_figure(theme)
    order = _ranked(kl)
    axes.bar(range(len(kl)), [kl[i] for i in order], width=0.8, color=theme.accent)
    style(axes, theme)
    if len(kl) <= LABELLED_BARS:
        size = 9 if len(kl) <= 20 else 6
        axes.set_xticks(range(len(kl)), [str(i) for i in order], fontsize=size)
        axes.set_xlabel("dimension of the code")
    else:
        axes.set_xlabel("dimensions of the code, in order of their KL")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("KL (nats per image)")
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.7, len(kl) - 0.3)
    return figure


def _ranked(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -values[i])


def _kl_table(kl: Sequence[float]) -> NumberTable:
    rows = [(str(i), f"{kl[i]:.4f}") for i in _ranked(kl)]
    return NumberTable(("dimension", "KL (nats per image)"), rows[:MAX_ROWS], len(rows))


def _read_numbers(value: Any) -> list[float]:
    numbers = [float(number) for number in value]
    if not numbers or not all(abs(number) < float("inf") for number in numbers):
        raise ValueError("expected finite numbers")
    return numbers


EVALUATION_CHARTS = {
    "kl_per_dimension": EvaluationChart(
        _read_numbers,
        kl_chart,
        _kl_table,
        "What each dimension tells of an image. A dimension without a bar is not used.",
    ),
}
