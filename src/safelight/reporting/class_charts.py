"""Charts of a classifier's evaluation: which classes it confuses, and whether it is as sure as right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from safelight.reporting.charts import Theme, legend, new_figure, style

__all__ = [
    "Confusion",
    "class_rows",
    "confusion_chart",
    "read_confusion",
    "read_reliability",
    "reliability_chart",
]

NUMBERED = 12  # classes of which each cell says its number
LABELLED = 30  # classes of which each row says its name
MAX_CLASSES = 1000


class Confusion(NamedTuple):
    """Of each class (row), how many images were given each class (column)."""

    classes: Sequence[str]
    counts: NDArray[np.int64]


def read_confusion(value: Any) -> Confusion:
    """A confusion out of evaluation.json.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    classes = [str(name) for name in value["classes"]]
    counts = np.array(value["counts"], np.int64)
    if counts.shape != (len(classes),) * 2 or not 2 <= len(classes) <= MAX_CLASSES or counts.min() < 0:
        raise ValueError(f"expected counts of {len(classes)} classes, got {counts.shape}")
    return Confusion(classes, counts)


def read_reliability(value: Any) -> list[tuple[float, float, int]]:
    """Rows of confidence, accuracy and number of images out of evaluation.json.

    Raises:
        KeyError, TypeError, ValueError: they are none.
    """
    rows = [(float(row["confidence"]), float(row["accuracy"]), int(row["n"])) for row in value]
    if not rows or not all(0 <= number <= 1 for row in rows for number in row[:2]):
        raise ValueError("expected rows of numbers from 0 to 1")
    return rows


def confusion_chart(confusion: Confusion, theme: Theme) -> Figure:
    """The mistakes alone, from dark to bright; what was right stands on the diagonal."""
    classes, counts = confusion
    figure, axes = new_figure(theme)
    mistakes = counts - np.diag(np.diag(counts))
    shades = LinearSegmentedColormap.from_list("mistakes", [theme.panel, theme.accent])
    axes.imshow(mistakes, cmap=shades, vmin=0, vmax=max(1, int(mistakes.max())), aspect="auto")
    style(axes, theme)
    axes.grid(visible=False)
    if len(classes) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                is_strong = mistakes[row, column] > 0.5 * mistakes.max()
                colour = theme.muted if row == column else theme.panel if is_strong else theme.ink
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7.5, color=colour)
    if len(classes) <= LABELLED:
        names = [name if len(name) <= 12 else name[:11] + "…" for name in classes]
        is_long = max(map(len, names)) > 2
        size = 9 if len(classes) <= NUMBERED else 6
        axes.set_xticks(range(len(classes)), names, fontsize=size, rotation=90 if is_long else 0)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    return figure


def reliability_chart(rows: Sequence[tuple[float, float, int]], theme: Theme) -> Figure:
    """How often a classifier was right, against how sure it was; the larger a point, the more images."""
    figure, axes = new_figure(theme)
    confidence, accuracy, counts = (np.array(column) for column in zip(*rows, strict=True))
    axes.plot([0, 100], [0, 100], "--", color=theme.muted, lw=1, label="as sure as right")
    sizes = 12 + 160 * np.sqrt(counts / counts.sum())
    axes.plot(100 * confidence, 100 * accuracy, color=theme.accent, lw=1)
    axes.scatter(
        100 * confidence, 100 * accuracy, sizes, color=theme.accent, zorder=3, label="images alike sure"
    )
    style(axes, theme)
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("probability of the class given (%)")
    axes.set_ylabel("right (%)")
    legend(axes, theme, 2)
    return figure


def class_rows(confusion: Confusion) -> list[tuple[str, ...]]:
    """Each class: its images, the share that was right, and what the others were mostly taken for."""
    rows: list[tuple[str, ...]] = []
    for number, (name, counts) in enumerate(zip(*confusion, strict=True)):
        others = np.where(np.arange(len(counts)) == number, 0, counts)
        total, worst = int(counts.sum()), int(others.argmax())
        share = f"{100 * counts[number] / total:.2f}" if total else "–"
        taken = f"{confusion.classes[worst]} ({others[worst]})" if others[worst] else "–"
        rows.append((name, str(total), share, taken))
    return rows
