"""Which images are unlike those that a run was trained on, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from safelight.config.reading import check
from safelight.data.images import ImageSet
from safelight.latent.codes import Codes, encode, some_images
from safelight.networks.base import Autoencoder
from safelight.similarity.neighbours import nearest
from safelight.tasks.objective import Likelihood
from safelight.tasks.priors import Prior

__all__ = ["Outliers", "find_outliers"]

MOST_TRAINING = 10_000  # images that stand for a training set
NEIGHBOURS = 5
PATCH = 4  # pixels of a patch's side at least; an eighth of the image where that is more
FLOOR = 0.05  # of the mean miss: pixels that never change must not decide alone


@dataclass(frozen=True, eq=False)
class Outliers:
    """How odd images are, in their order.

    Attributes:
        names: of the images.
        scores: (N,) from 0 to 1, higher is odder: the mean over the columns of ranks among training
            images, up to 0.5 for what is as odd as the oddest of them.
        columns: each score by name, (N,): reconstruction, patch, density (where codes have one), neighbours.
        heat: (N, H, W) float32, squared error in multiples of what training images usually miss there.
        threshold: above it an image is an outlier.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    heat: NDArray[np.float32]
    threshold: float

    @property
    def is_outlier(self) -> NDArray[np.bool_]:
        """(N,) where the score is above the threshold."""
        return self.scores > self.threshold

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
    known_error, error = _errors(network, train), _errors(network, images)
    usual = known_error.mean(0)  # (H, W)
    usual = usual + FLOOR * usual.mean() + 1e-12
    usually = _columns(known_error / usual, known, known, prior, is_itself=True)
    heat = error / usual
    columns = _columns(heat, codes, known, prior, is_itself=False)
    scores, ordinary = _ranks(columns, usually), _ranks(usually, usually)
    threshold = np.quantile(ordinary, quantile) if share is None else np.quantile(scores, 1 - share)
    return Outliers(codes.names, scores, columns, heat, float(threshold))


@torch.no_grad()
def _errors(network: Autoencoder, images: ImageSet) -> NDArray[np.float32]:
    """Squared errors, (N, H, W), the mean over channels."""
    device = str(next(network.parameters()).device)
    return images.mapped(lambda x: (network.reconstruct(x).float() - x).square().mean(1), device)


@torch.no_grad()
def _columns(
    heat: NDArray[np.float32], codes: Codes, known: Codes, prior: Prior | None, is_itself: bool
) -> dict[str, NDArray[np.float64]]:
    side = min(max(PATCH, min(heat.shape[1:]) // 8), *heat.shape[1:])
    maps = avg_pool2d(torch.from_numpy(heat)[:, None], side, max(1, side // 2))
    own = int(is_itself)  # a training image is its own nearest
    k = max(1, min(NEIGHBOURS + own, len(known)))
    far = nearest(codes.mu, known.mu, k, "euclidean")[1][:, own if k > own else 0 :]
    columns = {"reconstruction": heat.mean((1, 2)), "patch": maps.amax((1, 2, 3)).numpy()}
    if prior is not None:
        columns["density"] = -prior.log_prob(torch.from_numpy(codes.mu)).float().numpy()
    columns["neighbours"] = far.mean(1)
    return {name: np.asarray(column, np.float64) for name, column in columns.items()}


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
