"""What samples are drawn from besides the prior, a mixture fitted to codes; and what they copy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.config.reading import check, plain
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.errors import ConfigError
from safelight.latent.codes import Codes
from safelight.machine import derive_seed

__all__ = [
    "CODES_TO_FIT",
    "METHODS",
    "Mixture",
    "class_rows",
    "fit_mixture",
    "nearest_images",
    "sampling_method",
]

METHODS = ("prior", "mixture")
SIZES = (1, 2, 4, 8, 16, 32, 64)
CODES_A_PART = 30  # a component should rest on at least as many
CODES_TO_FIT = 10_000
HELD_OUT = 5  # every fifth code judges the sizes


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of normal densities over codes.

    Attributes:
        weights: (K,), their sum 1.
        means: (K, D).
        covariances: (K, D, D).
        held_out: mean log-likelihood, in nats a code, of the codes that chose the size, by size.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]
    held_out: dict[int, float]

    def __len__(self) -> int:
        return len(self.weights)

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Codes drawn from it, (count, D) float32."""
        generator = np.random.default_rng(derive_seed(seed, "mixture"))
        chosen = generator.choice(len(self), count, p=self.weights)
        noise = generator.standard_normal((count, self.means.shape[1]))
        values, vectors = np.linalg.eigh(self.covariances)  # unlike Cholesky's, also for dead dimensions
        roots = vectors * np.sqrt(values.clip(0))[:, None]  # (K, D, D)
        drawn = self.means[chosen] + np.einsum("nij,nj->ni", roots[chosen], noise)
        return torch.from_numpy(drawn.astype(np.float32))


def fit_mixture(codes: Codes, seed: int = 0) -> Mixture:
    """Fit a Gaussian mixture to codes, its size chosen on every fifth of them, held out.

    Sizes double as long as the held-out codes become more likely; the best is fitted again to all. Of a
    variational network, draws of q(z | x) are fitted, which its decoder was trained on, not the means.
    Ghosh et al. (2020), From Variational to Deterministic Autoencoders, section 4, calls this ex-post density
    estimation.

    Args:
        codes: of training images; at most 10,000 of them, chosen at random, are used.
        seed: fixes the choice, the draws and the start.

    Raises:
        DataError: no code is finite.

    Example:
        >>> mu = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
        >>> mu[::2] += 20  # two heaps
        >>> mixture = fit_mixture(Codes(mu, None, mu[:, 0], None, ("",) * 2000))
        >>> len(mixture), mixture.sample(5).shape
        (2, torch.Size([5, 2]))
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    z = codes.finite().sampled(seed).astype(np.float64)
    z = z[np.random.default_rng(derive_seed(seed, "codes to fit")).permutation(len(z))[:CODES_TO_FIT]]
    floor = max(1e-6 * float(z.var(0).mean()), 1e-12)  # of each variance, so that dead dimensions do no harm

    def fitted(data: NDArray[np.float64], size: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough, and judged on held-out codes
            return GaussianMixture(size, reg_covar=floor, max_iter=50, random_state=seed % 2**32).fit(data)

    judge = np.arange(len(z)) % HELD_OUT == HELD_OUT - 1
    learn = z[~judge]
    held_out: dict[int, float] = {}
    for size in SIZES:
        if size > max(1, min(len(learn) // CODES_A_PART, len(np.unique(learn, axis=0)))) or not judge.any():
            break
        held_out[size] = float(fitted(learn, size).score(z[judge]))
        if held_out[size] < max(held_out.values()):
            break
    best = max(held_out, key=lambda size: held_out[size], default=1)
    if len(z) == 1:
        return Mixture(np.ones(1), z, np.zeros((1, z.shape[1], z.shape[1])), held_out)
    found = fitted(z, best)
    return Mixture(found.weights_, found.means_, found.covariances_, held_out)


def sampling_method(count: int, method: str | None, label: int | str | None, has_prior: bool) -> str:
    """What to draw samples from: what is asked for, or the prior where there is one for it.

    Args:
        count: of samples.
        method: prior, mixture or None.
        label: the class to draw of, or None.
        has_prior: whether the network is variational, or a prior was fitted to its codes.

    Raises:
        ConfigError: no such method, or it cannot draw what is asked for.

    Example:
        >>> sampling_method(64, None, None, True), sampling_method(64, None, None, False)
        ('prior', 'mixture')
    """
    check(count >= 1, "count", "at least 1 sample", count)
    if method is None:
        return "prior" if has_prior and label is None else "mixture"
    check(method in METHODS, "method", " or ".join(METHODS), repr(method))
    if method == "prior" and (label is not None or not has_prior):
        reason = f"of class {label}" if has_prior else "of a network whose codes are points"
        raise ConfigError(f"method: expected mixture for images {reason}, got prior, which has none")
    return method


def class_rows(
    labels: NDArray[np.int64] | None, label: int | str, classes: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """The places of one class's images.

    Args:
        labels: (N,), -1 where unknown.
        label: the class's name, or its number; where classes have no names, its number as text is its name.
        classes: their names.

    Raises:
        ConfigError: there are no labels, or none such.

    Example:
        >>> class_rows(np.array([3, 1, 3]), "3").tolist(), class_rows(np.array([0, 1]), "dog", ["cat", "dog"])
        ([0, 2], array([1]))
    """
    if labels is None:
        raise ConfigError(f"label: expected images with labels, to draw of {label}, got none")
    there = [int(number) for number in np.unique(labels) if number != UNKNOWN]
    names = {number: classes[number] if classes else str(number) for number in there}
    label = plain(label)
    chosen = [number for number, name in names.items() if label in (name, number)]
    if not chosen:
        known = ", ".join(list(names.values())[:20])
        raise ConfigError(f"label: expected one of {known}, got {label}")
    return np.flatnonzero(labels == chosen[0])


def nearest_images(samples: NDArray[Any], images: ImageSet) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each sample the nearest image of a set, so that copying shows.

    Args:
        samples: (N, C, H, W) in [0, 1].
        images: of the same size, any number of them.

    Returns:
        Their places (N,), and the distances (N,): root mean squared differences of pixels in [0, 1].

    Example:
        >>> import safelight
        >>> images = safelight.load("digits")
        >>> places, distances = nearest_images(images.floats([5, 7]).numpy(), images)
        >>> places.tolist(), distances.tolist()
        ([5, 7], [0.0, 0.0])
    """
    x = torch.from_numpy(np.asarray(samples, np.float32)).flatten(1)  # (N, pixels)
    best = torch.full((len(x),), torch.inf)
    places = torch.zeros(len(x), dtype=torch.int64)
    for chunk in images.chunks():
        y = images.floats(chunk).flatten(1)
        nearest, at = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).min(1)
        places = torch.where(nearest < best, at + chunk.start, places)
        best = torch.minimum(nearest, best)
    exact = x - images.floats(places.numpy()).flatten(1)  # the sums above cancel where they are near 0
    return places.numpy(), exact.double().square().mean(1).sqrt().numpy()
