"""The network of the original report, and the operators that make it quick."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast, final

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor, nn

from safelight.config.network import ConvVAEConfig
from safelight.networks.base import Autoencoder, Code, Shape, check_image

__all__ = ["ConvVAE"]


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

    def __init__(self, shape: Shape = (1, 28, 28), config: ConvVAEConfig | None = None) -> None:
        super().__init__()
        config = config or ConvVAEConfig()
        check_image(shape)
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
        if torch.compiler.is_compiling():  # exporters know plain layers alone
            h = torch.relu(self.conv(x)).flatten(1)
            return Code(self.fc21(h), self.fc22(h))
        halves = (self.conv, self.fc21, self.fc22)
        mu, logvar = _apply(_ConvEncoder, x, *(p for m in halves for p in (m.weight, m.bias)))
        return Code(mu, logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        if torch.compiler.is_compiling():
            channels, height, width = self.t_conv.in_channels, self.shape[1] - 2, self.shape[2] - 2
            return cast(Tensor, self.t_conv(torch.relu(self.fc3(z)).view(-1, channels, height, width)))
        parameters = (self.fc3.weight, self.fc3.bias, self.t_conv.weight, self.t_conv.bias)
        return cast(Tensor, _apply(_ConvDecoder, z, *parameters, self.shape))


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
