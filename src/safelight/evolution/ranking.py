"""Which trials are better than which: by one loss, or by Pareto fronts of several objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

__all__ = ["Fitness", "first_front", "normal_scores", "order"]

Fitness = tuple[float, ...]
Units = NDArray[np.float64]


def order(fitnesses: Sequence[Fitness]) -> list[int]:
    """Indices from best to worst: by Pareto front, then the loneliest of a front first, then by age.

    With one objective a front is a value. Deb et al. (2002), sections III.A and III.B.

    Example:
        >>> order([(3.0,), (1.0,), (2.0,)])
        [1, 2, 0]
        >>> order([(2.0, 2.0), (1.0, 3.0), (3.0, 1.0), (3.0, 3.0)])
        [1, 2, 0, 3]
    """
    values = np.array(fitnesses, float)
    dominates = _dominates(values)
    dominators = dominates.sum(0)
    ranking: list[int] = []
    while len(ranking) < len(values):
        members = np.flatnonzero(dominators == 0)
        lonely = _crowding(values[members])
        ranking += [int(members[i]) for i in np.argsort(-lonely, kind="stable")]
        dominators -= dominates[members].sum(0)
        dominators[members] = -1  # ranked
    return ranking


def first_front(fitnesses: Sequence[Fitness]) -> list[int]:
    """Indices of the first Pareto front: those that no other beats in every objective.

    Example:
        >>> first_front([(2.0, 2.0), (1.0, 3.0), (3.0, 1.0), (3.0, 3.0)])
        [0, 1, 2]
    """
    return [int(i) for i in np.flatnonzero(~_dominates(np.array(fitnesses, float)).any(0))]


def _dominates(values: Units) -> NDArray[np.bool_]:
    """[i, j]: i is nowhere worse than j, and somewhere better."""
    no_worse = np.ones((len(values), len(values)), bool)
    better = np.zeros_like(no_worse)
    for column in values.T:
        no_worse &= column[:, None] <= column
        better |= column[:, None] < column
    return no_worse & better


def _crowding(points: Units) -> Units:
    """How far apart each point's neighbours are along its front, summed over the objectives."""
    distance = np.zeros(len(points))
    for column in points.T:
        along = np.argsort(column, kind="stable")
        if not column[along[0]] < column[along[-1]] < math.inf:
            continue
        span = column[along[-1]] - column[along[0]]
        distance[along[[0, -1]]] = math.inf
        distance[along[1:-1]] += (column[along[2:]] - column[along[:-2]]) / span
    return distance


def normal_scores(fitnesses: Sequence[Fitness]) -> Units:
    """Places in `order` as quantiles of the normal distribution; all that failed have their middle place.

    Example:
        >>> normal_scores([(3.0,), (1.0,), (math.inf,), (2.0,), (math.inf,)]).round(2).tolist()
        [0.0, -1.28, 0.84, -0.52, 0.84]
    """
    places = np.empty(len(fitnesses))
    places[order(fitnesses)] = np.arange(len(fitnesses))
    failed = np.array([math.isinf(fitness[0]) for fitness in fitnesses])
    if failed.any():
        places[failed] = places[failed].mean()
    scores: Units = ndtri((places + 0.5) / len(fitnesses))
    return scores
