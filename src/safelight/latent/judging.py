"""How good samples are, in the features of a network that learned to tell real images apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import at_once
from safelight.errors import RunError
from safelight.latent.measures import frechet_distance, precision_recall
from safelight.networks.base import Network, device_of

__all__ = ["features_of", "judge_samples"]


@torch.no_grad()
def features_of(judge: Network, images: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    """What a judge decides by.

    Args:
        judge: a network with a method `features`, (N, C, H, W) in [0, 1] to (N, D); in evaluation mode.
        images: parts of them, (n, C, H, W) in [0, 1] each, N in all; only one is in memory at a time.

    Returns:
        (N, D).

    Raises:
        RunError: it has no such method.
    """
    features: Callable[[Tensor], Tensor] | None = getattr(judge, "features", None)
    if features is None:
        raise RunError(f"expected a judge that tells images apart, got a {type(judge).__name__}")
    device = device_of(judge)
    found = []
    for part in images:
        chunks = torch.split(torch.from_numpy(np.asarray(part, np.float32)), at_once(part.shape[1:]))
        found += [features(x.to(device)).float().cpu().numpy() for x in chunks]
    return np.concatenate(found)


def judge_samples(
    judge: Network, real: Iterable[NDArray[Any]], samples: Iterable[NDArray[Any]]
) -> dict[str, float]:
    """Compare samples with real images in a judge's features.

    Args:
        judge: as for `features_of`.
        real: parts of the images, as for `features_of`.
        samples: likewise; of both at least 4 images.

    Returns:
        "frechet": the Fréchet distance, in this judge's features and so not comparable with an Inception FID;
        "precision" and "recall" (Kynkäänniemi et al. 2019).
    """
    expected, found = features_of(judge, real), features_of(judge, samples)
    precision, recall = precision_recall(expected, found)
    return {"frechet": frechet_distance(expected, found), "precision": precision, "recall": recall}
