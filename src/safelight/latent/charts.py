"""Maps and traversals drawn for light and dark pages, tens of thousands of points in a second or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from safelight.data.pictures import tile
from safelight.errors import ConfigError
from safelight.latent.maps import LatentMap
from safelight.latent.walks import Traversals
from safelight.reporting.charts import DARK, Theme, legend_label

__all__ = ["COLOURS", "map_chart", "map_words", "traversal_chart"]

By = Literal["label", "cluster", "loss"]

DPI = 150
# Petroff (2021), Accessible Color Sequences for Data Visualization: ten colours that colour-blind readers can
# tell apart, for points on a light and on a dark page.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
LONGEST_NAME = 24  # letters of a class
METHOD_WORDS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def map_chart(
    latent_map: LatentMap, theme: Theme, by: By | None = None, class_names: Mapping[int, str] | None = None
) -> Figure:
    """A map as a chart: a point an image, what the colours mean, and how far the map can be trusted.

    Groups bear their names where they lie, so that no reader depends on the colours. Of more than ten, the
    nine largest are named and the others are grey.

    Args:
        latent_map: the map.
        theme: colours.
        by: what the colours show: label, cluster, or loss (the reconstruction's); by default the labels where
            there are any, else the clusters.
        class_names: what the labels are called.

    Raises:
        ConfigError: the colours should show labels, and there are none.
    """
    by = by or ("cluster" if latent_map.labels is None else "label")
    groups = latent_map.labels if by == "label" else latent_map.clusters
    if groups is None:
        raise ConfigError("by: expected cluster or loss for images without labels, got label")
    space = latent_map.points.shape[1] == 3
    figure = Figure(figsize=(6.0, 6.4), dpi=DPI, facecolor=theme.panel)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes(
        (0.0, 0.09, 1.0, 0.83) if space else (0.06, 0.115, 0.91, 0.805), projection="3d" if space else None
    )
    order = np.random.default_rng(0).permutation(len(latent_map))  # no group hides the others
    points = latent_map.points[order]
    look = {"s": float(np.clip(12_000 / len(points), 1.6, 30)), "linewidths": 0, "alpha": 0.8}
    if space:
        look["depthshade"] = False
    if by == "loss":
        values = latent_map.reconstruction[order]
        low, high = np.percentile(values, [1, 99])
        visible = (0.3, 1.0) if theme == DARK else (0.0, 0.85)  # the shades that a page does not swallow
        shades = ListedColormap(colormaps["cividis"](np.linspace(*visible, 256)))
        drawn = axes.scatter(*points.T, c=values, cmap=shades, vmin=low, vmax=high, **look)
        _colour_bar(figure, drawn, theme)
    else:
        shown, colours = _grouped(groups, theme)
        axes.scatter(*points.T, c=colours[order], **look)
        _name_groups(figure, axes, latent_map, groups, shown, by, theme, class_names or {})
    _frame(axes, latent_map, theme, space)
    figure.text(
        0.03, 0.012, "\n".join(map_words(latent_map)), color=theme.muted, fontsize=8.5, linespacing=1.35
    )
    return figure


def traversal_chart(found: Traversals, images: NDArray[np.floating[Any]], theme: Theme) -> Figure:
    """A row of images for each dimension, the most telling first, with what it tells beside it.

    Args:
        found: the traversals.
        images: (R, steps, C, H, W) in [0, 1], decoded from their codes.
        theme: colours.
    """
    rows, steps = images.shape[:2]
    sheet = tile(images.reshape(-1, *images.shape[2:]), steps)
    unit, left, below = 0.55, 1.25, 0.45  # inches: of a row, of the words beside and below the images
    height = unit * rows
    width = height * sheet.width / sheet.height
    figure = Figure(figsize=(left + width + 0.1, height + below + 0.1), dpi=DPI, facecolor=theme.panel)
    FigureCanvasAgg(figure)
    w, h = figure.get_size_inches()
    axes = figure.add_axes((left / w, below / h, width / w, height / h))
    axes.set_facecolor(theme.panel)
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    middles = (np.arange(rows) + 0.5) * sheet.height / rows
    unit_words = " nats" if found.is_kl else ""
    words = [f"z{d}   {t:.2f}{unit_words}" for d, t in zip(found.dimensions, found.tells, strict=True)]
    axes.set_yticks(middles, words)
    axes.set_xticks([0, sheet.width / 2, sheet.width], ["1%", "of the data", "99%"])
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(colors=theme.muted, length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _grouped(groups: NDArray[np.int64], theme: Theme) -> tuple[list[int], NDArray[np.float64]]:
    """The groups that are named, in their order, and each point's colour."""
    values, counts = np.unique(groups, return_counts=True)
    if len(values) > len(COLOURS):
        values = np.sort(values[np.argsort(-counts, kind="stable")[: len(COLOURS) - 1]])
    palette = to_rgba_array([*COLOURS[: len(values)], theme.line])
    at = np.searchsorted(values, groups).clip(max=len(values) - 1)
    return values.tolist(), palette[np.where(values[at] == groups, at, len(values))]


def _name_groups(
    figure: Figure,
    axes: Any,
    latent_map: LatentMap,
    groups: NDArray[np.int64],
    shown: Sequence[int],
    by: By,
    theme: Theme,
    class_names: Mapping[int, str],
) -> None:
    """Each group's name at its middle and in the legend."""
    outline = [withStroke(linewidth=2.6, foreground=theme.panel)]
    handles = []
    middles = [np.median(latent_map.points[groups == group], 0) for group in shown]
    reach = np.ptp(latent_map.points, 0).max()
    for i, (group, middle) in enumerate(zip(shown, _apart(np.array(middles), 0.045 * reach), strict=True)):
        whole = class_names.get(group, str(group))
        name = legend_label(whole if len(whole) <= LONGEST_NAME else f"{whole[: LONGEST_NAME - 1]}…")
        colour = COLOURS[i]
        handles.append(_dot(colour, name))
        axes.text(
            *map(float, middle),
            name,
            color=theme.ink,
            fontsize=11,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=outline,
            zorder=10,
        )
    if len(np.unique(groups)) > len(shown):
        handles.append(
            Line2D([], [], marker="o", linestyle="", color=theme.line, markersize=6, label="other")
        )
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.legend(
        handles=handles,
        title={"label": "label", "cluster": "cluster"}[by],
        title_fontsize=9,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.995),
        ncols=len(handles) if longest <= 3 else 5,
        frameon=False,
        labelcolor=theme.ink,
        fontsize=9 if longest <= 12 else 7,
        handletextpad=0.1,
        columnspacing=0.9,
    ).get_title().set_color(theme.muted)


