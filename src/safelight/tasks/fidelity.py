"""How near images come to the true ones: in decibels, in structure, and in what a judge reads in them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from safelight.data.images import at_once
from safelight.networks.base import Network

__all__ = ["psnr", "read", "ssim"]


def psnr(images: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, -10 log10 of its mean squared error.

    Args:
        images: (N, C, H, W) in [0, 1].
        true: the same images as they should be.

    Returns:
        (N,) decibels, at most 60, which no 8-bit image can tell from perfect.

    Example:
        >>> import torch
        >>> psnr(torch.full((1, 1, 8, 8), 0.1), torch.zeros(1, 1, 8, 8))
        tensor([20.])
    """
    errors = (images - true).square().flatten(1).mean(1)
    return -10 * errors.clamp(min=1e-6).log10()


def ssim(images: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), in windows of 7×7 pixels.

    Args:
        images: (N, C, H, W) in [0, 1], H and W from 7 up.
        true: the same images as they should be.

    Returns:
        (N,), at most 1.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 8, 8)
        >>> ssim(image, image)
        tensor([1.])
    """
    from skimage.metrics import structural_similarity  # slow to import

    pairs = zip(images.cpu().numpy(), true.cpu().numpy(), strict=True)
    options = {"win_size": 7, "data_range": 1.0, "channel_axis": 0}
    scores = [structural_similarity(a, b, **options) for a, b in pairs]  # type: ignore[no-untyped-call]
    return torch.from_numpy(np.array(scores, np.float32))


@torch.no_grad()
def read(judge: Network, images: Tensor) -> Tensor:
    """The class that a judge reads in each image.

    Args:
        judge: a classifier in evaluation mode: images to logits, (N, K).
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N,) int64.
    """
    return torch.cat([judge(x).argmax(1) for x in torch.split(images, at_once(images.shape[1:]))])
