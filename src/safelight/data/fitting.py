"""Pictures of all kinds made alike: a pure function from a picture to pixels, and what suits a set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.config.data import Fit, FitOptions, How
from safelight.errors import DataError

__all__ = [
    "LUMA",
    "Look",
    "Untold",
    "choose_fit",
    "count_outside",
    "fit_pixels",
    "images_of",
    "natural_range",
    "tiles_of",
]

Range = tuple[float, float]

BITS = (10, 12, 14, 16)  # of cameras, in files of 16
SHARE_ALIKE = 0.9  # of the pictures, that makes a size the set's own
SHARE_COLOURED = 0.1  # of the pictures, that makes a set coloured
LARGEST_OWN, LARGEST_CHOSEN, STEP = 128, 64, 8  # sides that are chosen without being asked for
TINT, TINTED = (
    10 / 255,
    1e-3,
)  # a difference between colours, and the share of pixels, that make a picture coloured
FULL = 65535  # of 16 bits
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Look:
    """What one picture of a set looks like, to choose by.

    Attributes:
        height: rows.
        width: columns.
        channels: without alpha.
        white: the value that its file calls white, or None; full 16 bits tell nothing, as cameras of 12
            write them too.
        is_coloured: whether it has any colour.
        is_float: whether its values are floating-point numbers.
        values: a sample of its pixels' values, in the file's own numbers.
    """

    height: int
    width: int
    channels: int
    white: float | None
    is_coloured: bool
    is_float: bool
    values: NDArray[Any]

    @property
    def kind(self) -> str:
        """What its numbers are: told, where the file says what white is, or else whole or real."""
        return "told" if self.white is not None else "real" if self.is_float else "whole"

    @staticmethod
    def of(pixels: NDArray[Any], white: float | None, most: int = 4096) -> Look:
        """Look at pixels, (C, H, W).

        Example:
            >>> gray = np.full((3, 8, 8), 7, np.uint8)
            >>> colours = gray * np.array([1, 2, 9], np.uint8)[:, None, None]
            >>> Look.of(gray, 255).is_coloured, Look.of(colours, 255).is_coloured
            (False, True)
        """
        channels, height, width = pixels.shape
        white = None if white == FULL else white
        flat = pixels.reshape(-1)
        values = flat[:: max(1, len(flat) // most)]
        is_coloured = False
        if channels == 3:
            spread = np.ptp(pixels.astype(np.float32), axis=0)
            scale = white or float(np.nanmax(np.abs(values), initial=1e-9))
            is_coloured = float((spread > TINT * scale).mean()) > TINTED
        return Look(height, width, channels, white, is_coloured, pixels.dtype.kind == "f", values)


@dataclass(frozen=True)
class Untold:
    """What stands for black and white in pictures that do not say.

    Attributes:
        whole: of whole numbers; None where there are none.
        real: of floating-point numbers; likewise.
    """

    whole: Range | None = None
    real: Range | None = None

    def range_of(self, pixels: NDArray[Any], white: float | None) -> Range:
        """What stands for black and white in a picture.

        Args:
            pixels: of the picture.
            white: the value that its file calls white, or None.
        """
        if white is not None and white != FULL:
            return 0.0, float(white)
        found = self.real if pixels.dtype.kind == "f" else self.whole
        return found or natural_range(pixels.reshape(-1).astype(np.float64), pixels.dtype.kind == "f")[0]

    @staticmethod
    def of(looks: Sequence[Look], known: Untold) -> tuple[Untold, list[str]]:
        """What is known, and the rest by what there is; in words what was found out."""
        found, notes = {"whole": known.whole, "real": known.real}, []
        for kind in found:
            values = [look.values.reshape(-1).astype(np.float64) for look in looks if look.kind == kind]
            if found[kind] is None and values:
                found[kind], note = natural_range(np.concatenate(values), kind == "real")
                notes += [note] if note else []
        return Untold(**found), notes


def choose_fit(
    looks: Sequence[Look], sizes: Sequence[tuple[int, int]], options: FitOptions
) -> tuple[Fit, Untold, list[str]]:
    """What the images of a set should be.

    Args:
        looks: of some of the pictures.
        sizes: (height, width) of some, or all.
        options: what was asked for.

    Returns:
        The fit, what stands for black and white where a file does not say, and in words what was found out.

    Raises:
        DataError: no one fit suits them.

    Example:
        >>> looks = [Look.of(np.full((1, 40, 30), 4000, np.uint16), None)] * 3
        >>> fit, untold, notes = choose_fit(looks, [(40, 30)] * 3, FitOptions())
        >>> fit.shape, fit.range, notes
        ((1, 40, 30), (0.0, 4095.0), ['12 bits: white is 4095'])
    """
    height, width = options.height_and_width or _own_size(sizes, options.how)
    channels = options.image_channels
    if channels is None:
        counts = Counter(look.channels for look in looks)
        most = counts.most_common(1)[0][0]
        if set(counts) <= {1, 3}:
            coloured = sum(look.is_coloured for look in looks)
            channels = 3 if coloured >= SHARE_COLOURED * len(looks) else 1
        else:
            channels = most
    found, untold, notes = _ranges(looks, options.low_and_high)
    return Fit(height, width, channels, found, options.how, options.background), untold, notes


def _own_size(sizes: Sequence[tuple[int, int]], how: How) -> tuple[int, int]:
    (size, count) = Counter(sizes).most_common(1)[0]
    largest = LARGEST_CHOSEN if how == "tile" else LARGEST_OWN
    if count >= SHARE_ALIKE * len(sizes) and min(size) >= 8 and max(size) <= largest:
        return size
    median = float(np.median([side for pair in sizes for side in pair]))
    side = min(LARGEST_CHOSEN, max(STEP, STEP * round(median / STEP)))
    return side, side


def _ranges(looks: Sequence[Look], asked: Range | None) -> tuple[Range, Untold, list[str]]:
    """Black and white of a set, which are those of the most pictures; and of numbers that do not say."""
    kinds = Counter(look.kind for look in looks)
    untold, notes = Untold.of(looks, Untold(asked, asked))
    most = kinds.most_common(1)[0][0]
    if most == "told":
        white = Counter(look.white for look in looks if look.kind == "told").most_common(1)[0][0]
        found: Range = (0.0, float(white or 1))
        notes += [f"white is {white:g}, as the files say"] if white not in (1, 255) else []
    else:
        found = getattr(untold, most) or (0.0, 1.0)
    return found, untold, notes


def natural_range(values: NDArray[Any], is_float: bool) -> tuple[Range, str]:
    """The values of black and white by what there is, and that in words.

    Whole numbers: the least of 10, 12, 14 and 16 bits that holds the brightest, if that reaches half of it.
    Floating-point numbers: 0 and 1 if all but the outermost hundredth keep to them. Else the 0.01 and the
    99.99 percentiles.

    Args:
        values: a sample of pixels.
        is_float: what kind of numbers.

    Raises:
        DataError: none of them is a finite number.

    Example:
        >>> natural_range(np.arange(3900), False), natural_range(np.linspace(0, 1, 9), True)
        (((0.0, 4095.0), '12 bits: white is 4095'), ((0.0, 1.0), ''))
        >>> natural_range(np.linspace(-3, 5, 90001), True)
        ((-2.9992, 4.9992), 'black is -2.9992 and white 4.9992, the 0.01 and 99.99 percentiles')
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise DataError("expected finite pixels, got none but NaN and infinity; check the pictures")
    least, most = float(finite.min()), float(finite.max())
    if not is_float and least >= 0:
        for bits in BITS:
            if 2 ** (bits - 1) <= most < 2**bits:
                return (0.0, 2.0**bits - 1), f"{bits} bits: white is {2**bits - 1}"
        if most <= 1:
            return (0.0, 1.0), ""
        if 128 <= most <= 255:
            return (0.0, 255.0), ""
    if is_float:
        inner = np.percentile(finite, [1, 99])
        if inner[0] >= 0 and 0.05 < inner[1] <= 1:
            return (0.0, 1.0), ""
        if least >= 0 and 128 <= most <= 255:
            return (0.0, 255.0), ""
    low, high = (float(f"{value:.5g}") for value in np.percentile(finite, [0.01, 99.99]))
    if not low < high:
        low, high = (least, most) if least < most else (least - 1, least + 1)
    words = f"black is {low:.5g} and white {high:.5g}, the 0.01 and 99.99 percentiles"
    return (low, high), words