def _apart(places: NDArray[np.floating[Any]], least: float) -> NDArray[np.floating[Any]]:
    """Places moved until no two are nearer than `least`, or nearly."""
    places = places + np.linspace(0, 1e-3 * least, len(places))[:, None]  # equal ones need a direction
    for _ in range(50):
        ways = places[:, None] - places  # (n, n, dims)
        distances = np.linalg.norm(ways, axis=2)
        np.fill_diagonal(distances, np.inf)
        pushes = np.maximum(least - distances, 0) / np.maximum(distances, 1e-12)
        places = places + 0.25 * (ways * pushes[..., None]).sum(1)
    return places


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", color=colour, markersize=6, label=label)


def _colour_bar(figure: Figure, drawn: Any, theme: Theme) -> None:
    axes = figure.add_axes((0.2, 0.957, 0.6, 0.015))
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    axes.tick_params(colors=theme.muted, labelsize=8, length=0)
    axes.set_title("reconstruction loss (nats)", color=theme.muted, fontsize=9, pad=3)


def _frame(axes: Any, latent_map: LatentMap, theme: Theme, space: bool) -> None:
    axes.set_facecolor(theme.panel)
    if space:
        axes.tick_params(color=theme.panel)
        for axis, values in zip((axes.xaxis, axes.yaxis, axes.zaxis), latent_map.points.T, strict=True):
            low, high = np.percentile(values, [0.2, 99.8])
            axis.axes.set(**{f"{axis.axis_name}lim": (low, high) if low < high else None})
            axis.set_ticklabels([])
            axis.set_pane_color(to_rgba_array(theme.panel)[0])
            axis.line.set_color(theme.line)
            axis._axinfo["grid"].update(color=theme.line, linewidth=0.7)
        axes.set_box_aspect((1, 1, 1), zoom=1.08)
    else:
        axes.tick_params(labelbottom=False, labelleft=False, length=0)
        for spine in axes.spines.values():
            spine.set_color(theme.line)
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.03)
    explained = latent_map.explained_variance or ()
    for i, (name, share) in enumerate(zip("xyz", (*explained, None, None, None), strict=False)):
        if share is not None:
            setter = getattr(axes, f"set_{name}label")
            setter(
                f"component {i + 1}: {share:.0%}", color=theme.muted, fontsize=9, labelpad=-8 if space else 4
            )


def map_words(latent_map: LatentMap) -> list[str]:
    """What the map is, and how far it can be trusted."""
    config, quality = latent_map.config, latent_map.quality
    of_what = "draws of q(z | x)" if config.sampled else "codes"
    extra = {
        "pca": "",
        "tsne": f", perplexity {config.perplexity:g}",
        "umap": f", {config.neighbours} neighbours",
    }[config.method] + (", by cosine" if config.metric == "cosine" else "")
    lines = [f"{METHOD_WORDS[config.method]} of {len(latent_map):,} {of_what}{extra}"]
    if latent_map.explained_variance:
        lines[0] += f"; {sum(latent_map.explained_variance):.0%} of their variance"
    if quality:
        lines.append(
            f"Trustworthiness {quality.trustworthiness:.3f}; {quality.neighbour_preservation:.0%} of each "
            f"code's {quality.neighbours} nearest are its nearest here"
        )
    return lines
