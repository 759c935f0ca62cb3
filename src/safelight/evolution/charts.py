"""A search's charts: its population, its genes, where its winner comes from, and its Pareto front."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from safelight.config.task import Measure
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ledger import Trial
from safelight.reporting.charts import DPI, SIZE, Theme, legend, new_figure, style

__all__ = [
    "family_chart",
    "forecast_chart",
    "gene_label",
    "importance_chart",
    "parallel_chart",
    "pareto_chart",
    "population_chart",
]

SHOWN = 4.0  # times the distance from the best loss to the median; what is worse is drawn at the edge
WIDE = 8.0  # inches, across a whole page
LABELLED = 40  # nodes of a family tree that bear their numbers


def gene_label(name: str) -> str:
    """A gene as people read it.

    Example:
        >>> gene_label("network.channels.0"), gene_label("training.weight_decay")
        ('channels 1', 'weight decay')
    """
    _, _, setting = name.partition(".")
    setting, _, element = setting.partition(".")
    return f"{setting} {int(element) + 1}" if element else setting.replace("_", " ")


def population_chart(
    generations: Sequence[Sequence[float]], measure: Measure, theme: Theme, longer: Sequence[int] = ()
) -> Figure:
    """All fitnesses by generation, the best of each, and the best so far.

    Args:
        generations: validation losses of each generation's trials, infinite where one failed.
        measure: what the losses are.
        theme: colours.
        longer: the epochs of the last of these generations, which are of longer trainings.
    """
    figure, axes = new_figure(theme)
    losses = [loss for generation in generations for loss in generation if loss < math.inf]
    bottom, top = _losses_span(losses)
    rng = np.random.default_rng(0)
    for i, generation in enumerate(generations, 1):
        x = i + rng.uniform(-0.22, 0.22, len(generation))
        values = np.array(generation)
        inside = values <= top
        axes.plot(x[inside], values[inside], "o", ms=3.6, mew=0, color=theme.second, alpha=0.55, zorder=2)
        failed = values == math.inf
        axes.plot(x[failed], np.full(failed.sum(), top), "x", ms=4.5, color=theme.muted, clip_on=False)
        beyond = ~inside & ~failed
        axes.plot(
            x[beyond], np.full(beyond.sum(), top), "^", ms=4, color=theme.second, alpha=0.55, clip_on=False
        )
    so_far = np.minimum.accumulate([min(generation, default=math.inf) for generation in generations])
    every = range(1, len(generations) + 1)
    axes.plot(every, so_far, "o-", color=theme.accent, lw=2, ms=4, label="best so far")
    axes.plot([], [], "o", ms=4, mew=0, color=theme.second, alpha=0.7, label="a trial")
    if any(loss > top for generation in generations for loss in generation):
        axes.plot([], [], "^", ms=4, color=theme.second, alpha=0.7, label="worse")
    if any(loss == math.inf for generation in generations for loss in generation):
        axes.plot([], [], "x", ms=4.5, color=theme.muted, label="failed")
    style(axes, theme)
    axes.set_xlabel("generation")
    axes.set_ylabel(f"validation {measure.title}")
    axes.set_ylim(bottom, top)
    axes.set_xlim(0.4, len(generations) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    if longer:
        short = len(generations) - len(longer)
        names = [*map(str, range(1, short + 1)), *(f"{epochs}\nepochs" for epochs in longer)]
        axes.set_xticks(every, names)
        axes.axvline(short + 0.5, ls=":", lw=1, color=theme.muted)
    legend(axes, theme, 4)
    return figure


def parallel_chart(space: Space, trials: Sequence[Trial], theme: Theme) -> Figure:
    """Every trial as a line through its genes' values, the best in the strongest colour.

    Args:
        space: the genes.
        trials: in order from best to worst.
        theme: colours.
    """
    names = list(space.genes)
    figure = Figure(
        figsize=(max(WIDE, 0.72 * len(names) + 1), 4.4),
        dpi=DPI,
        facecolor=theme.panel,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = np.array([_height(space, trial) for trial in trials])
    strength = np.linspace(1, 0, len(trials)) if len(trials) > 1 else np.ones(1)
    colours = LinearSegmentedColormap.from_list("", [theme.line, theme.second, theme.accent])
    x = np.arange(len(names))
    for row, share in list(zip(rows, strength, strict=True))[::-1]:  # the best on top
        axes.plot(x, row, color=colours(share**3), lw=0.7 + 1.1 * share**3, alpha=0.35 + 0.6 * share**3)
        alone = ~np.isnan(row) & np.isnan([math.nan, *row[:-1]]) & np.isnan([*row[1:], math.nan])
        axes.plot(x[alone], row[alone], "_", color=colours(share**3), ms=6, mew=1.2)
    for i, name in enumerate(names):
        gene = space.genes[name]
        axes.axvline(i, color=theme.muted, lw=0.8, zorder=0)
        low, high = _ends(gene)
        axes.text(i, -0.03, low, ha="center", va="top", fontsize=8.5, color=theme.muted)
        axes.text(i, 1.03, high, ha="center", va="bottom", fontsize=8.5, color=theme.muted)
        for j, choice in enumerate(gene.choices):
            if 0 < j < len(gene.choices) - 1:
                axes.text(
                    i + 0.06,
                    _choice_height(gene, j),
                    str(choice),
                    fontsize=7.5,
                    color=theme.muted,
                    va="center",
                )
    axes.set_xticks(
        x,
        [gene_label(name) for name in names],
        rotation=30 if len(names) > 5 else 0,
        ha="right" if len(names) > 5 else "center",
    )
    axes.tick_params(colors=theme.ink, labelsize=9.5, length=0, pad=16)
    axes.set_yticks([])
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(-0.04, 1.04)
    axes.set_facecolor(theme.panel)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def importance_chart(importances: Mapping[str, float], theme: Theme) -> Figure:
    """What share of the variance of the trials' ranks each gene explains."""
    figure = Figure(
        figsize=(SIZE[0], max(2.0, 0.33 * len(importances) + 0.8)),
        dpi=DPI,
        facecolor=theme.panel,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = sorted(importances, key=lambda name: importances[name])
    axes.barh(
        [gene_label(name) for name in names],
        [importances[name] for name in names],
        color=theme.accent,
        height=0.65,
    )
    style(axes, theme)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=theme.line, linewidth=0.9)
    axes.tick_params(axis="y", colors=theme.ink)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the variance of ranks")
    return figure


