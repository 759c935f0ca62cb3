"""The one table of the algorithms that a search can ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safelight.evolution.genetic import Algorithm, GeneticAlgorithm, Individual, RandomSearch, Truncation
from safelight.evolution.genome import Space
from safelight.evolution.samplers import nsga2, tpe

__all__ = ["ALGORITHMS"]

# From space, individuals asked for at once, seed, first individuals and number of objectives.
ALGORITHMS: dict[str, Callable[[Space, int, int, Sequence[Individual], int], Algorithm]] = {
    "ga": GeneticAlgorithm,
    "truncation": Truncation,
    "random": RandomSearch,
    "nsga2": nsga2,
    "tpe": tpe,
}
