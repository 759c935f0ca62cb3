"""What a Gaussian process expects of genotypes that nobody tried yet."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from safelight.evolution.genome import Genotype, Space

__all__ = ["Surrogate", "features", "log_improvement"]

Vector = NDArray[np.float64]

LENGTHS = (0.05, 20.0)  # that a length may have; a gene's whole range is 1
VARIANCES = (0.05, 20.0)
NOISES = (1e-6, 1.0)


@final
class Surrogate:
    """A Gaussian process of how genotypes score, to choose by which to try next.

    Its kernel is Matérn's with ν = 5/2 and a length for each feature; lengths, variance and noise have the
    greatest marginal likelihood (Rasmussen & Williams 2006, equations 4.17 and 5.8).

    Args:
        space: the genes.
        genotypes: those tried, at least one.
        scores: (N,) how they did, of about a normal distribution; lower is better.

    Example:
        >>> import numpy as np
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"training.gamma": Gene("float", 0.0, 1.0)})
        >>> tried = [(0.0,), (0.2,), (0.5,), (0.8,), (1.0,)]
        >>> surrogate = Surrogate(space, tried, np.array([0.2, -1.0, -0.8, 0.5, 1.1]))
        >>> surrogate.choose([(0.05,), (0.35,), (0.9,)])
        1
    """

    def __init__(self, space: Space, genotypes: Sequence[Genotype], scores: Vector) -> None:
        from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes half a second to import
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self.space = space
        self._x, self._y = features(space, genotypes), scores
        kernel = ConstantKernel(1.0, VARIANCES) * Matern(np.full(self._x.shape[1], 0.5), LENGTHS, nu=2.5)
        process = GaussianProcessRegressor(kernel + WhiteKernel(0.01, NOISES))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound is a fair answer of few trials
            process.fit(self._x, self._y)
        self._best = float(process.predict(self._x).min())  # what noise flattered is not the best
        self._noise = process.kernel_.k2.noise_level
        self._process = process.set_params(kernel=process.kernel_, optimizer=None)

    def choose(self, candidates: Sequence[Genotype]) -> int:
        """The index of the one with the greatest expected improvement; it is then taken for tried.

        Until its score is known it is believed to be what is expected, so that those chosen together differ:
        the kriging believer of Ginsbourger et al. (2010), Kriging Is Well-Suited to Parallelize Optimization.
        """
        x = features(self.space, candidates)
        means, deviations = self._process.predict(x, return_std=True)
        deviations = np.sqrt(np.maximum(deviations**2 - self._noise, 1e-12))
        index = int(log_improvement(self._best, means, deviations).argmax())
        self._x = np.concatenate([self._x, x[index : index + 1]])
        self._y = np.concatenate([self._y, means[index : index + 1]])
        self._process.fit(self._x, self._y)
        return index


def log_improvement(best: float, means: Vector, deviations: Vector) -> Vector:
    """Logarithm of by how much normal variables are expected to be below the best.

    Jones et al. (1998), equation 15; the logarithm after Ament et al. (2023), Unexpected Improvements to
    Expected Improvement, equation 9, so that what hardly improves is still told from what does not.

    Args:
        best: value to improve on.
        means: (N,).
        deviations: (N,), above 0.

    Returns:
        (N,).

    Example:
        >>> import numpy as np
        >>> found = log_improvement(0.0, np.array([0.0, -1.0, 1.0]), np.array([1.0, 1e-6, 0.01]))
        >>> found.round(3).tolist()
        [-0.919, 0.0, -5014.735]
    """
    z = (best - means) / deviations
    high, low = np.maximum(z, -1.0), np.minimum(z, -1.0)  # two forms, each exact where the other is not
    near = np.log(np.exp(-(high**2) / 2) / math.sqrt(2 * math.pi) + high * ndtr(high))
    least = np.maximum(low, -1e5)  # beyond it a difference rounds to 0, whose limit is 1 / z²
    tail = np.log1p(least * math.sqrt(math.pi / 2) * erfcx(-least / math.sqrt(2))) + 2 * np.log(least / low)
    found: Vector = np.log(deviations) + np.where(
        z > -1, near, -(low**2) / 2 - math.log(2 * math.pi) / 2 + tail
    )
    return found


def features(space: Space, genotypes: Sequence[Genotype]) -> Vector:
    """Genotypes as points, of which those are near that may do alike.

    A number is where it lies in its range, by the value that it decodes to. A category is one feature a
    choice, so that any two are as far apart as the two ends of a range. Genes that do not act are all alike.

    Args:
        space: the genes.
        genotypes: N of them.

    Returns:
        (N, F).

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"a": Gene("integer", 1, 4), "b": Gene("categorical", choices=("x", "y", "z"))})
        >>> features(space, [(0.05, 0.5), (0.2, 0.5)]).round(3).tolist()
        [[0.125, 0.0, 0.707, 0.0], [0.125, 0.0, 0.707, 0.0]]
    """
    points = []
    for genotype in genotypes:
        values = space.decode(genotype)
        point: list[float] = []
        for name, gene in space.genes.items():
            if gene.is_ordered:
                point.append(gene.encode(values[name]) if name in values else 0.5)
            else:
                point += [math.sqrt(0.5) * (values.get(name) == choice) for choice in gene.choices]
        points.append(point)
    return np.array(points, np.float64)
