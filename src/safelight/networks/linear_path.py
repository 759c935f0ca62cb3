"""A linear map to the code and back, beside a network's stages."""

from __future__ import annotations

import math
from typing import cast, final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from safelight.networks.base import Shape

__all__ = ["LinearPath", "coarse"]

LARGEST = 64  # pixels a side
DARKEST = 0.002  # of what is drawn, so that logits stay finite


@final
class LinearPath(nn.Module):
    """Probabilistic PCA (Tipping & Bishop 1999), until training goes on from there.

    It sees and draws larger images coarsely. Weights are kept near 1 and multiplied by constants where they
    are used: Adam moves every weight by as much as the learning rate, which would be more than the whole of
    a principal direction's thousands of small ones.

    Args:
        shape: (C, H, W) of the images.
        latent: D, dimensions of the code.

    Example:
        >>> import torch
        >>> path = LinearPath((1, 8, 8), 2)
        >>> path.encode(torch.rand(3, 1, 8, 8)).shape, path.decode(torch.randn(3, 2)).shape
        (torch.Size([3, 2]), torch.Size([3, 1, 8, 8]))
    """

    scale: Tensor

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        self.size, self.seen = shape[1:], coarse(shape[1:])
        values = shape[0] * math.prod(self.seen)
        self.mean = nn.Parameter(torch.full((values,), 0.5))
        self.down = nn.Parameter(torch.zeros(latent, values))
        self.up = nn.Parameter(torch.zeros(latent, values))
        self.register_buffer("scale", torch.ones(latent))  # standard deviations along the directions

    @torch.no_grad()
    def start(self, mean: Tensor, directions: Tensor, variances: Tensor) -> None:
        """Begin as PCA: codes have a variance of 1 in each dimension; those beyond the directions are 0.

        Args:
            mean: (P,) of the images as `coarse` has them.
            directions: (K, P), orthonormal, K at most D.
            variances: (K,), positive, of the images along them.
        """
        count, values = directions.shape
        self.mean.copy_(mean)
        self.scale[:count] = variances.sqrt()
        for weight in (self.down, self.up):
            weight[:count] = directions * math.sqrt(values)

    @torch.no_grad()
    def lead(self, encoder: nn.Module, decoder: nn.Module, variances: Tensor, noise: float) -> None:
        """Layers beside it add nothing yet but what is unsure in a code.

        Args:
            encoder: the last layer, that gives (N, D) or, with log-variances, (N, 2·D).
            decoder: the last layer.
            variances: (K,) as above.
            noise: the variance that the directions leave, a pixel.
        """
        for layer in (encoder, decoder):
            for parameter in layer.parameters():
                parameter.zero_()
        bias, latent, count = cast(nn.Linear, encoder).bias, len(self.scale), len(variances)
        if len(bias) > latent:  # log-variances, of codes whose means vary by 1
            bias[latent : latent + count] = torch.log(noise / (variances + noise))

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to codes (N, D)."""
        if self.seen != self.size:
            x = F.interpolate(x, self.seen, mode="area")
        centred = x.flatten(1) - self.mean
        return centred @ self.down.T / (self.scale * math.sqrt(self.down.shape[1]))

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        pixels = self.mean + z * self.scale / math.sqrt(self.up.shape[1]) @ self.up
        logits = torch.logit(pixels.clamp(DARKEST, 1 - DARKEST))
        logits = torch.unflatten(logits, 1, (-1, *self.seen))  # any number of images, also to exporters
        return logits if self.seen == self.size else F.interpolate(logits, self.size, mode="bilinear")


def coarse(size: tuple[int, int]) -> tuple[int, int]:
    """The height and width at which a linear map looks at images: at most 64 pixels a side.

    A single row is no image but a vector, whose values have no neighbours, and stays as it is.

    Example:
        >>> coarse((28, 28)), coarse((128, 96)), coarse((1, 200))
        ((28, 28), (64, 48), (1, 200))
    """
    if size[0] == 1:
        return size
    scale = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
