"""Exact nearest neighbours of codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ConfigError, DataError
from safelight.latent.codes import Codes

__all__ = ["METRICS", "Neighbours", "nearest", "nearest_of_parts"]

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


def nearest_of_parts(
    queries: NDArray[np.float32], parts: Iterable[Codes], k: int, metric: str = "cosine"
) -> Neighbours:
    """The k nearest of codes that come in parts, of which one at a time is held.

    Args:
        queries: (Q, D).
        parts: of the codes to search; a place counts through all of them.
        k: how many to find; all, where there are fewer.
        metric: cosine or euclidean.

    Raises:
        ConfigError: k is less than 1, or there is no such metric.
        DataError: a vector holds NaN or infinity, or there are no codes.

    Example:
        >>> points = np.array([[0, 1], [0, 2], [3, 0]], np.float32)
        >>> codes = Codes(points, None, np.zeros(3, np.float32), None, ("a", "b", "c"))
        >>> nearest_of_parts(points[:1], [codes, codes], 2, "euclidean").places.tolist()
        [[0, 3]]
    """
    names = np.empty((len(queries), 0), object)
    places, distances = np.empty(names.shape, np.int64), np.empty(names.shape, np.float32)
    first = 0
    for part in parts:
        at, far = nearest(queries, part.mu, min(k, len(part)), metric)
        names = np.concatenate([names, np.array(part.names, object)[at]], 1)
        places, distances = np.concatenate([places, at + first], 1), np.concatenate([distances, far], 1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        names, places, distances = (np.take_along_axis(x, order, 1) for x in (names, places, distances))
        first += len(part)
    if not first:
        raise DataError("expected at least one code, got none: every picture had an error; embed others")
    return Neighbours(tuple(map(tuple, names)), places, distances)