def family_chart(ancestors: Sequence[Trial], population: int, theme: Theme) -> Figure:
    """The winner and all that it descends from, by generation.

    Args:
        ancestors: the winner first.
        population: trials a generation.
        theme: colours.
    """
    generation = _generation_of(ancestors, population)
    place = _layout(ancestors, generation)
    rows = max(map(len, _by_generation(generation).values()))
    figure = Figure(
        figsize=(WIDE, min(9.0, max(2.6, 0.3 * rows + 1.2))),
        dpi=DPI,
        facecolor=theme.panel,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = [
        [(generation[parent], place[parent]), (generation[trial.number], place[trial.number])]
        for trial in ancestors
        for parent in trial.parents
        if parent in generation
    ]
    axes.add_collection(LineCollection(lines, colors=theme.muted, linewidths=0.8, alpha=0.6))
    shown = {"known": "s", "latin-hypercube": "o", "immigrant": "D", "offspring": "o", "sampler": "o"}
    shown |= {"foretold": "^", "halving": "v"}
    for trial in ancestors:
        first = trial is ancestors[0]
        colour = (
            theme.accent if first or trial.origin in ("offspring", "foretold", "halving") else theme.second
        )
        axes.plot(
            generation[trial.number],
            place[trial.number],
            shown.get(trial.origin, "o"),
            ms=9 if first else 5.5,
            color=colour,
        )
        if first or len(ancestors) <= LABELLED:
            axes.annotate(
                f"{trial.number}",
                (generation[trial.number], place[trial.number]),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=7.5 if not first else 9.5,
                color=theme.ink,
                fontweight="bold" if first else "normal",
            )
    axes.plot([], [], "o", ms=5.5, color=theme.accent, label="offspring")
    axes.plot([], [], "o", ms=5.5, color=theme.second, label="drawn")
    if any(trial.origin == "known" for trial in ancestors):
        axes.plot([], [], "s", ms=5.5, color=theme.second, label="known before")
    if any(trial.origin == "immigrant" for trial in ancestors):
        axes.plot([], [], "D", ms=5.5, color=theme.second, label="immigrant")
    for origin, words in (("foretold", "foretold, trained longer"), ("halving", "trained longer")):
        if any(trial.origin == origin for trial in ancestors):
            axes.plot([], [], shown[origin], ms=5.5, color=theme.accent, label=words)
    style(axes, theme)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.margins(y=0.12)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14, min_n_ticks=1))
    axes.set_xlim(min(generation.values()) - 0.5, max(generation.values()) + 0.5)
    legend(axes, theme, 4)
    return figure