def count_outside(pixels: NDArray[Any], own: Range) -> int:
    """How many values lie below black or above white, where NaN is neither."""
    if pixels.dtype == np.uint8 and own == (0, 255):
        return 0
    return int(np.count_nonzero((pixels < own[0]) | (pixels > own[1])))


def images_of(
    pixels: NDArray[Any], fit: Fit, own: Range, alpha: NDArray[np.float32] | None = None
) -> list[NDArray[Any]]:
    """What a set has of one picture: an image, or one for each tile that it is cut into.

    Arguments and errors are those of `fit_pixels`.

    Example:
        >>> wide = np.arange(128, dtype=np.uint8).reshape(1, 8, 16)
        >>> [tile[0, 0, 0].item() for tile in images_of(wide, Fit(8, 8, 1, how="tile"), (0, 255))]
        [0, 8]
    """
    if fit.how != "tile":
        return [fit_pixels(pixels, fit, own, alpha)]
    tiles = tiles_of(pixels, fit.height, fit.width)
    return [fit_pixels(pixels[:, r, c], fit, own, None if alpha is None else alpha[r, c]) for r, c in tiles]


def fit_pixels(
    pixels: NDArray[Any], fit: Fit, own: Range, alpha: NDArray[np.float32] | None = None
) -> NDArray[Any]:
    """One picture as an image of a set.

    Args:
        pixels: (C, H, W) in the picture's own numbers.
        fit: what images are made like. Tiles are cut before: here they are padded.
        own: what stands for black and white in the picture; values outside are clipped.
        alpha: (H, W), how opaque it is, from 0 to 1; None is all of it.

    Returns:
        (fit.channels, fit.height, fit.width) of the type `fit.dtype`. What fits already comes back as it is.

    Raises:
        DataError: it has channels that those of the set cannot be made of, or NaN or infinity in it.

    Example:
        >>> wide = np.full((1, 8, 16), 255, np.uint8)
        >>> image = fit_pixels(wide, Fit(8, 8, 1, background="black"), (0, 255))
        >>> image[0, :, 4].tolist()  # half as large, between black above and below
        [0, 0, 255, 255, 255, 255, 0, 0]
    """
    is_byte = pixels.dtype == np.uint8 and own == (0, 255) and fit.dtype == "uint8"
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int(np.count_nonzero(~np.isfinite(pixels)))
        raise DataError(f"expected finite pixels, got {count} that are NaN or infinite; mend them")
    if pixels.shape[0] != fit.channels and {pixels.shape[0], fit.channels} != {1, 3}:
        raise DataError(
            f"expected {fit.channels} channels, as the others have, got {pixels.shape[0]}; convert it"
        )
    if pixels.shape == fit.shape and alpha is None:
        if is_byte:
            return pixels
        if own == fit.range:
            return pixels.clip(*own).astype(fit.dtype)
    x = pixels if is_byte else ((pixels.astype(np.float32) - own[0]) / (own[1] - own[0])).clip(0, 1)
    white = 255 if is_byte else 1
    x = _recoloured(x, fit.channels)
    if alpha is not None and alpha.min() < 1:
        x = x * alpha + _colour(fit.background, fit.channels) * white * (1 - alpha)
        x = np.rint(x).astype(np.uint8) if is_byte else x.astype(np.float32)
    if x.shape != fit.shape:
        x = _resized(x, fit, white)
    if is_byte:
        return np.ascontiguousarray(x)
    low, high = fit.range
    values = low + x.clip(0, 1) * (high - low)
    return np.ascontiguousarray((values if fit.dtype == "float32" else np.rint(values)).astype(fit.dtype))


