"""Images in their own number type, in memory or in a file, and a set divided into its parts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.config.data import MAX_CHANNELS, Fit
from safelight.config.reading import plain
from safelight.data.rows import Names, is_mapped, selected
from safelight.errors import ConfigError, DataError
from safelight.showing import picture, table

if TYPE_CHECKING:
    from safelight.data.store import Store

__all__ = ["ANYWHERE", "PARTS", "Divided", "ImageSet", "at_once"]

PARTS = ("train", "validation", "test")
ANYWHERE = -1  # the part of an image that the division puts where it likes

SPLIT_SEED = 0  # not the training seed: runs of different seeds must share one test split
TEST_SHARE = VALIDATION_SHARE = 0.1
SHOWN, COLUMNS = 24, 12  # in a notebook
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
        pixels: (N, C, H, W) in uint8, uint16 or float32, C being 1 to 8: an array, in memory or mapped from
            a file, or `Rows` of one.
        value_range: the values that stand for black and white, such as (0, 255).
        labels: (N,) int64, -1 where unknown; or None.
        names: one name an image, or None.
        weights: (N,) how much more often than others an image is drawn in training; or None, and an epoch is
            every image once.
        source: what `safelight.load` was asked for, so that a run can find its data again.
        has_test_split: whether the source keeps its test images apart from these.
        classes: the names of the classes that the labels number; without, they are called by their numbers.
        parts: (N,) 0 for training, 1 for validation, 2 for test, where the set's owner has divided it.
        groups: (N,) int64; images of one number stay in one part when the set is divided.
        fit: how pictures of other kinds become images of this set; by default by padding.
        notes: what was done to the pictures on their way, in words.
        digest: SHA-256 of the pixels, and of whatever else decides what the set is, where that is known.
        store: what its pictures were read into; None of arrays, and of a part of a set.

    Raises:
        DataError: shapes, types or values do not fit the above.

    Example:
        >>> import numpy as np
        >>> from safelight.data.images import ImageSet
        >>> images = ImageSet(np.full((4, 1, 8, 8), 255, np.uint8))
        >>> len(images), images.shape, float(images.floats([0]).max())
        (4, (1, 8, 8), 1.0)
    """

    pixels: Any
    value_range: tuple[float, float] = (0, 255)
    labels: NDArray[np.int64] | None = None
    names: Sequence[str] | None = None
    weights: NDArray[np.float32] | None = None
    source: str | None = None
    has_test_split: bool = False
    classes: tuple[str, ...] | None = None
    parts: NDArray[np.uint8] | None = None
    groups: NDArray[np.int64] | None = None
    fit: Fit | None = None
    notes: tuple[str, ...] = ()
    digest: str | None = None
    store: Store | None = None

    def __post_init__(self) -> None:
        pixels = self.pixels
        if isinstance(pixels, np.ma.MaskedArray):
            raise DataError("expected every pixel, got a mask; fill it, as with pixels.filled(0)")
        if pixels.ndim != 4 or not 1 <= pixels.shape[1] <= MAX_CHANNELS:
            raise DataError(
                f"expected images of shape (N, C, H, W) with 1 to {MAX_CHANNELS} channels, "
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
        keeps = is_whole and low <= 0 and high >= np.iinfo(pixels.dtype).max  # as every value does
        if not keeps and not is_mapped(pixels):  # what is in a file was looked through there
            least, most = float(pixels.min()), float(pixels.max())
            if not (np.isfinite(least) and np.isfinite(most)):
                raise DataError("expected finite pixels, got NaN or infinity; clean the array first")
            if least < np.float32(low) or most > np.float32(high):
                raise DataError(
                    f"expected pixels from {low:g} to {high:g}, got {least:g} to {most:g}; "
                    f"say what black and white are, such as value_range=({least:g}, {most:g})"
                )
        for what in ("labels", "names", "weights", "parts", "groups"):
            extra = getattr(self, what)
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
        return np.array(self.pixels[:], dtype, copy=copy)

    def __repr__(self) -> str:
        channels, height, width = self.shape
        return f"ImageSet({len(self)} × {channels}×{height}×{width}, {self.pixels.dtype}, {self.source})"

    def _repr_html_(self) -> str:
        """The first images, for notebooks."""
        from safelight.data.pictures import png, tile  # Pillow, which only pictures need

        x = self.floats(slice(SHOWN)).numpy()
        if x.shape[1] not in (1, 3):
            x = x[:, :1]
        return table([(repr(self), f"the first {len(x)}")]) + picture(png(tile(x, COLUMNS)), repr(self))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def image(self) -> Fit:
        """What a network for these images is made for, and how pictures of other kinds become such."""
        channels, height, width = self.shape
        made = Fit(height, width, channels, self.value_range)
        if self.fit is None:
            return made
        return replace(made, how=self.fit.how, background=self.fit.background)

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
        """The chosen images with their labels and names, in the order given; `source` is then None.

        Where there are no names, images are called by their places in the whole set, here as everywhere.
        """

        def chosen(values: Any) -> Any:
            return None if values is None else values[indices]

        return replace(
            self,
            source=None,
            digest=None,
            store=None,
            pixels=selected(self.pixels, indices),
            labels=chosen(self.labels),
            names=Names.chosen(Names.of_places(len(self)) if self.names is None else self.names, indices),
            weights=chosen(self.weights),
            parts=chosen(self.parts),
            groups=chosen(self.groups),
        )

    def is_what(self, fingerprint: str | None) -> bool:
        """Whether a fingerprint is of this set; one taken without labels leaves them free."""
        return fingerprint in (self.fingerprint(), replace(self, labels=None).fingerprint())

    def fingerprint(self) -> str:
        """SHA-256 over shape, type, range, pixels and labels: equal only for the same in the same order.

        Of named sets the pixels decide, as their files are checked one by one when they are read.
        """
        if self.digest is None:
            digest = hashlib.sha256(f"{self.pixels.shape}{self.pixels.dtype}{self.value_range}".encode())
            for chunk in self.chunks():
                digest.update(np.ascontiguousarray(self.pixels[chunk]).data)
        else:
            digest = hashlib.sha256(self.digest.encode())
        if self.digest is not None or not self.has_test_split:
            for also in (self.labels, self.parts):
                digest.update(b"" if also is None else np.ascontiguousarray(also).data)
        return digest.hexdigest()

    def split(
        self,
        validation: int | None = None,
        limit: int | None = None,
        parts: NDArray[np.integer[Any]] | None = None,
    ) -> Divided:
        """Divide into training, validation and (where the source keeps none apart) test images.

        A set that its owner divided keeps its parts. A source with a test split of its own gives its last
        images for validation, 10,000 of MNIST's 60,000; any other is shuffled with a fixed seed and divided
        80/10/10, test images last, and images of one group stay together.

        Args:
            validation: number of validation images; 0 trains on everything but the test images. By default
                the set's own, or as above, and no more than the limit.
            limit: number of training images to keep, the first of them.
            parts: (N,) 0, 1 or 2 for images that go to training, validation or test wherever they would be,
                -1 for the others.

        Raises:
            ConfigError: the numbers leave nothing to train on.
            DataError: so do the parts, or there are not as many of them as images.
        """
        learn, own, test = self._places()
        count = len(learn)
        default = len(own) or (
            count // 6 if self.has_test_split else max(1, round(len(self) * VALIDATION_SHARE))
        )
        learn = np.concatenate([learn, own])
        limit = plain(limit)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(f"expected a limit of at least 1 training image, got {limit}")
        if limit is not None and not len(own):
            default = min(default, limit)
        held_out = default if validation is None else plain(validation)
        if not isinstance(held_out, int) or not 0 <= held_out < len(learn):
            raise ConfigError(
                f"expected between 0 and {len(learn) - 1} validation images, got {held_out}; "
                f"the set has {len(learn)} images to learn from"
            )
        end = self._cut(learn, len(learn) - held_out)
        rows = {"train": learn[:end][:limit], "validation": learn[end:], "test": test}
        if parts is not None:
            if len(parts) != len(self):
                raise DataError(
                    f"the run's labels are not those of these images; expected {len(self)}, got {len(parts)}"
                )
            rows = {name: _moved(rows[name], parts, number) for number, name in enumerate(PARTS)}
        made = {
            name: self.subset(_as_slice(places)) if len(places) else None for name, places in rows.items()
        }
        if made["train"] is None:
            raise DataError("expected training images, got none; mark fewer for validation and test")
        return Divided(made["train"], made["validation"], made["test"], rows, held_out)

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Places of the images to learn from, of the owner's validation images, and of test images."""
        count, none = len(self), np.empty(0, np.int64)
        if self.parts is not None:
            learn, own, test = (np.flatnonzero(self.parts == part) for part in range(3))
            if not len(learn):
                raise DataError(
                    f"expected training images among {count}, got none; check how they are divided"
                )
            return learn, own, test
        if self.has_test_split:
            return np.arange(count), none, none
        if count < 3:
            raise DataError(
                "expected at least 3 images, one each for training, validation and "
                f"test, got {count}; add images, or cut large ones into tiles (--fit tile)"
            )
        order = np.random.default_rng(SPLIT_SEED).permutation(count)
        if self.groups is not None:  # those of a group behind the first of it
            first = np.full(int(self.groups.max()) + 1, count)
            np.minimum.at(first, self.groups[order], np.arange(count))
            order = order[np.argsort(first[self.groups[order]], kind="stable")]
        cut = self._cut(order, count - max(1, round(count * TEST_SHARE)))
        return order[:cut], none, order[cut:]

    def _cut(self, order: NDArray[np.int64], place: int) -> int:
        """Where to cut near a place without parting a group; there, if one takes up more than half."""
        if self.groups is None or not 0 < place < len(order):
            return place
        groups = self.groups[order]
        begins = np.flatnonzero(np.diff(groups)) + 1
        if not len(begins):
            return place
        nearest = int(begins[np.abs(begins - place).argmin()])
        return nearest if abs(nearest - place) <= len(order) // 20 else place


def _moved(rows: NDArray[np.int64], parts: NDArray[Any], number: int) -> NDArray[np.int64]:
    """A part without the images that go elsewhere, and behind them those that come."""
    kept = rows[np.isin(parts[rows], (ANYWHERE, number))]
    return np.concatenate([kept, np.setdiff1d(np.flatnonzero(parts == number), kept)])


def _as_slice(places: NDArray[np.int64]) -> Any:
    """A slice, which copies nothing, in place of successive places."""
    first, last = int(places[0]), int(places[-1])
    is_run = last - first + 1 == len(places) and bool((np.diff(places) == 1).all())
    return slice(first, last + 1) if is_run else places


@dataclass(frozen=True, eq=False)
class Divided:
    """A set divided into its parts, and which of its images are in each.

    Attributes:
        train: to learn from.
        validation: to judge by while learning; None where it was not wanted.
        test: to be measured on once; None where it is kept elsewhere.
        rows: of each part by name, the places of its images in the whole set.
        held_out: the validation images before any went elsewhere, which divides the set likewise again.
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None
    rows: Mapping[str, NDArray[np.int64]]
    held_out: int

    def labelled(self, labels: NDArray[np.int64], classes: tuple[str, ...] | None = None) -> Divided:
        """The same parts with other labels.

        Args:
            labels: (N,) of the whole set, -1 where unknown.
            classes: their names.
        """
        parts: dict[str, ImageSet | None] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        made: dict[str, Any] = {
            name: part if part is None else replace(part, labels=labels[self.rows[name]], classes=classes)
            for name, part in parts.items()
        }
        return replace(self, **made)
