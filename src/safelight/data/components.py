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

MOST_BYTES = 1 << 28  # of floats to fit to: every image of MNIST, 85 of 512×512 in colour


@dataclass(frozen=True, eq=False)
class Components:
    """A linear code: the mean image, and the directions in which images vary most.

    Attributes:
        mean: (C·H·W,)
        directions: (D, C·H·W), orthonormal, the one that explains most first.
        variances: (D,) of the images along each direction.
        total: their variance in all pixels.
    """

    mean: Tensor
    directions: Tensor
    variances: NDArray[np.float64]
    total: float

    @property
    def shares(self) -> NDArray[np.float64]:
        """(D,) of the images' variance that each direction explains."""
        return self.variances / self.total

    @property
    def noise(self) -> float:
        """The variance that no direction explains, a pixel (Tipping & Bishop 1999, equation 8)."""
        rest = self.directions.shape[1] - len(self.variances)
        return max(self.total - float(self.variances.sum()), 0.0) / max(rest, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to their coordinates, (N, D)."""
        return (x.flatten(1) - self.mean) @ self.directions.T

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images through their D coordinates and back, (N, C, H, W) in [0, 1] to the same."""
        return (self.mean + self.encode(x) @ self.directions).clamp(0, 1).view_as(x)


def fit_components(images: ImageSet, count: int, size: tuple[int, int] | None = None) -> Components:
    """The first principal components of images, or of a quarter of a gigabyte of them, spread over the set.

    Args:
        images: to fit to.
        count: D; fewer where there are fewer images or pixels.
        size: shrink the images to this height and width.

    Example:
        >>> import safelight
        >>> found = fit_components(safelight.load("digits"), 64)
        >>> int((found.shares.cumsum() < 0.95).sum()) + 1
        29
    """
    from sklearn.decomposition import PCA  # scikit-learn takes half a second to import

    channels, height, width = images.shape
    size = size or (height, width)

    def vectors(x: Tensor) -> Tensor:
        shrunk = x if size == (height, width) else F.interpolate(x, size, mode="area")
        return shrunk.flatten(1)

    most = MOST_BYTES // (4 * channels * math.prod(size))
    x = sample_of(images, max(2, most)).mapped(vectors)  # (N, C·H·W)
    count = min(count, *x.shape)
    pca = PCA(count, svd_solver="randomized" if count < 0.8 * min(x.shape) else "full", random_state=0)
    with np.errstate(invalid="ignore"):  # ratios of images that are all alike
        pca.fit(x)
    total = max(float(x.var(0, dtype=np.float64).sum()), 1e-12)
    variances = pca.explained_variance_.astype(np.float64) * (len(x) - 1) / len(x)
    return Components(
        torch.from_numpy(pca.mean_.astype(np.float32)),
        torch.from_numpy(pca.components_.astype(np.float32)),
        variances,
        total,
    )


def sample_of(images: ImageSet, most: int) -> ImageSet:
    """At most so many of the images, evenly from first to last."""
    if len(images) <= most:
        return images
    return images.subset(np.linspace(0, len(images) - 1, most).astype(np.int64))
