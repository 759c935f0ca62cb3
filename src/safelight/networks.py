"""The networks, and what every network can do.

Every class here is either abstract or final, and no method that does something is overridden. A network is
made from the shape of its images and its config; `NETWORKS` is the one table from names to classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, cast, final

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from safelight.config import ConvVAEConfig, DeepConvConfig, RunConfig, did_you_mean, from_dict
from safelight.errors import ConfigError

__all__ = [
    "NETWORKS",
    "Autoencoder",
    "Code",
    "ConvVAE",
    "DeepConvAE",
    "DeepConvVAE",
    "Network",
    "build",
    "cost",
]

Shape = tuple[int, int, int]
MAX_PARAMETERS = 1 << 28  # a gigabyte of float32


class Code(NamedTuple):
    """Where an encoder puts its images: Gaussians, or points where `logvar` is None.

    Attributes:
        mu: (N, D) means.
        logvar: (N, D) logarithms of the variances, or None.
    """

    mu: Tensor
    logvar: Tensor | None


class Network(nn.Module, ABC):
    """Turns images into images of the same shape."""

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """The network's version of images.

        Args:
            x: (N, C, H, W), floats in [0, 1].

        Returns:
            (N, C, H, W), floats in [0, 1].
        """


class Autoencoder(Network, ABC):
    """A network that goes through a short code.

    A subclass of your own needs `encode` and `decode` and trains through the same functions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from safelight.networks import Autoencoder, Code
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

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the mean code of each image, (N, C, H, W) to (N, C, H, W)."""
        return torch.sigmoid(self.decode(self.encode(x).mu))


@final
class ConvVAE(Autoencoder):
    """The network of the original report: one convolution, a code, one transposed convolution.

    Its two halves are computed by `_ConvEncoder` and `_ConvDecoder` below, which equal
    `fc(relu(conv(x)))` and `t_conv(relu(fc3(z)))` and are faster on a CPU.

    Args:
        shape: (C, H, W) of the images.
        config: sizes.

    Example:
        >>> ConvVAE()
        ConvVAE(
          (conv): Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1))
          (fc21): Linear(in_features=21632, out_features=20, bias=True)
          (fc22): Linear(in_features=21632, out_features=20, bias=True)
          (fc3): Linear(in_features=20, out_features=21632, bias=True)
          (t_conv): ConvTranspose2d(32, 1, kernel_size=(3, 3), stride=(1, 1))
        )
    """

    config_class: ClassVar[type[ConvVAEConfig]] = ConvVAEConfig

    def __init__(self, shape: Shape = (1, 28, 28), config: ConvVAEConfig | None = None) -> None:
        super().__init__()
        config = config or ConvVAEConfig()
        _check_image(shape)
        image_channels, height, width = shape
        features = config.channels * (height - 2) * (width - 2)
        self.conv = nn.Conv2d(image_channels, config.channels, 3)
        self.fc21 = nn.Linear(features, config.latent)
        self.fc22 = nn.Linear(features, config.latent)
        self.fc3 = nn.Linear(config.latent, features)
        self.t_conv = nn.ConvTranspose2d(config.channels, image_channels, 3)
        self.shape = shape

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) to the mean and log-variance of their codes."""
        halves = (self.conv, self.fc21, self.fc22)
        mu, logvar = _apply(_ConvEncoder, x, *(p for m in halves for p in (m.weight, m.bias)))
        return Code(mu, logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        parameters = (self.fc3.weight, self.fc3.bias, self.t_conv.weight, self.t_conv.bias)
        return cast(Tensor, _apply(_ConvDecoder, z, *parameters, self.shape))


class _DeepConv(nn.Module):
    """The stages of `DeepConvVAE` and `DeepConvAE`: images to features, codes to logits."""

    def __init__(self, shape: Shape, config: DeepConvConfig, outputs: int) -> None:
        super().__init__()
        _check_image(shape)
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
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker convolutions, the same numbers


@final
class _ToImage(nn.Module):
    """The last transposed convolution as a product and `F.fold`; torch's own is slow to few channels."""

    def __init__(self, t_conv: nn.ConvTranspose2d, size: tuple[int, int]) -> None:
        super().__init__()
        self.t_conv = t_conv
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        n, maps, h, w = x.shape
        layer = self.t_conv
        pixels = x.permute(0, 2, 3, 1).reshape(n * h * w, maps)  # no copy of channels_last images
        patches = (pixels @ layer.weight.reshape(maps, -1)).view(n, h * w, -1)  # (N, h·w, C·k·k)
        padding = cast(tuple[int, int], layer.padding)
        image = F.fold(patches.transpose(1, 2), self.size, layer.kernel_size, 1, padding, layer.stride)
        return image + cast(Tensor, layer.bias).view(1, -1, 1, 1)


@final
class DeepConvVAE(Autoencoder):
    """The default: strided convolution stages, a hidden layer and a Gaussian code.

    Args:
        shape: (C, H, W) of the images, H and W from 8 to 128.
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

    config_class: ClassVar[type[DeepConvConfig]] = DeepConvConfig

    def __init__(self, shape: Shape = (1, 28, 28), config: DeepConvConfig | None = None) -> None:
        super().__init__()
        config = config or DeepConvConfig()
        self.stages = _DeepConv(shape, config, outputs=2 * config.latent)

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) to the mean and log-variance of their codes."""
        mu, logvar = self.stages.encoder(x).chunk(2, dim=1)
        return Code(mu, logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        return cast(Tensor, self.stages.decoder(z))


@final
class DeepConvAE(Autoencoder):
    """`DeepConvVAE`'s deterministic twin: its codes are points.

    Args:
        shape: (C, H, W) of the images, H and W from 8 to 128.
        config: sizes.

    Raises:
        ConfigError: as in `DeepConvVAE`.

    Example:
        >>> import torch
        >>> DeepConvAE().encode(torch.rand(2, 1, 28, 28)).logvar is None
        True
    """

    config_class: ClassVar[type[DeepConvConfig]] = DeepConvConfig

    def __init__(self, shape: Shape = (1, 28, 28), config: DeepConvConfig | None = None) -> None:
        super().__init__()
        config = config or DeepConvConfig()
        self.stages = _DeepConv(shape, config, outputs=config.latent)

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) to codes (N, D)."""
        return Code(self.stages.encoder(x), None)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        return cast(Tensor, self.stages.decoder(z))


NETWORKS: dict[str, type[ConvVAE] | type[DeepConvVAE] | type[DeepConvAE]] = {
    "deep-conv-vae": DeepConvVAE,
    "deep-conv-ae": DeepConvAE,
    "conv-vae": ConvVAE,
}


def build(config: RunConfig) -> Autoencoder:
    """The network that a run's config names, with fresh weights.

    Raises:
        ConfigError: the name is not in `NETWORKS`, its fields do not fit, or the network is too large.
    """
    size, _ = cost(config)
    if size > MAX_PARAMETERS:
        raise ConfigError(
            f"network: expected at most {MAX_PARAMETERS:,} parameters, got {size:,}; "
            "use fewer channels or a narrower hidden layer"
        )
    return _make(config)


def cost(config: RunConfig) -> tuple[int, int]:
    """What a config's network costs, found without allocating it.

    Returns:
        The number of parameters, and the FLOPs of reconstructing one image: two for a multiplication and an
        addition, in convolutions and matrix products alone.

    Raises:
        ConfigError: the name is not in `NETWORKS`, or its fields do not fit.

    Example:
        >>> from safelight.config import DataConfig, ImageConfig, NetworkSpec, TrainingConfig
        >>> spec, image = NetworkSpec("conv-vae"), ImageConfig(28, 28, 1)
        >>> cost(RunConfig(spec, image, DataConfig(), TrainingConfig()))
        (1320201, 3374592)
    """
    with torch.device("meta"):
        network = _make(config).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.reconstruct(torch.empty(1, *config.image.shape))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


def _make(config: RunConfig) -> Autoencoder:
    name = config.network.name
    if name not in NETWORKS:
        raise ConfigError(f"network.name: unknown network {name!r}; {did_you_mean(name, NETWORKS)}")
    network_class = NETWORKS[name]
    fields: Any = from_dict(network_class.config_class, config.network.fields, "network.fields")
    return network_class(config.image.shape, fields)


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
        return [nn.GroupNorm(math.gcd(8, width), width)]
    return []


def _padding(kernel: int) -> int:
    return (kernel - 1) // 2  # a stage then divides the sides by its stride, rounding up or down


def _check_image(shape: Shape) -> None:
    channels, height, width = shape
    if channels not in (1, 3) or not (8 <= height <= 128 and 8 <= width <= 128):
        raise ConfigError(
            f"expected images of 1 or 3 channels with sides from 8 to 128, got {channels}×{height}×{width}; "
            "scale or crop them first"
        )


def _patches(x: Tensor, kernel: int) -> Tensor:
    """(N, C, H, W) to (N, C·k·k, h·w): what each step of a k×k convolution sees; a quicker `F.unfold`."""
    x = x.contiguous()
    n, c, height, width = x.shape
    h, w = height - kernel + 1, width - kernel + 1
    image, plane, row, pixel = x.stride()
    windows = x.as_strided((n, c, kernel, kernel, h, w), (image, plane, row, pixel, row, pixel))
    return windows.reshape(n, c * kernel * kernel, h * w)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What the large matrix products below are computed in: float32, or what autocast says."""
    device = x.device.type
    if x.is_meta or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _mask_negative(gradient: Tensor, activations: Tensor) -> Tensor:
    """The gradient before a ReLU from the one behind it, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, activations, 0, grad_input=gradient)
    return gradient


def _apply(function: Any, *inputs: Any) -> Any:
    return function.apply(*inputs)  # torch leaves it untyped


class _ConvEncoder(torch.autograd.Function):
    """`fc21(h), fc22(h)` for `h = relu(conv(x))`.

    Torch's convolution of one channel to many is slow at the sizes of `ConvVAE`; a matrix product over its
    patches is not. Written as one function, the ReLU and its gradient work in place: at 4 MB an activation,
    the memory's pace and not arithmetic limits a step.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
    ) -> tuple[Tensor, Tensor]:
        dtype = _compute_dtype(x)
        with _without_autocast(x):
            n, maps = len(x), len(w)
            patches = _patches(x, w.shape[-1]).to(dtype)  # (N, C·k·k, h·w)
            kernels = w.view(1, maps, -1).to(dtype).expand(n, -1, -1)
            h = torch.baddbmm(b.view(1, maps, 1).to(dtype), kernels, patches).relu_().view(n, -1)  # (N, F)
            w12 = torch.cat([w1, w2]).to(dtype)  # (2D, F)
            ctx.side = x.shape[-2:]
            ctx.save_for_backward(w, patches, h, w12)
            out = F.linear(h, w12).to(w.dtype)  # (N, 2D)
            return out[:, : len(w1)] + b1, out[:, len(w1) :] + b2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dmu: Tensor, dlogvar: Tensor) -> tuple[Tensor | None, ...]:
        w, patches, h, w12 = ctx.saved_tensors
        n, maps = len(h), len(w)
        d = torch.cat([dmu, dlogvar], dim=1).to(h.dtype)  # (N, 2D)
        dw12 = (d.t() @ h).to(w.dtype)
        dh = _mask_negative(d @ w12, h).view(n, maps, -1)
        dw = torch.bmm(dh, patches.transpose(1, 2)).to(w.dtype).sum(0).view_as(w)
        db = dh.sum((0, 2), dtype=w.dtype)
        dx = None
        if ctx.needs_input_grad[0]:
            back = w.view(maps, -1).t().to(dh.dtype).expand(n, -1, -1)
            dx = F.fold(torch.bmm(back, dh).to(w.dtype), ctx.side, w.shape[-1])
        dw1, dw2 = dw12.chunk(2)
        return dx, dw, db, dw1, dmu.sum(0), dw2, dlogvar.sum(0)


