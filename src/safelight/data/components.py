"""Principal components of images: how many they need, and how near they come with so many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import ImageSet

__all__ = ["Components", "fit_components", "sample_of"]

MOST_BYTES = 1 << 29  # of floats to fit to: every image of MNIST, 170 of 512×512 in colour


@dataclass(frozen=True, eq=False)
class Components:
    """A linear code: the mean image, and the directions in which images vary most.

    Attributes:
        mean: (C·H·W,)
        directions: (D, C·H·W), orthonormal, the one that explains most first.
        shares: (D,) of the images' variance that each direction explains.
    """

    mean: Tensor
    directions: Tensor
    shares: NDArray[np.float64]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images through their D coordinates and back, (N, C, H, W) in [0, 1] to the same."""
        centred = x.flatten(1) - self.mean
        return (self.mean + centred @ self.directions.T @ self.directions).clamp(0, 1).view_as(x)


def fit_components(images: ImageSet, count: int, side: int | None = None) -> Components:
    """The first principal components of images, or of as many as half a gigabyte holds, spread over the set.

    Args:
        images: to fit to.
        count: D; fewer where there are fewer images or pixels.
        side: shrink larger images to this many pixels a side.

    Example:
        >>> import safelight
        >>> found = fit_components(safelight.load("digits"), 64)
        >>> int((found.shares.cumsum() < 0.95).sum()) + 1
        29
    """
    from sklearn.decomposition import PCA  # scikit-learn takes half a second to import

    channels, height, width = images.shape
    scale = min(1.0, side / max(height, width)) if side else 1.0
    size = max(1, round(height * scale)), max(1, round(width * scale))

    def vectors(x: Tensor) -> Tensor:
        shrunk = x if scale == 1 else F.interpolate(x, size, mode="area")
        return shrunk.flatten(1)

    most = MOST_BYTES // (4 * channels * math.prod(size))
    x = sample_of(images, max(2, most)).mapped(vectors)  # (N, C·H·W)
    count = min(count, *x.shape)
    pca = PCA(count, svd_solver="randomized" if count < 0.8 * min(x.shape) else "full", random_state=0).fit(x)
    total = max(float(x.var(0, dtype=np.float64).sum()), 1e-12)
    explained = pca.explained_variance_.astype(np.float64) * (len(x) - 1) / len(x) / total
    return Components(
        torch.from_numpy(pca.mean_.astype(np.float32)),
        torch.from_numpy(pca.components_.astype(np.float32)),
        explained,
    )


def sample_of(images: ImageSet, most: int) -> ImageSet:
    """At most so many of the images, evenly from first to last."""
    if len(images) <= most:
        return images
    return images.subset(np.linspace(0, len(images) - 1, most).astype(np.int64))