def forecast_chart(trials: Sequence[Trial], measure: Measure, theme: Theme) -> Figure:
    """What was foretold of trials, with its deviation, against what they came to.

    Args:
        trials: with a forecast and an outcome each.
        measure: what is drawn.
        theme: colours.
    """
    figure, axes = new_figure(theme)
    ends = [end for t in trials if t.forecast for end in (t.rank_by[0], t.forecast[0])]
    least, most = min(ends), max(ends)
    axes.plot([least, most], [least, most], "--", lw=1, color=theme.muted, label="as foretold")
    margin = 0.2 * max(most - least, 1e-9)  # where a forecast that is not sure of anything is cut
    axes.set_ylim(least - margin, most + margin)
    schedules = sorted({t.schedule for t in trials if t.schedule})
    for schedule, marker, colour in zip(schedules, ("o", "^"), (theme.second, theme.accent), strict=False):
        of_it = [(t.rank_by[0], t.forecast) for t in trials if t.schedule == schedule and t.forecast]
        axes.errorbar(
            [outcome for outcome, _ in of_it],
            [forecast for _, (forecast, _, _) in of_it],
            [deviation for _, (_, deviation, _) in of_it],
            fmt=marker,
            ms=6,
            lw=1,
            color=colour,
            label=f"{schedule} epochs",
        )
    style(axes, theme)
    axes.set_xlabel(f"{measure.words} that it came to ({measure.unit})")
    axes.set_ylabel("forecast")
    legend(axes, theme, 3)
    return figure


def pareto_chart(
    points: Sequence[tuple[float, float]],
    front: Sequence[tuple[float, float]],
    what: str,
    measure: Measure,
    theme: Theme,
) -> Figure:
    """Loss against size of every trial, and the front: those that no other beats in both.

    Args:
        points: (size, loss) of each trial.
        front: those of the front.
        what: the size's name, parameters or FLOPs of an image.
        measure: what the losses are.
        theme: colours.
    """
    figure, axes = new_figure(theme)
    losses = [loss for _, loss in points]
    bottom, top = _losses_span(losses)
    for group, colour, size, label in (
        (points, theme.second, 4.0, "a trial"),
        (front, theme.accent, 5.5, "the Pareto front"),
    ):
        axes.plot(
            [width for width, _ in group],
            [min(loss, top) for _, loss in group],
            "o",
            ms=size,
            mew=0,
            color=colour,
            label=label,
            clip_on=False,
        )
    ordered = sorted(front)
    axes.step(*zip(*ordered, strict=True), where="post", color=theme.accent, lw=1.6)
    style(axes, theme)
    axes.set_xscale("log")
    least, most = min(width for width, _ in points), max(width for width, _ in points)
    is_wide = most >= 5 * least  # so that at least two of the locator's numbers lie between
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12) if is_wide else MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel(what)
    axes.set_ylabel(f"validation {measure.title}")
    axes.set_ylim(bottom, top)
    legend(axes, theme, 4)
    return figure


def _losses_span(losses: Sequence[float]) -> tuple[float, float]:
    """The range of an axis on which the good ones can be told apart."""
    best, middle = min(losses), statistics.median(losses)
    margin = 0.06 * (SHOWN * (middle - best) or max(1e-3, 0.1 * abs(best)))
    return best - margin, min(max(losses), best + SHOWN * (middle - best)) + margin


def _height(space: Space, trial: Trial) -> list[float]:
    """Where a trial's line crosses each gene's axis; NaN where the gene does not act."""
    heights = []
    for name, gene in space.genes.items():
        if name not in trial.values:
            heights.append(math.nan)
        elif gene.kind == "categorical":
            heights.append(_choice_height(gene, gene.choices.index(trial.values[name])))
        else:
            heights.append(gene.encode(trial.values[name]))
    return heights


def _choice_height(gene: Gene, index: int) -> float:
    return index / (len(gene.choices) - 1) if len(gene.choices) > 1 else 0.5


def _ends(gene: Gene) -> tuple[str, str]:
    if gene.kind == "categorical":
        return str(gene.choices[0]), str(gene.choices[-1]) if len(gene.choices) > 1 else ""
    return f"{gene.low:g}", f"{gene.high:g}"


def _generation_of(ancestors: Sequence[Trial], population: int) -> dict[int, int]:
    """Counted from 1; longer trainings come after all short ones, and after what they descend from."""
    found: dict[int, int] = {}
    for trial in sorted(ancestors, key=lambda trial: trial.number):
        if trial.schedule is None:
            found[trial.number] = trial.number // population + 1
        else:
            short = [found[t.number] for t in ancestors if t.schedule is None and t.number in found]
            found[trial.number] = 1 + max(
                [*short, *(found[p] for p in trial.parents if p in found)], default=0
            )
    return found


def _by_generation(generation: Mapping[int, int]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for number in sorted(generation):
        members.setdefault(generation[number], []).append(number)
    return members


def _layout(ancestors: Sequence[Trial], generation: Mapping[int, int]) -> dict[int, float]:
    """Heights: each generation spread evenly, everyone near the middle of their children."""
    children: dict[int, list[int]] = {}
    for trial in ancestors:
        for parent in trial.parents:
            children.setdefault(parent, []).append(trial.number)
    place: dict[int, float] = {}
    for _, members in sorted(_by_generation(generation).items(), reverse=True):
        wish = {
            n: statistics.fmean([place[child] for child in children.get(n, []) if child in place] or [0.0])
            for n in members
        }
        for i, number in enumerate(sorted(members, key=lambda n: (wish[n], n))):
            place[number] = i - (len(members) - 1) / 2
    return place
