"""What every network can do; every class here is abstract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from safelight.config.data import MAX_CHANNELS
from safelight.errors import ConfigError

__all__ = ["Autoencoder", "Code", "ImageNetwork", "Network", "Shape", "check_image", "device_of"]

Shape = tuple[int, int, int]


class Code(NamedTuple):
    """Where an encoder puts its images: Gaussians, or points where `logvar` is None.

    Attributes:
        mu: (N, D) means.
        logvar: (N, D) logarithms of the variances, or None.
    """

    mu: Tensor
    logvar: Tensor | None


class Network(nn.Module, ABC):
    """Anything that makes something of images."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of images, as logits.

        Args:
            x: (N, C, H, W), floats in [0, 1].
        """


class ImageNetwork(Network, ABC):
    """A network whose logits are those of images, (N, C, H, W)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """The network's version of images, (N, C, H, W) in [0, 1] to the same."""
        return torch.sigmoid(self(x))


class Autoencoder(ImageNetwork, ABC):
    """A network that goes through a short code.

    A subclass of your own needs `encode` and `decode` and trains through the same functions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from safelight.networks.base import Autoencoder, Code
        >>> class Linear(Autoencoder):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.down, self.up = nn.Linear(64, 2), nn.Linear(2, 64)
        ...     def encode(self, x):
        ...         return Code(self.down(x.flatten(1)), None)
        ...     def decode(self, z):
        ...         return self.up(z).view(-1, 1, 8, 8)
        >>> Linear().reconstruct(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 1, 8, 8])
    """

    @abstractmethod
    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) in [0, 1] to codes (N, D)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W); their sigmoid is the image."""

    def forward(self, x: Tensor) -> Tensor:
        """Decode the mean code of each image, (N, C, H, W) to logits (N, C, H, W)."""
        return self.decode(self.encode(x).mu)


def check_image(shape: Shape) -> None:
    """Refuse images that no network here is made for.

    Raises:
        ConfigError: other than 1 to 8 channels, or sides beyond 8 to 512.
    """
    channels, height, width = shape
    if not 1 <= channels <= MAX_CHANNELS or not (8 <= height <= 512 and 8 <= width <= 512):
        raise ConfigError(
            f"expected images of 1 to {MAX_CHANNELS} channels with sides from 8 to 512, got "
            f"{channels}×{height}×{width}; have them fitted, as with --size 64"
        )


def device_of(network: nn.Module) -> str:
    """Where a network is; on the CPU if it has no weights."""
    return str(next((parameter.device for parameter in network.parameters()), "cpu"))
