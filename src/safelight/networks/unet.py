"""A U-Net that cleans images of any size: skips for detail, attention for the whole."""

from __future__ import annotations

from typing import cast, final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from safelight.config.network import UNetConfig
from safelight.errors import ConfigError
from safelight.networks.base import ImageNetwork, Shape

__all__ = ["DenoisingUNet"]

FOLD = 4  # pixels to a side of what the deepest maps hold one vector of


@final
class DenoisingUNet(ImageNetwork):
    """Noisy images to the logits of clean ones, without a code in between.

    After Ronneberger et al. (2015), U-Net, with pixels folded two by two into channels first, residual
    blocks, skips that are added, and self-attention (Vaswani et al. 2017) over the deepest maps, so that all
    of a small image is seen at once. Attention stays within windows as large as the images that the network
    was made for, or the whole share of these that `UNetConfig.window` allows; every second layer's windows
    are moved by half of one (Liu et al. 2021, Swin Transformer). Normalization is over the channels of a
    pixel. So a pixel's result depends on those within `reach` alone, and an image can be cleaned in parts,
    whose corners are on the windows' grid, with the same result.

    Args:
        shape: (C, H, W) of the images to train on, H and W from 8 up; those to clean may be of any size.
        config: sizes.

    Raises:
        ConfigError: other than 1 or 3 channels, or sides below 8.

    Attributes:
        window: (height, width) of attention's windows in pixels.
        reach: (height, width), a bound on how far a result looks, in pixels.

    Example:
        >>> import torch
        >>> network = DenoisingUNet((1, 28, 28))
        >>> network(torch.rand(2, 1, 28, 28)).shape, network(torch.rand(1, 1, 50, 31)).shape
        (torch.Size([2, 1, 28, 28]), torch.Size([1, 1, 50, 31]))
    """

    def __init__(self, shape: Shape = (1, 28, 28), config: UNetConfig | None = None) -> None:
        super().__init__()
        config = config or UNetConfig()
        channels, height, width = shape
        if channels not in (1, 3) or min(height, width) < 8:
            raise ConfigError(
                f"expected images of 1 or 3 channels with sides from 8 up, got {channels}×{height}×{width}; "
                "convert or enlarge them first"
            )
        self.window = _window(height, config.window), _window(width, config.window)
        # Each layer of attention reaches a window away; the convolutions 28 pixels, and folding 3 more.
        self.reach = tuple(side * config.attention + 32 for side in self.window)
        shallow, deep = config.channels
        grid = self.window[0] // FOLD, self.window[1] // FOLD
        self.stem = nn.Conv2d(4 * channels, shallow, 3, padding=1)
        self.down = _Block(shallow)
        self.fold = nn.Conv2d(4 * shallow, deep, 1)
        self.bottom = nn.Sequential(
            _Block(deep),
            *(_Attention(deep, config.heads, grid, shifted=bool(i % 2)) for i in range(config.attention)),
            _Block(deep),
        )
        self.unfold = nn.Conv2d(deep, 4 * shallow, 1)
        self.up = _Block(shallow)
        self.head = nn.Conv2d(shallow, 4 * channels, 3, padding=1)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker convolutions, the same numbers

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, C, H, W); H and W may be any from 8 up."""
        height, width = x.shape[2:]
        x = _mirrored(_mirrored(x, 2, self.window[0]), 3, self.window[1])
        fine = self.down(self.stem(F.pixel_unshuffle(x, 2)))  # (N, 48, H/2, W/2)
        coarse = self.bottom(self.fold(F.pixel_unshuffle(fine, 2)))  # (N, 128, H/4, W/4)
        fine = self.up(fine + F.pixel_shuffle(self.unfold(coarse), 2))
        logits: Tensor = F.pixel_shuffle(self.head(fine), 2)
        return logits[..., :height, :width]


@final
class _Block(nn.Module):
    """Two convolutions and what they are added to."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # no copy of channels_last maps
        return x + cast(Tensor, self.second(F.silu(self.first(F.silu(y)))))


@final
class _Attention(nn.Module):
    """Self-attention within windows, and a layer over each pixel's channels.

    A learned position within the window joins queries and keys alone, so that moved windows keep their sense.
    """

    def __init__(self, channels: int, heads: int, grid: tuple[int, int], *, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.grid = grid
        self.shifted = shifted
        self.position = nn.Parameter(0.1 * torch.randn(grid[0] * grid[1], channels))
        self.norm = nn.LayerNorm(channels)
        self.query_key = nn.Linear(channels, 2 * channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        (h, w), top, left = self.grid, 0, 0
        if self.shifted and torch.compiler.is_compiling():  # exporters know no sizes yet
            x, top = _moved(x, 2, h)
            x, left = _moved(x, 3, w)
        elif self.shifted:  # by half a window, in directions that have several
            top, left = h // 2 * (height > h), w // 2 * (width > w)
            x = F.pad(x, (left, (w - left) * (left > 0), top, (h - top) * (top > 0)), mode="reflect")
        n, channels, rows, columns = x.shape
        y = x.permute(0, 2, 3, 1).reshape(n, rows // h, h, columns // w, w, channels)
        y = y.transpose(2, 3).reshape(-1, h * w, channels)  # (windows, pixels, channels)
        y = y + self._attend(self.norm(y))
        y = y + cast(Tensor, self.mlp(y))
        y = y.view(n, rows // h, columns // w, h, w, channels).transpose(2, 3)
        y = y.reshape(n, rows, columns, channels).permute(0, 3, 1, 2)
        return y[:, :, top : top + height, left : left + width]

    def _attend(self, y: Tensor) -> Tensor:
        windows, pixels, _ = y.shape
        query, key = self.query_key(y + self.position).chunk(2, dim=2)
        query, key, value = (
            part.view(windows, pixels, self.heads, -1).transpose(1, 2) for part in (query, key, self.value(y))
        )  # each (windows, heads, pixels, channels / heads)
        if torch.is_grad_enabled():  # torch's fused attention takes five times as long backward in bfloat16
            mixed = (query * query.shape[3] ** -0.5 @ key.transpose(2, 3)).softmax(3) @ value
        else:  # but keeps no weights, half a gigabyte of a large image
            mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(y.shape))
        return out


def _window(side: int, most: int) -> int:
    """The side of equal windows, none larger than `most`, that cover a side of an image."""
    count = -(-side // most)
    return -(-side // (count * FOLD)) * FOLD


def _mirrored(x: Tensor, axis: int, multiple: int) -> Tensor:
    """Lengthen an axis to a multiple by mirroring, as often as that takes."""
    length = x.shape[axis]
    place = torch.arange((length + multiple - 1) // multiple * multiple, device=x.device)
    if not torch.compiler.is_compiling() and len(place) == length:
        return x
    place = place % torch.full_like(place, 2 * length)  # a tensor, as exporters know no length yet
    return x.index_select(axis, torch.where(place < length, place, 2 * length - 1 - place))


def _moved(x: Tensor, axis: int, side: int) -> tuple[Tensor, int]:
    """Whole windows moved by half of one, if there are several, and by how much; without an `if`."""
    count = x.shape[axis] // side
    more = (2 * count - 2) // count  # 1 where there are several, else 0
    place = (torch.arange((count + more) * side, device=x.device) - side // 2 * more).abs()
    last = count * side - 1
    return x.index_select(axis, torch.where(place <= last, place, 2 * last - place)), side // 2 * more
