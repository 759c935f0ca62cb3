"""What a classifier's training images look like to it, so that others can be told from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from safelight.runs.state import to_bytes

__all__ = ["Typical"]

SHARE = 0.99  # of the training images, that count as typical
RIDGE = 1e-3  # of the mean variance, added to each direction's


@final
@dataclass(frozen=True, eq=False)
class Typical:
    """A Gaussian around each class's features, with one covariance for all.

    Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples, equation 2.

    Attributes:
        means: (K, D), of each class.
        precision: (D, D), the inverse of the covariance.
        limit: the squared Mahalanobis distance that 99 of 100 training images lie within.

    Example:
        >>> import numpy as np
        >>> features = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
        >>> typical = Typical.of(features, np.zeros(1000, int))
        >>> typical.unlike(np.array([[0, 0, 0, 0], [9, 0, 0, 0]], np.float32))
        array([False,  True])
    """

    means: NDArray[np.float32]
    precision: NDArray[np.float32]
    limit: float

    @classmethod
    def of(cls, features: NDArray[np.float32], classes: NDArray[np.int64]) -> Typical:
        """Learn it from training images' features, (N, D), and the classes that they are given, (N,)."""
        means = np.stack([features[classes == number].mean(0) for number in np.unique(classes)])
        centered = features - means[np.unique(classes, return_inverse=True)[1]]
        covariance = centered.T @ centered / len(centered)
        ridge = RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        precision = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
        fitted = cls(means.astype(np.float32), precision.astype(np.float32), 0.0)
        return cls(fitted.means, fitted.precision, float(np.quantile(fitted.distances(features), SHARE)))

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The squared Mahalanobis distance of features (N, D) to the nearest class, (N,)."""
        nearest = np.full(len(features), np.inf, np.float32)
        for mean in self.means:
            offsets = features - mean
            nearest = np.minimum(nearest, ((offsets @ self.precision) * offsets).sum(1))
        return nearest

    def unlike(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which images, by their features (N, D), lie further out than 99 of 100 training images; (N,)."""
        return self.distances(features) > self.limit

    def to_bytes(self) -> bytes:
        """As the bytes of a safetensors file."""
        arrays = {"means": self.means, "precision": self.precision, "limit": np.float32(self.limit)}
        return to_bytes({name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()})

    @classmethod
    def from_bytes(cls, content: bytes) -> Typical:
        """Read it back.

        Raises:
            ValueError: these are no such bytes.
        """
        try:
            found: dict[str, Any] = {k: t.numpy() for k, t in safetensors.torch.load(content).items()}
            means, precision, limit = found["means"], found["precision"], float(found["limit"])
        except (safetensors.SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"no typical features ({error})") from None
        if means.ndim != 2 or precision.shape != (means.shape[1],) * 2:
            raise ValueError("no typical features (other shapes)")
        return cls(means, precision, limit)
