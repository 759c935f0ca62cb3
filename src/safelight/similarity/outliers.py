"""Which images are unlike those that a run was trained on, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from safelight.config.reading import check
from safelight.data.images import ImageSet
from safelight.latent.codes import Codes, encode, some_images
from safelight.networks.base import Autoencoder, device_of
from safelight.similarity.neighbours import nearest
from safelight.tasks.objective import Likelihood
from safelight.tasks.priors import Prior

__all__ = ["Outliers", "find_outliers"]

MOST_TRAINING = 10_000  # images that stand for a training set
NEIGHBOURS = 5
PATCH = 4  # pixels of a patch's side at least; an eighth of the image where that is more
ITSELF = 1e-5  # of a code's usual length: two that are no farther apart are of one image
FLOOR = 0.05  # of the mean miss: pixels that never change must not decide alone


@dataclass(frozen=True, eq=False)
class Outliers:
    """How odd images are, in their order.

    Attributes:
        names: of the images.
        scores: (N,) from 0 to 1, higher is odder: the mean over the columns of ranks among training
            images, up to 0.5 for what is as odd as the oddest of them.
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
    train = some_images(train, MOST_TRAINING)
    known, codes = encode(network, likelihood, train), encode(network, likelihood, images)
    total = sum(_errors(network, train, chunk).sum(0, dtype=np.float64) for chunk in train.chunks())
    usual = np.asarray(total / len(train), np.float32)  # (H, W)
    usual = usual + FLOOR * usual.mean() + 1e-12
    usually = _columns(network, train, usual, known, known, prior)
    columns = _columns(network, images, usual, codes, known, prior)
    scores = _ranks(columns, usually)
    if share is None:
        threshold = float(np.quantile(_ranks(usually, usually), quantile))
        is_outlier = scores > threshold
    else:  # by place, so that equal scores do not change how many there are
        chosen = np.argsort(-scores, kind="stable")[: max(1, round(share * len(scores)))]
        threshold = float(scores[chosen[-1]])
        is_outlier = np.zeros(len(scores), bool)
        is_outlier[chosen] = True
    return Outliers(
        codes.names, scores, columns, is_outlier, threshold, lambda at: _errors(network, images, at) / usual
    )


@torch.no_grad()
def _errors(network: Autoencoder, images: ImageSet, places: Any) -> NDArray[np.float32]:
    """Squared errors of the chosen images, (n, H, W), the mean over channels."""
    x = images.floats(places, device_of(network))
    errors = (network.reconstruct(x).float() - x).square().mean(1)
    return np.asarray(errors.cpu().numpy(), np.float32)


@torch.no_grad()
def _columns(
    network: Autoencoder,
    images: ImageSet,
    usual: NDArray[np.float32],
    codes: Codes,
    known: Codes,
    prior: Prior | None,
) -> dict[str, NDArray[np.float64]]:
    height, width = usual.shape
    side = min(max(PATCH, min(height, width) // 8), height, width)
    means, most = [], []
    for chunk in images.chunks():
        heat = torch.from_numpy(_errors(network, images, chunk) / usual)  # (n, H, W)
        means.append(heat.mean((1, 2)).numpy())
        most.append(avg_pool2d(heat[:, None], side, max(1, side // 2)).amax((1, 2, 3)).numpy())
    columns = {"reconstruction": np.concatenate(means), "patch": np.concatenate(most)}
    if prior is not None:
        columns["density"] = -prior.log_prob(torch.from_numpy(codes.mu)).float().numpy()
    columns["neighbours"] = _distances(codes.mu, known.mu)
    return {name: np.asarray(column, np.float64) for name, column in columns.items()}


def _distances(codes: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the mean distance to the nearest training images, one that is the image itself left out."""
    k = min(NEIGHBOURS + 1, len(known))
    far = nearest(codes, known, k, "euclidean")[1]
    if k == 1:
        return far[:, 0]
    is_itself = far[:, 0] <= ITSELF * np.linalg.norm(known, axis=1).mean()
    return np.asarray(np.where(is_itself, far[:, 1:].mean(1), far[:, :-1].mean(1)), np.float32)


def _ranks(
    columns: dict[str, NDArray[np.float64]], usually: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """(N,) from 0 to 1, the mean over columns of the share of training images that are less odd.

    That share makes up one half of a column's rank; the other tells apart what is odder than all of them.
    """
    found = []
    for name, column in columns.items():
        known = np.sort(usually[name])
        below = np.searchsorted(known, column, "left") / len(known)
        beyond = (column - known[-1]).clip(0) / max(known[-1] - np.median(known), 1e-12)
        found.append((below + beyond / (1 + beyond)) / 2)
    return np.asarray(np.mean(found, axis=0))