def _recoloured(x: NDArray[Any], channels: int) -> NDArray[Any]:
    if len(x) == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=0)
    gray = np.tensordot(LUMA, x.astype(np.float32), 1)[None]
    return np.rint(gray).astype(np.uint8) if x.dtype == np.uint8 else gray


def _colour(name: str, channels: int) -> NDArray[np.float32]:
    """(channels, 1, 1) from 0 to 1; of border, white."""
    if name.startswith("#"):
        rgb = np.array([int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)
    else:
        rgb = np.full(3, name != "black", np.float32)
    colour = rgb if channels == 3 else np.repeat(LUMA @ rgb, channels)
    return colour.reshape(channels, 1, 1).astype(np.float32)


def _border(x: NDArray[Any]) -> NDArray[np.float32]:
    """The median colour of a picture's outermost pixels, (C, 1, 1)."""
    edge = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
    return np.asarray(np.median(edge, axis=1), np.float32)[:, None, None]


def _resized(x: NDArray[Any], fit: Fit, white: int) -> NDArray[Any]:
    """Scaled, and cropped or padded, to a fit's height and width."""
    height, width = x.shape[1:]
    if fit.how == "stretch":
        return _scaled(x, fit.height, fit.width)
    ratios = fit.height / height, fit.width / width
    if fit.how == "crop":
        scale = max(ratios)
        box_height, box_width = fit.height / scale, fit.width / scale
        left, top = (width - box_width) / 2, (height - box_height) / 2
        return _scaled(x, fit.height, fit.width, (left, top, left + box_width, top + box_height))
    scale = 1.0 if fit.how == "tile" else min(ratios)
    inner = min(fit.height, max(1, round(height * scale))), min(fit.width, max(1, round(width * scale)))
    small = _scaled(x, *inner)
    behind = _border(x) if fit.background == "border" else _colour(fit.background, fit.channels) * white
    full = np.empty(fit.shape, x.dtype)
    full[:] = np.rint(behind) if x.dtype == np.uint8 else behind
    top, left = (fit.height - inner[0]) // 2, (fit.width - inner[1]) // 2
    full[:, top : top + inner[0], left : left + inner[1]] = small
    return full


def _scaled(
    x: NDArray[Any], height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> NDArray[Any]:
    """Another size, by Pillow's bicubic filter, which averages where it makes smaller."""
    if x.shape[1:] == (height, width) and (box is None or box == (0, 0, width, height)):
        return x
    size = width, height
    if x.dtype == np.uint8 and len(x) == 3:
        picture = Image.fromarray(np.ascontiguousarray(x.transpose(1, 2, 0)))
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box)).transpose(2, 0, 1)
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC, box)
        for plane in x
    ]
    return np.stack([np.asarray(plane) for plane in planes])


def tiles_of(pixels: NDArray[Any], height: int, width: int) -> list[tuple[slice, slice]]:
    """Where a picture, (C, H, W), is cut into tiles that cover it; the last ones overlap those before.

    Example:
        >>> [(rows.start, columns.start) for rows, columns in tiles_of(np.zeros((1, 10, 8)), 8, 8)]
        [(0, 0), (2, 0)]
    """

    def starts(whole: int, part: int) -> list[int]:
        count = max(1, math.ceil(whole / part))
        return [round(i * max(0, whole - part) / max(1, count - 1)) for i in range(count)]

    return [
        (slice(top, top + height), slice(left, left + width))
        for top in starts(pixels.shape[1], height)
        for left in starts(pixels.shape[2], width)
    ]
