"""Images in memory, in their own number type."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.config.reading import plain
from safelight.errors import ConfigError, DataError

__all__ = ["ImageSet", "Splits", "at_once"]

SPLIT_SEED = 0  # not the training seed: runs of different seeds must share one test split
TEST_SHARE = VALIDATION_SHARE = 0.1
TOGETHER, TOGETHER_BYTES = 500, 8 << 20


def at_once(shape: Sequence[int]) -> int:
    """How many images (C, H, W) to work on at a time: 500, or as many as are 8 MB of floats.

    Example:
        >>> at_once((1, 28, 28)), at_once((3, 128, 128))
        (500, 42)
    """
    return max(1, min(TOGETHER, TOGETHER_BYTES // (4 * math.prod(shape))))


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images of one size.

    Attributes:
        pixels: (N, C, H, W) in uint8, uint16 or float32, C being 1 or 3.
        value_range: the values that stand for black and white, such as (0, 255).
        labels: (N,) int64, -1 where unknown; or None.
        names: one name an image, or None.
        weights: (N,) how much more often than others an image is drawn in training; or None, and an epoch is
            every image once.
        source: what `safelight.load` was asked for, so that a run can find its data again.
        has_test_split: whether the source keeps its test images apart from these.

    Raises:
        DataError: shapes, types or values do not fit the above.

    Example:
        >>> import numpy as np
        >>> from safelight.data.images import ImageSet
        >>> images = ImageSet(np.full((4, 1, 8, 8), 255, np.uint8))
        >>> len(images), images.shape, float(images.floats([0]).max())
        (4, (1, 8, 8), 1.0)
    """

    pixels: NDArray[Any]
    value_range: tuple[float, float] = (0, 255)
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None
    weights: NDArray[np.float32] | None = None
    source: str | None = None
    has_test_split: bool = False

    def __post_init__(self) -> None:
        pixels = self.pixels
        if isinstance(pixels, np.ma.MaskedArray):
            raise DataError("expected every pixel, got a mask; fill it, as with pixels.filled(0)")
        if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise DataError(
                "expected images of shape (N, C, H, W) with 1 or 3 channels, "
                f"got {pixels.shape}; reshape the array"
            )
        if len(pixels) == 0:
            raise DataError("expected at least one image, got none; check the source")
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise DataError(f"expected uint8, uint16 or float32 pixels, got {pixels.dtype}; convert them")
        low, high = self.value_range
        if not low < high:
            raise DataError(f"expected a value range of two growing numbers, got {self.value_range}")
        is_whole = pixels.dtype != np.float32
        if not (is_whole and low <= 0 and high >= np.iinfo(pixels.dtype).max):  # which every value keeps to
            least, most = float(pixels.min()), float(pixels.max())
            if not (np.isfinite(least) and np.isfinite(most)):
                raise DataError("expected finite pixels, got NaN or infinity; clean the array first")
            if least < low or most > high:
                raise DataError(
                    f"expected pixels from {low:g} to {high:g}, got {least:g} to {most:g}; "
                    f"say what black and white are, such as value_range=({least:g}, {most:g})"
                )
        for what, extra in (("labels", self.labels), ("names", self.names), ("weights", self.weights)):
            if extra is not None and len(extra) != len(pixels):
                raise DataError(f"expected one of {what} for each of {len(pixels)} images, got {len(extra)}")
        if self.weights is not None and not (self.weights.min() >= 0 and 0 < self.weights.sum() < np.inf):
            raise DataError("expected weights of 0 or more, not all of them 0; check them")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Any:
        """One image's pixels, (C, H, W), for a number; a set of those chosen for anything else."""
        index = plain(index)
        return self.pixels[index] if isinstance(index, int) else self.subset(index)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self.pixels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.pixels, dtype, copy=copy)

    def __repr__(self) -> str:
        channels, height, width = self.shape
        return f"ImageSet({len(self)} × {channels}×{height}×{width}, {self.pixels.dtype}, {self.source})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def floats(self, indices: Any = slice(None), device: str = "cpu") -> Tensor:
        """Images as floats in [0, 1].

        Args:
            indices: what NumPy can index with: a slice, a list, an array.
            device: where the tensor goes.

        Returns:
            (n, C, H, W) float32.
        """
        low, high = self.value_range
        chosen = torch.from_numpy(np.require(self.pixels[indices], requirements=["C", "W"])).to(device)
        return chosen.to(torch.float32, copy=True).sub_(low).div_(high - low)

    def chunks(self) -> list[slice]:
        """Slices that cover the set in order, each of as many images as `at_once` says."""
        count = at_once(self.shape)
        return [slice(first, first + count) for first in range(0, len(self), count)]

    def mapped(self, function: Callable[[Tensor], Tensor], device: str = "cpu") -> NDArray[np.float32]:
        """What a function makes of the images as floats, (N, C, H, W) to (N, ...), some at a time.

        Results go into one array: small ones left between what is large and freed would scatter the memory.
        """
        found: NDArray[np.float32] | None = None
        for chunk in self.chunks():
            part = function(self.floats(chunk, device)).float().cpu().numpy()
            if found is None:
                found = np.empty((len(self), *part.shape[1:]), np.float32)
            found[chunk] = part
        assert found is not None  # no set is empty
        return found

    def subset(self, indices: Any) -> ImageSet:
        """The chosen images with their labels and names, in the order given; `source` is then None."""
        return replace(
            self,
            source=None,
            pixels=self.pixels[indices],
            labels=None if self.labels is None else self.labels[indices],
            names=None if self.names is None else tuple(np.array(self.names, dtype=object)[indices]),
            weights=None if self.weights is None else self.weights[indices],
        )

    def fingerprint(self) -> str:
        """SHA-256 over shape, type, range and pixels: equal only for the same images in the same order."""
        digest = hashlib.sha256(f"{self.pixels.shape}{self.pixels.dtype}{self.value_range}".encode())
        for image_block in np.array_split(self.pixels, max(1, self.pixels.nbytes >> 26)):
            digest.update(np.ascontiguousarray(image_block).data)
        return digest.hexdigest()

    def split(self, validation: int | None = None, limit: int | None = None) -> Splits:
        """Divide into training, validation and (where the source keeps none apart) test images.

        A source with a test split of its own gives its last images for validation, 10,000 of MNIST's
        60,000; any other is shuffled with a fixed seed and divided 80/10/10, test images last.

        Args:
            validation: number of validation images; 0 trains on everything but the test images.
            limit: number of training images to keep, the first of them.

        Raises:
            ConfigError: the numbers leave nothing to train on.
        """
        count = len(self)
        if self.has_test_split:
            order, learn = None, count
            default = count // 6
        elif count < 3:
            raise DataError(
                "expected at least 3 images, one each for training, validation and "
                f"test, got {count}; add images"
            )
        else:
            order = np.random.default_rng(SPLIT_SEED).permutation(count)
            learn = count - max(1, round(count * TEST_SHARE))
            default = max(1, round(count * VALIDATION_SHARE))
        held_out = default if validation is None else plain(validation)
        if not isinstance(held_out, int) or not 0 <= held_out < learn:
            raise ConfigError(
                f"expected between 0 and {learn - 1} validation images, got {held_out}; "
                f"the set has {learn} images to learn from"
            )
        limit = plain(limit)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(f"expected a limit of at least 1 training image, got {limit}")

        def part(start: int, end: int) -> ImageSet:
            return self.subset(
                slice(start, end) if order is None else order[start:end]
            )  # a slice copies nothing

        end = learn - held_out
        return Splits(
            train=part(0, end if limit is None else min(limit, end)),
            validation=part(end, learn) if held_out else None,
            test=part(learn, count) if learn < count else None,
        )


@dataclass(frozen=True)
class Splits:
    """Parts of one set; `validation` is None when it was not wanted, `test` when it is kept elsewhere."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None
