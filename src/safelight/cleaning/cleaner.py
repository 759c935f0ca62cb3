"""A network that cleans images, whatever their size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from safelight.cleaning.doubts import doubt_of
from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.data.arrays import array_of, as_pixels, one_image
from safelight.data.finding import Images
from safelight.data.fitting import Untold
from safelight.data.images import ImageSet
from safelight.data.opening import Picture
from safelight.data.sources import load_for
from safelight.errors import DataError
from safelight.networks.base import ImageNetwork, device_of
from safelight.networks.tiling import clean
from safelight.networks.unet import DenoisingUNet

__all__ = ["Cleaner"]

LEAST_SIDE = 8
FULL_SCALES = ((0, 1), (0, 255), (0, 65535))  # of pictures, which mean the same at any depth


@final
class Cleaner:
    """Cleans images by a network, and gives them back as large as they are.

    A network that takes one size alone sees what its training images were made of: tiles, where they were
    tiles, and else the whole, scaled and padded as they were.

    Args:
        network: in evaluation mode.
        fit: of the images that it was made for; its range is what stands for black and white in arrays.
        precision: bfloat16, or float32.
        changes_light: whether it was trained to make pictures brighter or darker, as against lost contrast.
        turns: average over the eight ways that a picture can lie; four for a network of one size, if that is
            no square.

    Attributes:
        has_scaled: whether any image had to be scaled so far.
    """

    def __init__(
        self,
        network: ImageNetwork,
        fit: Fit,
        precision: str,
        changes_light: bool = False,
        turns: bool = False,
    ) -> None:
        self.network = network
        self.changes_light = changes_light
        self.turns = turns
        self.fit, self.shape, self.value_range = fit, fit.shape, fit.range
        self.precision = precision
        self.takes_any_size = isinstance(network, DenoisingUNet)
        self.has_scaled = False
        self.device = device_of(network)

    def range_of(self, picture: Picture) -> tuple[float, float]:
        """What stands for black and white in a picture: as its file says, else as in the run's own images."""
        own = {"uint16": Untold(whole=self.fit.range), "float32": Untold(real=self.fit.range)}
        return own.get(self.fit.dtype, Untold()).range_of(picture.pixels, picture.white)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Images (N, C, H, W) in [0, 1] to clean ones.

        A network for gray images cleans one channel after another, one for colours a gray image as three.

        Raises:
            DataError: they have other channels than the network takes, or are too small for it.
        """
        self.check(images.shape[1:])
        (count, channels, *size), own = images.shape, self.shape[0]
        if channels == own:
            return self._clean(images)
        if own == 1:
            return np.asarray(self._clean(images.reshape(-1, 1, *size)).reshape(count, channels, *size))
        return np.asarray(self._clean(np.repeat(images, own, axis=1)).mean(1, keepdims=True))

    def _clean(self, images: NDArray[Any]) -> NDArray[np.float32]:
        x = torch.from_numpy(np.asarray(images, np.float32)).to(self.device)
        if self.takes_any_size or x.shape[2:] == self.shape[1:]:
            cleaned = self._seen(x)
        else:
            cleaned = self._in_tiles(x) if self.fit.how == "tile" else self._scaled(x)
        return np.asarray(cleaned.cpu().numpy())

    def _seen(self, x: Tensor) -> Tensor:
        """Images that the network takes as they are: once, or turned and turned back, and the mean of it."""
        if not self.turns:
            return clean(self.network, x, self.precision)
        step = 1 if self.takes_any_size or x.shape[2] == x.shape[3] else 2
        total = torch.zeros_like(x)
        for quarters in range(0, 4, step):
            for axes in ((), (3,)):
                made = clean(self.network, x.flip(axes).rot90(quarters, (2, 3)), self.precision)
                total += made.rot90(-quarters, (2, 3)).flip(axes)
        return total / (8 // step)

    def doubt(self, before: NDArray[Any], after: NDArray[Any]) -> str | None:
        """How cleaned images (N, C, H, W) differ from noisy ones by more than noise, or None: `doubt_of`."""
        pairs = zip(before, after, strict=True)
        found = (doubt_of(*pair, any_light=self.changes_light) for pair in pairs)
        return next((doubt for doubt in found if doubt), None)

    def _in_tiles(self, x: Tensor) -> Tensor:
        """Tiles that overlap by half, each counting less towards its edges, where it knows least."""
        size = self.shape[1:]
        missing = [max(0, side - whole) for side, whole in zip(size, x.shape[2:], strict=True)]
        padded = F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
        weight = torch.outer(*(_triangle(side) for side in size)).to(x)
        total, weights = torch.zeros_like(padded), torch.zeros_like(padded[:1, :1])
        for top in _starts(padded.shape[2], size[0]):
            for left in _starts(padded.shape[3], size[1]):
                place = (..., slice(top, top + size[0]), slice(left, left + size[1]))
                total[place] += self._seen(padded[place]) * weight
                weights[place] += weight
        return (total / weights)[:, :, : x.shape[2], : x.shape[3]]

    def _scaled(self, x: Tensor) -> Tensor:
        """The whole as large as the network's images, between its own border colour, and back again."""
        self.has_scaled = True
        (height, width), size = self.shape[1:], x.shape[2:]
        scale = min(height / size[0], width / size[1])
        inner = (height, width)
        if self.fit.how != "stretch":
            inner = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        edges = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 2).median(2).values
        full = edges[:, :, None, None].repeat(1, 1, height, width)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        place = (..., slice(top, top + inner[0]), slice(left, left + inner[1]))
        full[place] = _resized(x, inner)
        return _resized(self._seen(full)[place], size)

    def taken(self, images: Images) -> ImageSet:
        """Images of a user's: by a network for pictures, as deep as they are; else by its run's own range.

        Raises:
            DataError: they cannot be loaded, or do not keep to that range.
        """
        options = FitOptions() if self.value_range in FULL_SCALES else self.fit
        if isinstance(images, ImageSet):
            image_set = images
        elif isinstance(images, str | os.PathLike):
            image_set = load_for(images, DataConfig(), FitOptions() if self.takes_any_size else self.fit)
        else:
            one = one_image(images, self.shape[0])
            image_set = as_pixels(array_of(images if one is None else one), "the array", options)
        self.check(image_set.shape)
        return image_set

    def check(self, shape: Sequence[int]) -> None:
        """Refuse images (C, H, W) that the network does not take.

        Raises:
            DataError: as it says.
        """
        channels, *size = shape
        if channels != self.shape[0] and 1 not in (channels, self.shape[0]):
            raise DataError(
                f"expected pictures of {self.shape[0]} channels, as the network was trained on, or gray "
                f"ones, got {channels} channels; convert them, or use another run"
            )
        if self.takes_any_size and min(size) < LEAST_SIDE:
            raise DataError(
                f"expected sides from {LEAST_SIDE} pixels up, got {size[1]}×{size[0]}; enlarge it"
            )


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    resized: Tensor = F.interpolate(images, tuple(size), mode="bilinear", antialias=True)
    return resized


def _triangle(side: int) -> Tensor:
    """Weights along a tile's side: least, but not nothing, at its ends."""
    places = torch.arange(side) + 0.5
    return torch.minimum(places, side - places)


def _starts(whole: int, part: int) -> list[int]:
    """Where parts begin that overlap by half and cover the whole."""
    return [*range(0, whole - part, max(1, part // 2)), whole - part]
