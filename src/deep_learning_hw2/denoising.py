"""The original report's figure 4: images with noise of 0.2, and below them what networks made of them.

The report fed noise to a network that had never seen any. Here that one stands beside two that have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from safelight import ImageSet, Run
    from safelight.networks.base import Network

__all__ = ["SETTINGS", "draw", "figure_4"]

SIGMA = 0.2
SHOWN = 10
SETTINGS: dict[str, dict[str, Any]] = {
    "conv-vae": {"epochs": 3, "batch_size": 49, "lr": 7e-3},
    "denoising-unet": {"epochs": 6, "lr": 2e-3, "precision": "bfloat16"},
}


def figure_4(runs: Mapping[str, Run], images: ImageSet, judge: Network | None = None) -> Figure:
    """Draw it.

    Args:
        runs: what each row is called, and the run that cleans in it.
        images: true ones, with labels; the first ten are drawn.
        judge: a classifier, by which digits are read; None writes none below the images.
    """
    import torch

    from safelight.data.corruption import Corruption
    from safelight.tasks.fidelity import read

    true = images.floats(slice(SHOWN))
    noisy = Corruption(f"gaussian:{SIGMA:g}")(true, torch.Generator().manual_seed(0))
    rows = {f"noise of {SIGMA:g}": noisy}
    rows |= {name: torch.from_numpy(run.denoise(noisy.numpy())) for name, run in runs.items()}
    labels = None if images.labels is None else images.labels[:SHOWN].tolist()
    misread = {}
    if judge is not None and labels is not None:
        for name, shown in rows.items():
            found = read(judge, shown).tolist()
            misread[name] = [None if a == b else str(a) for a, b in zip(found, labels, strict=True)]
    return draw({name: shown[:, 0].numpy() for name, shown in rows.items()}, misread)


def draw(rows: Mapping[str, NDArray[Any]], misread: Mapping[str, list[str | None]]) -> Figure:
    """Rows of images, with what was read in those that were misread.

    Args:
        rows: by their names, (N, H, W) in [0, 1].
        misread: likewise, for each image the digit that was read where it is not its own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.95 * len(rows)), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    count = max(len(images) for images in rows.values())
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image, digit in zip(line, images, misread.get(name, [None] * count), strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            if digit is not None:
                axes.set_xlabel(f"read as {digit}", fontsize=8, color="#b3282d", labelpad=1)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, labelpad=6)
    return figure
