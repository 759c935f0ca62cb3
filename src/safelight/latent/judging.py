"""How good samples are, in the features of a network that learned to tell real images apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import at_once
from safelight.errors import RunError
from safelight.latent.measures import frechet_distance, precision_recall
from safelight.networks.base import Network

__all__ = ["features_of", "judge_samples"]


@torch.no_grad()
def features_of(judge: Network, images: NDArray[Any]) -> NDArray[np.float32]:
    """What a judge decides by.

    Args:
        judge: a network with a method `features`, (N, C, H, W) in [0, 1] to (N, D); in evaluation mode.
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N, D).

    Raises:
        RunError: it has no such method.
    """
    features: Callable[[Tensor], Tensor] | None = getattr(judge, "features", None)
    if features is None:
        raise RunError(f"expected a judge that tells images apart, got a {type(judge).__name__}")
    device = next(judge.parameters()).device
    chunks = torch.split(torch.from_numpy(np.asarray(images, np.float32)), at_once(images.shape[1:]))
    return np.concatenate([features(x.to(device)).float().cpu().numpy() for x in chunks])


def judge_samples(judge: Network, real: NDArray[Any], samples: NDArray[Any]) -> dict[str, float]:
    """Compare samples with real images in a judge's features.

    Args:
        judge: as for `features_of`.
        real: (N, C, H, W) in [0, 1].
        samples: (M, C, H, W) in [0, 1]; of both at least 4.

    Returns:
        "frechet": the Fréchet distance, in this judge's features and so not comparable with an Inception FID;
        "precision" and "recall" (Kynkäänniemi et al. 2019).
    """
    expected, found = features_of(judge, real), features_of(judge, samples)
    precision, recall = precision_recall(expected, found)
    return {"frechet": frechet_distance(expected, found), "precision": precision, "recall": recall}
