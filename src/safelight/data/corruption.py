"""Corrupted versions of images: noise, lost pixels, blur, by a text such as `gaussian:0.3+blocks:8`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from safelight.config.corruption import parse_corruption

__all__ = ["CORRUPTERS", "Corruption"]

READ_NOISE = 0.1  # of a camera's noise at white


@final
class Corruption:
    """Corruptions that follow one another; a transform of batches.

    Args:
        text: what `safelight.config.corruption.parse_corruption` reads.

    Raises:
        ConfigError: an unknown name, or a severity that is none or out of range.

    Example:
        >>> import torch
        >>> noisy = Corruption("gaussian:0..1")(torch.zeros(2, 1, 8, 8), torch.Generator().manual_seed(0))
        >>> noisy.shape, bool(noisy.min() >= 0), bool(noisy.max() <= 1)
        (torch.Size([2, 1, 8, 8]), True, True)
    """

    def __init__(self, text: str) -> None:
        self.steps = parse_corruption(text)

    def __str__(self) -> str:
        return "+".join(map(str, self.steps))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Corrupt images, each with a severity of its own where a range is given.

        Args:
            images: (N, C, H, W) in [0, 1]; they are left as they are.
            generator: the only randomness used, on the images' device.

        Returns:
            (N, C, H, W), clipped to [0, 1].
        """
        for step in self.steps:
            share = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device)
            severity = step.low + (step.high - step.low) * share  # (N, 1, 1, 1)
            images = CORRUPTERS[step.name](images, severity, generator).clamp(0, 1)
        return images


def _gaussian(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    return x + severity * torch.randn(x.shape, generator=generator, device=x.device)


def _salt_and_pepper(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    chance = _pixelwise(x, generator)
    return torch.where(chance < severity, (chance < severity / 2).to(x), x)


def _masking(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_pixelwise(x, generator) < severity, 0, x)


def _blocks(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    side = severity.round()
    covered = torch.ones_like(x[:, :1], dtype=torch.bool)
    for axis in (2, 3):
        length = x.shape[axis]
        place = torch.arange(length, device=x.device).view([-1 if i == axis else 1 for i in range(4)])
        room = (length - side).clamp(min=0)
        start = (torch.rand(side.shape, generator=generator, device=x.device) * (room + 1)).floor()
        covered = covered & (place >= start) & (place < start + side)
    return torch.where(covered, 0, x)


def _blur(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    n, channels, height, width = x.shape
    radius = math.ceil(4 * float(severity.max()))
    distance = torch.arange(-radius, radius + 1, device=x.device)
    kernel = (-0.5 * (distance / severity.clamp(min=1e-3)).square()).exp()  # (N, 1, 1, 2r + 1)
    kernel = (kernel / kernel.sum(3, keepdim=True)).repeat_interleave(channels, 0)
    images = F.pad(x.reshape(1, n * channels, height, width), [radius] * 4, mode="replicate")
    images = F.conv2d(images, kernel, groups=n * channels)
    return F.conv2d(images, kernel.transpose(2, 3), groups=n * channels).view(x.shape)


def _poisson(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    photon = severity.clamp(min=1e-6)
    return torch.where(severity > 0, torch.poisson(x / photon, generator=generator) * photon, x)


def _camera(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    return _gaussian(_poisson(x, severity.square(), generator), READ_NOISE * severity, generator)


def _contrast(x: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    return 0.5 + (1 - severity) * (x - 0.5)


def _pixelwise(x: Tensor, generator: torch.Generator) -> Tensor:
    """A number in [0, 1) for each pixel, the same in all its channels: (N, 1, H, W)."""
    return torch.rand(x[:, :1].shape, generator=generator, device=x.device)


Corrupter = Callable[[Tensor, Tensor, torch.Generator], Tensor]
CORRUPTERS: dict[str, Corrupter] = {
    "gaussian": _gaussian,
    "salt-and-pepper": _salt_and_pepper,
    "masking": _masking,
    "blocks": _blocks,
    "blur": _blur,
    "poisson": _poisson,
    "camera": _camera,
    "contrast": _contrast,
}
