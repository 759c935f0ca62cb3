"""Strided convolution stages, a hidden layer and a code; variational, or with codes that are points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast, final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from safelight.config.network import DeepConvConfig
from safelight.errors import ConfigError
from safelight.networks.base import Autoencoder, Code, Shape, check_image
from safelight.networks.linear_path import LinearPath

__all__ = ["DeepConvAE", "DeepConvVAE"]


class _DeepConv(nn.Module):
    """The stages of `DeepConvVAE` and `DeepConvAE`: images to features, codes to logits."""

    def __init__(self, shape: Shape, config: DeepConvConfig, outputs: int) -> None:
        super().__init__()
        check_image(shape)
        stages = len(config.channels)
        kernels = config.kernels * (stages if len(config.kernels) == 1 else 1)
        strides = config.strides * (stages if len(config.strides) == 1 else 1)
        channels = (shape[0], *config.channels)
        sizes: list[tuple[int, int]] = [shape[1:]]  # height and width before and after each stage
        for kernel, stride in zip(kernels, strides, strict=True):
            if min(sizes[-1]) < 2:
                raise ConfigError(
                    f"network.channels: expected at most {len(sizes) - 1} stages for images of "
                    f"{shape[1]}×{shape[2]}, got {stages}; use fewer, or a stride of 1"
                )
            height, width = ((side + 2 * _padding(kernel) - kernel) // stride + 1 for side in sizes[-1])
            sizes.append((height, width))
        features = channels[-1] * math.prod(sizes[-1])

        def hidden(layer: nn.Module, width: int, *, flat: bool = False) -> list[nn.Module]:
            return [
                layer,
                *_normalization(config.normalization, width, flat),
                _ACTIVATIONS[config.activation](),
            ]

        down: list[nn.Module] = []
        for i, kernel in enumerate(kernels):
            conv = nn.Conv2d(channels[i], channels[i + 1], kernel, strides[i], _padding(kernel))
            down += hidden(conv, channels[i + 1])
        up: list[nn.Module] = []
        for i, kernel in reversed(list(enumerate(kernels))):
            reached = [(side - 1) * strides[i] - 2 * _padding(kernel) + kernel for side in sizes[i + 1]]
            missing = (sizes[i][0] - reached[0], sizes[i][1] - reached[1])
            conv_up = nn.ConvTranspose2d(
                channels[i + 1], channels[i], kernel, strides[i], _padding(kernel), missing
            )
            up += hidden(conv_up, channels[i]) if i else [_ToImage(conv_up, sizes[0])]
        self.encoder = nn.Sequential(
            *down,
            nn.Flatten(),
            *hidden(nn.Linear(features, config.hidden), config.hidden, flat=True),
            nn.Linear(config.hidden, outputs),
        )
        self.decoder = nn.Sequential(
            *hidden(nn.Linear(config.latent, config.hidden), config.hidden, flat=True),
            *hidden(nn.Linear(config.hidden, features), features, flat=True),
            nn.Unflatten(1, (channels[-1], *sizes[-1])),
            *up,
        )
        self.linear = LinearPath(shape, config.latent) if config.linear_path == "pca" else None
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker convolutions, the same numbers

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to the outputs (N, D) or (N, 2·D) of which codes are made."""
        made = cast(Tensor, self.encoder(x))
        if self.linear is None:
            return made
        codes = self.linear.encode(x)
        return made + F.pad(codes, (0, made.shape[1] - codes.shape[1]))

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        made = cast(Tensor, self.decoder(z))
        return made if self.linear is None else made + self.linear.decode(z)

    @torch.no_grad()
    def start(self, mean: Tensor, directions: Tensor, variances: Tensor, noise: float) -> None:
        """Begin as probabilistic PCA: the stages add nothing yet but what is unsure in a code."""
        if self.linear is None:
            return
        self.linear.start(mean, directions, variances)
        self.linear.lead(self.encoder[-1], self.decoder[-1], variances, noise)


@final
class _ToImage(nn.Module):
    """The last transposed convolution as a product and `F.fold`; torch's own is slow to few channels."""

    def __init__(self, t_conv: nn.ConvTranspose2d, size: tuple[int, int]) -> None:
        super().__init__()
        self.t_conv = t_conv
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        layer = self.t_conv
        if torch.compiler.is_compiling():  # exporters know plain layers best
            return cast(Tensor, layer(x))
        n, maps, h, w = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n * h * w, maps)  # no copy of channels_last images
        patches = (pixels @ layer.weight.reshape(maps, -1)).view(n, h * w, -1)  # (N, h·w, C·k·k)
        padding = cast(tuple[int, int], layer.padding)
        image = F.fold(patches.transpose(1, 2), self.size, layer.kernel_size, 1, padding, layer.stride)
        return image + cast(Tensor, layer.bias).view(1, -1, 1, 1)


@final
class DeepConvVAE(Autoencoder):
    """The default: strided convolution stages, a hidden layer and a Gaussian code.

    Args:
        shape: (C, H, W) of the images, H and W from 8 to 512.
        config: sizes.

    Raises:
        ConfigError: images of another size, or more stages than the images can be halved.

    Example:
        >>> import torch
        >>> network = DeepConvVAE((3, 32, 48))
        >>> code = network.encode(torch.rand(2, 3, 32, 48))
        >>> code.mu.shape, network.decode(code.mu).shape
        (torch.Size([2, 20]), torch.Size([2, 3, 32, 48]))
    """

    def __init__(self, shape: Shape = (1, 28, 28), config: DeepConvConfig | None = None) -> None:
        super().__init__()
        config = config or DeepConvConfig()
        self.stages = _DeepConv(shape, config, outputs=2 * config.latent)

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) to the mean and log-variance of their codes."""
        mu, logvar = self.stages.encode(x).chunk(2, dim=1)
        return Code(mu, logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        return self.stages.decode(z)


@final
class DeepConvAE(Autoencoder):
    """`DeepConvVAE`'s deterministic twin: its codes are points.

    Args:
        shape: (C, H, W) of the images, H and W from 8 to 512.
        config: sizes.

    Raises:
        ConfigError: as in `DeepConvVAE`.

    Example:
        >>> import torch
        >>> DeepConvAE().encode(torch.rand(2, 1, 28, 28)).logvar is None
        True
    """

    def __init__(self, shape: Shape = (1, 28, 28), config: DeepConvConfig | None = None) -> None:
        super().__init__()
        config = config or DeepConvConfig("deep-conv-ae")
        self.stages = _DeepConv(shape, config, outputs=config.latent)

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) to codes (N, D)."""
        return Code(self.stages.encode(x), None)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        return self.stages.decode(z)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "leaky-relu": nn.LeakyReLU,
}


def _normalization(kind: str, width: int, flat: bool) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm1d(width) if flat else nn.BatchNorm2d(width)]
    if kind == "group":
        # Without height and width a group needs some channels: two values are always normalized to ±1.
        most = max(1, width // 8) if flat else 8
        return [nn.GroupNorm(math.gcd(8, width, most), width)]
    return []


def _padding(kernel: int) -> int:
    return (kernel - 1) // 2  # a stage then divides the sides by its stride, rounding up or down
