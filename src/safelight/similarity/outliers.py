"""Which images are unlike those that a run was trained on, and where."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from safelight.config.reading import check
from safelight.data.images import ImageSet
from safelight.data.label_files import names_of
from safelight.latent.codes import encode, some_images
from safelight.networks.base import Autoencoder, device_of
from safelight.similarity.neighbours import nearest
from safelight.tasks.objective import Likelihood
from safelight.tasks.priors import Prior

__all__ = ["Ordinary", "Outliers", "find_outliers"]

MOST_TRAINING = 10_000  # images that stand for a training set
NEIGHBOURS = 20
PATCH = 4  # pixels of a patch's side at least; an eighth of the image where that is more
ITSELF = 1e-5  # of a code's usual length: two that are no farther apart are of one image
ODD = 0.9  # the quantile of training images that is told from their median
FLOOR = 0.05  # of the mean miss: pixels that never change must not decide alone


@dataclass(frozen=True, eq=False)
class Outliers:
    """How odd images are, in their order.

    Attributes:
        names: of the images.
        scores: (N,) higher is odder: the mean over the columns of how far beyond the median of the training
            images, where the oddest tenth of these begins at 1.
        columns: each score by name, (N,): reconstruction, patch, density (where codes have one), neighbours.
        is_outlier: (N,) the share that was asked for, or what is odder than the training images' quantile.
        threshold: the score above which an image is an outlier; where a share was asked for, the least of
            theirs.
        heat: maps places to (n, H, W) float32, squared errors in multiples of what training images usually
            miss there. It is worked out when it is asked for: large sets have no room for all.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    is_outlier: NDArray[np.bool_]
    threshold: float
    heat: Callable[[NDArray[np.int64]], NDArray[np.float32]]

    @property
    def order(self) -> NDArray[np.int64]:
        """(N,) places, the oddest first."""
        return np.argsort(-self.scores, kind="stable")


def find_outliers(
    network: Autoencoder,
    likelihood: Likelihood,
    prior: Prior | None,
    train: ImageSet,
    images: ImageSet,
    share: float | None = None,
    quantile: float = 0.99,
) -> Outliers:
    """Score images by what a network and its training images say of them.

    Args:
        network: in evaluation mode.
        likelihood: p(x | z).
        prior: of the codes, or None.
        train: training images; at most 10,000 of them, chosen at random, are compared with.
        images: to score, of the same shape.
        share: of these images to call outliers; without, training images' quantile decides.
        quantile: of the training images' scores, that an outlier's lies above.

    Raises:
        ConfigError: share or quantile is not between 0 and 1.
    """
    check(share is None or 0 < share < 1, "share", "between 0 and 1", share)
    check(0 < quantile < 1, "quantile", "between 0 and 1", quantile)
    ordinary = Ordinary.learn(network, likelihood, prior, train)
    columns = ordinary.columns(images)
    scores = ordinary.scores(columns)
    if share is None:
        threshold = float(np.quantile(ordinary.scores(ordinary.usually), quantile))
        is_outlier = scores > threshold
    else:  # by place, so that equal scores do not change how many there are
        chosen = np.argsort(-scores, kind="stable")[: max(1, round(share * len(scores)))]
        threshold = float(scores[chosen[-1]])
        is_outlier = np.zeros(len(scores), bool)
        is_outlier[chosen] = True
    names = tuple(names_of(images))
    return Outliers(
        names, scores, columns, is_outlier, threshold, lambda at: ordinary.heat(images, at).numpy()
    )


@final
@dataclass(frozen=True, eq=False)
class Ordinary:
    """What training images are like to a network, which others are compared with.

    Attributes:
        network: in evaluation mode.
        likelihood: p(x | z).
        prior: of the codes, or None; on the CPU, in double precision.
        usual: (H, W), what the network misses of them at each place, squared.
        known: (n, D), their codes.
        usually: their own scores by name, (n,) each.
    """

    network: Autoencoder
    likelihood: Likelihood
    prior: Prior | None
    usual: NDArray[np.float32]
    known: NDArray[np.float32]
    usually: dict[str, NDArray[np.float64]]

    @staticmethod
    def learn(network: Autoencoder, likelihood: Likelihood, prior: Prior | None, train: ImageSet) -> Ordinary:
        """Look at training images: at most 10,000 of them, chosen at random."""
        train = some_images(train, MOST_TRAINING)
        known = encode(network, likelihood, train).mu
        total = sum(_errors(network, train, chunk).sum(0, dtype=np.float64) for chunk in train.chunks())
        usual = np.asarray(total / len(train), np.float32)  # (H, W)
        usual = usual + FLOOR * usual.mean() + 1e-12
        exact = None if prior is None else copy.deepcopy(prior).cpu().double()
        found = Ordinary(network, likelihood, exact, usual, known, {})
        return replace(found, usually=found.columns(train))

    def heat(self, images: ImageSet, places: Any) -> Tensor:
        """Squared errors in multiples of what is usual, (n, H, W) float32, on the CPU."""
        return torch.from_numpy(_errors(self.network, images, places) / self.usual)

    @torch.no_grad()
    def columns(self, images: ImageSet) -> dict[str, NDArray[np.float64]]:
        """Each score by name, (N,): single precision, so that what else came along changes none."""
        height, width = self.usual.shape
        side = min(max(PATCH, min(height, width) // 8), height, width)
        means, most = [], []
        for chunk in images.chunks():
            heat = self.heat(images, chunk).double()  # (n, H, W)
            means.append(heat.mean((1, 2)).numpy())
            most.append(avg_pool2d(heat[:, None], side, max(1, side // 2)).amax((1, 2, 3)).numpy())
        columns = {"reconstruction": np.concatenate(means), "patch": np.concatenate(most)}
        codes = encode(self.network, self.likelihood, images).mu
        if self.prior is not None:
            columns["density"] = -self.prior.log_prob(torch.from_numpy(codes).double()).numpy()
        columns["neighbours"] = _distances(codes, self.known)
        return {name: column.astype(np.float32).astype(np.float64) for name, column in columns.items()}

    def scores(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(N,) the mean of the columns, each in units of the training images.

        The mean of ranks would give up what one column alone knows for certain: a scratch is beyond all usual
        misses, and has the most usual code.
        """
        found = []
        for name, column in columns.items():
            middle, odd = np.quantile(self.usually[name], (0.5, ODD))
            found.append((column - middle) / max(odd - middle, 1e-12))
        return np.asarray(np.mean(found, axis=0))


@torch.no_grad()
def _errors(network: Autoencoder, images: ImageSet, places: Any) -> NDArray[np.float32]:
    """Squared errors of the chosen images, (n, H, W), the mean over channels."""
    x = images.floats(places, device_of(network))
    errors = (network.reconstruct(x).float() - x).square().mean(1)
    return np.asarray(errors.cpu().numpy(), np.float32)


def _distances(codes: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) the mean distance to the nearest training images, one that is the image itself left out."""
    k = min(NEIGHBOURS + 1, len(known))
    far = nearest(codes, known, k, "euclidean")[1].astype(np.float64)
    if k == 1:
        return far[:, 0]
    is_itself = far[:, 0] <= ITSELF * np.linalg.norm(known, axis=1).mean()
    return np.asarray(np.where(is_itself, far[:, 1:].mean(1), far[:, :-1].mean(1)))
