"""Codes: what an encoder makes of images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.data.label_files import names_of
from safelight.errors import DataError
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder, device_of
from safelight.tasks.objective import LOGVAR_RANGE, Likelihood
from safelight.tasks.priors import told_by_dimension

__all__ = ["Codes", "encode", "some_images"]


@dataclass(frozen=True, eq=False)
class Codes:
    """What an encoder made of images, in their order.

    Attributes:
        mu: (N, D) float32, means of q(z | x), or the codes themselves where they are points.
        logvar: (N, D) float32, or None where codes are points.
        reconstruction: (N,) float32, -log p(x | z) in nats with z at the mean.
        labels: (N,) int64, or None.
        names: one a code: the image's name, or its place in its set.
    """

    mu: NDArray[np.float32]
    logvar: NDArray[np.float32] | None
    reconstruction: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.mu)

    def subset(self, rows: NDArray[np.int64]) -> Codes:
        """The chosen codes, in the order given."""
        return replace(
            self,
            mu=self.mu[rows],
            logvar=None if self.logvar is None else self.logvar[rows],
            reconstruction=self.reconstruction[rows],
            labels=None if self.labels is None else self.labels[rows],
            names=tuple(self.names[row] for row in rows),
        )

    def finite(self) -> Codes:
        """Those without NaN or infinity.

        Raises:
            DataError: there are none.
        """
        good = np.isfinite(self.mu).all(1)
        if self.logvar is not None:
            good &= np.isfinite(self.logvar).all(1)
        if not good.any():
            raise DataError(f"expected finite codes, got {len(self)} that hold NaN or infinity; train again")
        return self if good.all() else self.subset(np.flatnonzero(good))

    def sampled(self, seed: int = 0) -> NDArray[np.float32]:
        """A draw of each image's q(z | x), (N, D); of codes that are points, themselves."""
        if self.logvar is None:
            return self.mu
        noise = np.random.default_rng(derive_seed(seed, "sampled codes")).standard_normal(
            self.mu.shape, np.float32
        )
        return np.asarray(self.mu + noise * np.exp(0.5 * self.logvar), np.float32)

    def spread(self) -> NDArray[np.float64]:
        """What each dimension tells of an image, (D,): `told_by_dimension` in nats, or a point's variance."""
        if self.logvar is None:
            return np.asarray(self.mu.var(0, dtype=np.float64))
        return told_by_dimension(torch.from_numpy(self.mu), torch.from_numpy(self.logvar)).numpy()


@torch.no_grad()
def encode(network: Autoencoder, likelihood: Likelihood, images: ImageSet) -> Codes:
    """Images to codes, in memory.

    Args:
        network: in evaluation mode.
        likelihood: p(x | z), for the reconstruction loss.
        images: of the size that the network takes.

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> codes = encode(DeepConvVAE((1, 8, 8)), Bernoulli(), safelight.load("digits", split="test"))
        >>> codes.mu.shape, codes.reconstruction.shape, codes.names[:2]
        ((180, 20), (180,), ('535', '243'))
    """
    device = device_of(network)
    is_variational = False

    def look(x: Tensor) -> Tensor:
        nonlocal is_variational
        mu, logvar = network.encode(x)
        columns = [-likelihood.log_prob(network.decode(mu).float(), x).float()[:, None], mu.float()]
        if is_variational := logvar is not None:
            columns.append(logvar.float().clamp(*LOGVAR_RANGE))
        return torch.cat(columns, 1)

    found = images.mapped(look, device)
    losses, *halves = np.split(found, [1, (1 + found.shape[1]) // 2] if is_variational else [1], axis=1)
    mu, *logvars = (np.ascontiguousarray(half) for half in halves)
    return Codes(
        mu=mu,
        logvar=logvars[0] if logvars else None,
        reconstruction=losses[:, 0].copy(),
        labels=images.labels,
        names=tuple(names_of(images)),
    )


def some_images(images: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """At most so many images, chosen at random, in their order.

    Args:
        images: to choose from.
        count: the most to choose.
        seed: fixes the choice.
    """
    if len(images) <= count:
        return images
    order = np.random.default_rng(derive_seed(seed, "some images")).permutation(len(images))
    return images.subset(np.sort(order[:count]))
