"""The charts: measures against epochs, and several runs in one picture.

Drawn with matplotlib's objects, without pyplot and its global state, so that nothing of a user's own figures
is touched. Every chart of a report comes in two themes, for a light and for a dark page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from safelight.files import write_file
from safelight.reporting.summary import Summary

__all__ = [
    "DARK",
    "DPI",
    "LIGHT",
    "Theme",
    "comparison_chart",
    "legend",
    "legend_label",
    "judge_chart",
    "new_figure",
    "others_chart",
    "render",
    "style",
    "write_both",
]

DPI = 220
SIZE = (5.0, 3.5)  # inches: legible also on a page as narrow as a telephone's
# Okabe & Ito's colours, which colour-blind readers can tell apart; yellow is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3a3a3a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Theme:
    """Colours of a page and its charts.

    Attributes:
        page: behind everything.
        panel: behind charts and tables.
        ink: of words.
        muted: of lesser words.
        line: of rules and grids.
        accent: of what matters most, and of links.
        second: of what it is compared with.
    """

    page: str
    panel: str
    ink: str
    muted: str
    line: str
    accent: str
    second: str


LIGHT = Theme("#f8f6f3", "#ffffff", "#211d1a", "#665f59", "#e3ddd6", "#b3282d", "#1f6fae")
DARK = Theme("#141110", "#1d1917", "#efe9e3", "#aea59d", "#3a332f", "#ff7d70", "#74b8ee")


def judge_chart(run: Summary, theme: Theme) -> Figure:
    """The judging measure of training and validation against the epoch, the best validation marked."""
    figure, axes = new_figure(theme)
    name, x = run.judge.name, [epoch.epoch for epoch in run.epochs]
    _line(axes, x, [epoch.train.get(name) for epoch in run.epochs], theme.second, "--", "s", "training")
    if run.best:
        validation = [epoch.validation.get(name) for epoch in run.epochs]
        _line(axes, x, validation, theme.accent, "-", "o", "validation")
        at, best = run.best.epoch, run.best.validation[name] or 0.0
        label = f"best: {best:.{run.judge.digits}f}"
        axes.plot([at], [best], "o", ms=10, mfc="none", mec=theme.accent, mew=1.6, label=label)
    _finish(axes, theme, x, run.judge.title)
    return figure


def others_chart(run: Summary, theme: Theme) -> Figure:
    """The other measures against the epoch, each on its own scale."""
    measures, x = run.others, [epoch.epoch for epoch in run.epochs]
    size = (SIZE[0], SIZE[1] if len(measures) < 3 else 1.5 * len(measures))
    figure = Figure(figsize=size, dpi=DPI, facecolor=theme.panel, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(measures), 1, sharex=True, squeeze=False)[:, 0]
    looks = ((theme.accent, "o"), (theme.second, "s"))
    for i, (axes, measure) in enumerate(zip(panels, measures, strict=True)):
        colour, marker = looks[i % len(looks)]
        _line(axes, x, [epoch.value(measure.name) for epoch in run.epochs], colour, "-", marker, "")
        _finish(axes, theme, x, "", with_legend=False)
        axes.set_title(measure.title, loc="left", color=colour, fontsize=10.5, fontweight="bold")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=3))
    for axes in panels[:-1]:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)
        axes.spines["bottom"].set_color(theme.line)
    return figure


def comparison_chart(
    groups: Sequence[tuple[str, Sequence[tuple[str, Summary]]]], theme: Theme = LIGHT
) -> Figure:
    """Validation losses of several runs against the epoch.

    Args:
        groups: runs whose losses can be compared, under the words that say so: one panel each.
        theme: colours.
    """
    count = sum(len(runs) for _, runs in groups)
    height = 3.9 * len(groups) + 0.25 * count + 0.3
    figure = Figure(figsize=(8, height), dpi=DPI, facecolor=theme.panel)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    drawn = 0
    for axes, (title, runs) in zip(panels, groups, strict=True):
        for label, run in runs:
            colour, marker = COLOURS[drawn % len(COLOURS)], MARKERS[drawn % len(MARKERS)]
            line = LINES[(drawn + drawn // len(COLOURS)) % len(LINES)]
            values = [epoch.value(run.judge.name) for epoch in run.epochs]
            label = legend_label(label if run.validated else f"{label} (training: no validation)")
            _line(axes, [epoch.epoch for epoch in run.epochs], values, colour, line, marker, label)
            drawn += 1
        longest = max((run.epochs for _, run in runs), key=len)
        what = "validation " if all(run.validated for _, run in runs) else ""
        ylabel = what + runs[0][1].judge.title
        _finish(axes, theme, [epoch.epoch for epoch in longest], ylabel, with_legend=False)
        axes.set_title(title, loc="left", color=theme.ink, fontsize=10.5)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.17),
            frameon=False,
            labelcolor=theme.ink,
            fontsize=10,
            handlelength=3.2,
        )
    return figure


def write_both(figures: Path, name: str, draw: Callable[[Theme], Figure]) -> None:
    """Write a chart as NAME.png for light pages and NAME-dark.png for dark ones."""
    write_file(figures / f"{name}.png", render(draw(LIGHT)))
    write_file(figures / f"{name}-dark.png", render(draw(DARK)))


def render(figure: Figure) -> bytes:
    """The bytes of a PNG file of a figure, of 256 colours: a third of the bytes.

    Its text is drawn letter by letter: names may hold what matplotlib would take for a formula.
    """
    buffer = io.BytesIO()
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings(), rc_context({"text.parse_math": False}):  # of ticks that are made now
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name the font has no letters for
        figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def legend_label(name: str) -> str:
    """A name as a legend shows it, which leaves out what begins with _."""
    return f" {name}" if name.startswith("_") else name


def new_figure(theme: Theme) -> tuple[Figure, Axes]:
    """A chart of the usual size, empty."""
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor=theme.panel, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _line(
    axes: Axes, x: Sequence[int], y: Sequence[float | None], colour: str, style: str, marker: str, label: str
) -> None:
    axes.plot(
        x,
        [float("nan") if value is None else value for value in y],
        color=colour,
        linestyle=style,
        linewidth=1.9,
        marker=marker,
        markersize=4.5,
        markevery=max(1, len(x) // 12),
        label=label,
    )


def _finish(axes: Axes, theme: Theme, x: Sequence[int], ylabel: str, with_legend: bool = True) -> None:
    style(axes, theme)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    margin = max(0.5, 0.03 * (x[-1] - x[0]))
    axes.set_xlim(x[0] - margin, x[-1] + margin)
    if with_legend:
        legend(axes, theme, 3)


def legend(axes: Axes, theme: Theme, columns: int) -> None:
    """What the marks mean, above the chart."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=columns,
        frameon=False,
        labelcolor=theme.ink,
        fontsize=10.5,
        handlelength=2.1,
        columnspacing=1.2,
    )


def style(axes: Axes, theme: Theme) -> None:
    """What all charts look like."""
    axes.set_facecolor(theme.panel)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.muted)
    axes.tick_params(colors=theme.muted, labelsize=10, length=0)
    axes.grid(axis="y", color=theme.line, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(theme.muted)
    axes.yaxis.label.set_color(theme.muted)
    axes.xaxis.label.set_fontsize(10.5)
    axes.yaxis.label.set_fontsize(10.5)
