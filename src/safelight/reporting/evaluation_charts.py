"""What an evaluation holds besides numbers, as charts: one row of a table for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from safelight.config.corruption import CORRUPTIONS
from safelight.reporting.charts import DPI, Theme, new_figure, style
from safelight.reporting.class_charts import (
    Confusion,
    class_rows,
    confusion_chart,
    read_confusion,
    read_reliability,
    reliability_chart,
)

__all__ = ["EVALUATION_CHARTS", "EvaluationChart", "NumberTable", "kl_chart", "severity_chart"]

LABELLED_BARS = 40
CURVE_COLUMNS = 2
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


def severity_chart(curves: Mapping[str, Mapping[str, Any]], theme: Theme) -> Figure:
    """PSNR against the severity, a panel for each kind of corruption.

    Args:
        curves: by kind: "severity", "psnr", "psnr_noisy" and, where it was measured, "psnr_classic", lists of
            one length; and whether the network was "trained" on it.
        theme: colours.
    """
    rows = -(-len(curves) // CURVE_COLUMNS)
    figure = Figure(figsize=(7.5, 2.3 * rows + 0.4), dpi=DPI, facecolor=theme.panel, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, CURVE_COLUMNS, squeeze=False).ravel()
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    for axes, (kind, curve) in zip(panels, curves.items(), strict=False):
        for name, colour, line, marker, label in (
            ("psnr_noisy", theme.second, "--", "s", "noisy"),
            ("psnr_classic", theme.muted, ":", "^", "best classic filter"),
            ("psnr", theme.accent, "-", "o", "cleaned"),
        ):
            if name in curve:
                axes.plot(
                    curve["severity"], curve[name], line, marker=marker, ms=4, color=colour, label=label
                )
        style(axes, theme)
        title = f"{kind}{', trained on' if curve['trained'] else ''}"
        axes.set_title(title, loc="left", color=theme.ink, fontsize=10)
        axes.set_xlim(left=0)
        axes.set_ylabel("PSNR (dB)", fontsize=9)
        axes.set_xlabel(CORRUPTIONS[kind].severity, fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    spare = panels[len(curves)] if len(curves) < len(panels) else panels[0]
    legend = spare.legend(handles, labels, frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_color(theme.ink)
    return figure


def _severity_table(curves: Mapping[str, Mapping[str, Any]]) -> NumberTable:
    rows = [
        (f"{kind} {severity:g}", f"{noisy:.2f}", f"{cleaned:.2f}")
        for kind, curve in curves.items()
        for severity, noisy, cleaned in zip(
            curve["severity"], curve["psnr_noisy"], curve["psnr"], strict=True
        )
    ]
    return NumberTable(("corruption", "PSNR, noisy (dB)", "PSNR, cleaned (dB)"), rows, len(rows))


def _read_curves(value: Any) -> dict[str, dict[str, Any]]:
    curves = {}
    for kind in CORRUPTIONS:
        if kind in value:
            numbers = {name: _read_numbers(value[kind][name]) for name in ("severity", "psnr", "psnr_noisy")}
            if len({len(series) for series in numbers.values()}) > 1:
                raise ValueError("expected as many numbers of each")
            curves[kind] = numbers | {"trained": bool(value[kind]["trained"])}
    if not curves:
        raise ValueError("expected a curve")
    return curves


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


def _class_table(confusion: Confusion) -> NumberTable:
    rows = class_rows(confusion)
    return NumberTable(("class", "images", "right (%)", "mostly taken for"), rows[:MAX_ROWS], len(rows))


def _reliability_table(rows: Sequence[tuple[float, float, int]]) -> NumberTable:
    words = [(f"{100 * sure:.1f}", f"{100 * right:.1f}", str(n)) for sure, right, n in rows]
    return NumberTable(("probability (%)", "right (%)", "images"), words, len(words))


EVALUATION_CHARTS: dict[str, EvaluationChart] = {
    "kl_per_dimension": EvaluationChart(
        _read_numbers,
        kl_chart,
        _kl_table,
        "What each dimension tells of an image. A dimension without a bar is not used.",
    ),
    "confusion": EvaluationChart(
        read_confusion,
        confusion_chart,
        _class_table,
        "What images of each class were taken for; the diagonal is right, and only mistakes are coloured.",
    ),
    "reliability": EvaluationChart(
        read_reliability,
        reliability_chart,
        _reliability_table,
        "How often it was right, against how sure it was. Below the line it claims too much.",
    ),
    "severity_curves": EvaluationChart(
        _read_curves,
        severity_chart,
        _severity_table,
        "How near images come to the true ones, before cleaning and after, as what they suffer grows. Where "
        "the lines cross, cleaning does harm.",
    ),
}