class _ConvDecoder(torch.autograd.Function):
    """`t_conv(relu(fc3(z)))`, with the transposed convolution as a matrix product and `F.fold`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, w3: Tensor, b3: Tensor, w: Tensor, b: Tensor, shape: Shape) -> Tensor:
        dtype = _compute_dtype(z)
        with _without_autocast(z):
            n, maps = len(z), len(w)
            z, w3 = z.to(dtype), w3.to(dtype)
            h = F.linear(z, w3, b3.to(dtype)).relu_().view(n, maps, -1)  # (N, maps, h·w)
            ctx.save_for_backward(z, w3, w, h)
            kernels = w.view(maps, -1).t().to(dtype).expand(n, -1, -1)
            patches = torch.bmm(kernels, h).to(w.dtype)  # (N, C·k·k, h·w)
            return F.fold(patches, shape[1:], w.shape[-1]).add_(b.view(1, -1, 1, 1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        z, w3, w, h = ctx.saved_tensors
        n, maps = len(z), len(w)
        patches = _patches(dout, w.shape[-1]).to(h.dtype)  # (N, C·k·k, h·w)
        dw = torch.bmm(h, patches.transpose(1, 2)).to(w.dtype).sum(0).view_as(w)
        kernels = w.view(1, maps, -1).to(h.dtype).expand(n, -1, -1)
        dh = _mask_negative(torch.bmm(kernels, patches), h).view(n, -1)
        dz, dw3 = (dh @ w3).to(w.dtype), (dh.t() @ z).to(w.dtype)
        return dz, dw3, dh.sum(0, dtype=w.dtype), dw, dout.sum((0, 2, 3)), None
