"""How genotypes cross and mutate, on the unit scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Units", "polynomial_mutation", "simulated_binary_crossover"]

Units = NDArray[np.float64]


def simulated_binary_crossover(a: Units, b: Units, index: float, rng: np.random.Generator) -> Units:
    """A child whose genes lie near one of its parents', in [0, 1].

    Deb & Agrawal (1995), in the form of Deb et al. (2002) that keeps to a range: the spread of children
    around their parents' middle is as wide as with one-point crossover of bits. Half of the genes are
    crossed.

    Args:
        a: (D,) genotype.
        b: (D,) genotype.
        index: the greater, the nearer are children to their parents.
        rng: source of the numbers.
    """
    near, far = np.minimum(a, b), np.maximum(a, b)
    crosses = (far - near > 1e-12) & (rng.random(len(a)) < 0.5)
    gap = np.where(crosses, far - near, 1.0)
    is_low, u = rng.random(len(a)) < 0.5, rng.random(len(a))
    room = np.where(is_low, near, 1 - far)  # to that end of the range
    alpha = 2 - (1 + 2 * room / gap) ** -(index + 1)
    contracting, expanding = u * alpha, 1 / np.maximum(2 - u * alpha, 1e-12)
    spread = np.where(u <= 1 / alpha, contracting, expanding) ** (1 / (index + 1))
    child = (near + far) / 2 + np.where(is_low, -0.5, 0.5) * spread * gap
    return np.where(crosses, np.clip(child, 0, 1), np.where(is_low, a, b))


def polynomial_mutation(x: Units, index: float, rng: np.random.Generator) -> Units:
    """Every gene moved within [0, 1]; Deb & Goyal (1996), in the form of Deb et al. (2002) for a range.

    Args:
        x: (D,) genotype.
        index: the greater, the smaller the step.
        rng: source of the numbers.
    """
    u, power = rng.random(len(x)), index + 1
    down = (2 * u + (1 - 2 * u) * (1 - x) ** power) ** (1 / power) - 1
    up = 1 - (2 * (1 - u) + (2 * u - 1) * x**power) ** (1 / power)
    return np.clip(x + np.where(u < 0.5, down, up), 0, 1)
