"""How faithful a map is, and how good samples are: functions of arrays of points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MapQuality", "frechet_distance", "map_quality", "neighbours", "precision_recall"]

Points = NDArray[np.floating[Any]]
NEIGHBOURS = 12
ANCHORS = 2000  # points whose neighbours are looked at
BLOCK = 1 << 24  # distances in memory at a time


class MapQuality(NamedTuple):
    """How much of a map's neighbourhoods is true.

    Attributes:
        trustworthiness: 1 where neighbours on the map are neighbours among the codes, about 0.5 at random.
        neighbour_preservation: share of a code's nearest neighbours that are its nearest on the map too.
        neighbours: how many were looked at.
    """

    trustworthiness: float
    neighbour_preservation: float
    neighbours: int


def neighbours(points: Points, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest other points of each point, exactly.

    Args:
        points: (N, D).
        k: how many, less than N.

    Returns:
        Their places (N, k), nearest first, and Euclidean distances (N, k).

    Example:
        >>> neighbours(np.array([[0.0], [1.0], [3.0]]), 1)[0].ravel().tolist()
        [1, 0, 1]
    """
    from sklearn.neighbors import NearestNeighbors

    distances, places = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(points).kneighbors(points)
    others = _others(places, np.arange(len(points)))
    return places[others].reshape(-1, k).astype(np.int64), distances[others].reshape(-1, k)


def _others(places: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of each point's k + 1 nearest are its k nearest but itself."""
    others: NDArray[np.bool_] = places != own[:, None]
    others[others.all(1), -1] = False  # so many points at one place that it is not among its own nearest
    return others


def map_quality(codes: Points, points: Points, seed: int = 0) -> MapQuality | None:
    """Compare the neighbourhoods on a map with those among the codes.

    Trustworthiness is Venna & Kaski's (2001), equation 1, with 12 neighbours. Of more than 2,000 points, a
    random 2,000 are looked at, each among all.

    Args:
        codes: (N, D).
        points: (N, 2) or (N, 3), their map.
        seed: fixes the choice.

    Returns:
        Both measures, or None for fewer than 4 points.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(100, 2))
        >>> map_quality(codes, 5 * codes)
        MapQuality(trustworthiness=1.0, neighbour_preservation=1.0, neighbours=12)
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(codes)
    k = min(NEIGHBOURS, (n - 1) // 3)
    if k < 1:
        return None
    x = np.asarray(codes, np.float64) - np.mean(codes, 0, dtype=np.float64)
    squares = np.square(x).sum(1)
    anchors = np.sort(np.random.default_rng(seed).permutation(n)[:ANCHORS])
    near = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(points)
    ranks = []
    for at in np.array_split(anchors, max(1, len(anchors) * n // BLOCK)):
        own = np.arange(len(at))
        on_map = near.kneighbors(points[at], return_distance=False)
        on_map = on_map[_others(on_map, at)].reshape(-1, k)
        distances = squares[at, None] + squares - 2 * x[at] @ x.T  # (anchors, N)
        distances[own, at] = np.inf
        for column in on_map.T:
            ranks.append((distances < distances[own, column][:, None]).sum(1) + 1)  # 1 is the nearest
    rank = np.concatenate(ranks)
    trust = 1 - 2 * np.maximum(rank - k, 0).sum() / (len(anchors) * k * (2 * n - 3 * k - 1))
    return MapQuality(float(trust), float((rank <= k).mean()), k)


def frechet_distance(a: Points, b: Points) -> float:
    """The Fréchet distance of two sets' normal approximations, |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½).

    Heusel et al. (2017), equation 6, where the features are Inception's; the number depends on the features,
    so it is no "FID" in those of another network.

    Args:
        a: (N, D) features of one set of images.
        b: (M, D) features of the other.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(500, 3))
        >>> round(frechet_distance(a, a + 2), 9)  # the same but for the mean: 3 · 2²
        12.0
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    first, second = (np.atleast_2d(np.cov(points.T)) for points in (x, y))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.linalg.eigvalsh(root @ second @ root)  # those of Σ₁ Σ₂, but of a symmetric matrix
    shift = np.square(x.mean(0) - y.mean(0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * np.sqrt(common.clip(0)).sum())


def precision_recall(real: Points, generated: Points, k: int = 3) -> tuple[float, float]:
    """Precision, how many samples look real, and recall, how much of what is real can be sampled.

    Kynkäänniemi et al. (2019), equations 1 and 2: a set's manifold is the union of balls around its points,
    each reaching to the point's k-th nearest neighbour of the set.

    Args:
        real: (N, D) features of real images.
        generated: (M, D) features of samples.
        k: neighbours that a ball reaches to, less than N and M.

    Example:
        >>> real = np.random.default_rng(0).normal(size=(300, 2))
        >>> precision_recall(real, 0.01 * real[:100])[0]  # all in the midst of what is real
        1.0
    """
    return _share_within(generated, real, k), _share_within(real, generated, k)


def _share_within(points: Points, manifold: Points, k: int) -> float:
    """Share of points that are in a ball of the manifold."""
    radii = neighbours(manifold, k)[1][:, -1]
    blocks = np.array_split(np.asarray(points, np.float64), max(1, len(points) * len(manifold) // BLOCK))
    centres = np.asarray(manifold, np.float64)
    squares = np.square(centres).sum(1)
    inside = 0
    for block in blocks:
        distances = np.square(block).sum(1)[:, None] + squares - 2 * block @ centres.T
        inside += int((distances <= np.square(radii)).any(1).sum())
    return inside / len(points)
