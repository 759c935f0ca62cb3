"""Exact nearest neighbours of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ConfigError, DataError

__all__ = ["METRICS", "Neighbours", "nearest"]

METRICS = ("cosine", "euclidean")
AT_ONCE = 16_000_000  # distances that are held at a time


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of a set to each query, the nearest first.

    Attributes:
        names: a tuple of k names for each query.
        places: (Q, k) int64, in the set that was searched.
        distances: (Q, k) float32: one minus the cosine, or Euclidean.
    """

    names: tuple[tuple[str, ...], ...]
    places: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest(
    queries: NDArray[np.float32], among: NDArray[np.float32], k: int, metric: str = "cosine"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places (Q, k) and distances (Q, k) of the k nearest, by comparing with every one.

    Args:
        queries: (Q, D).
        among: (N, D).
        k: from 1 to N.
        metric: cosine or euclidean.

    Raises:
        ConfigError: k or the metric is none of those.
        DataError: a vector holds NaN or infinity.

    Example:
        >>> points = np.array([[0, 1], [0, 2], [3, 0]], np.float32)
        >>> nearest(points[:1], points, 2, "euclidean")[0].tolist()
        [[0, 1]]
    """
    if metric not in METRICS:
        raise ConfigError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    if not 1 <= k <= len(among):
        raise ConfigError(f"k: expected 1 to {len(among)}, as many as there are images, got {k}")
    if not (np.isfinite(queries).all() and np.isfinite(among).all()):
        raise DataError("expected finite codes, got some that hold NaN or infinity; train again")
    if metric == "cosine":
        queries, among = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (queries, among))
    squares = (among**2).sum(1)
    places = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    step = max(1, AT_ONCE // len(among))
    for first in range(0, len(queries), step):
        part = queries[first : first + step]
        far = squares - 2 * part @ among.T  # (q, N), all but the query's own square
        chosen = np.argpartition(far, k - 1, axis=1)[:, :k]
        gaps = among[chosen] - part[:, None]  # (q, k, D): exact where far has cancelled
        exact = np.linalg.norm(gaps, axis=2)
        order = np.argsort(exact, axis=1, kind="stable")
        places[first : first + step] = np.take_along_axis(chosen, order, 1)
        distances[first : first + step] = np.take_along_axis(exact, order, 1)
    if metric == "cosine":
        distances = np.asarray(distances**2 / 2, np.float32)
    return places, distances
