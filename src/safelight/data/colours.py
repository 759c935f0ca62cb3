"""Colours as files have them, and as they are seen: inks, L*a*b*, palettes, alpha that is multiplied in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError

__all__ = ["divided", "from_cmyk", "from_lab", "in_numbers", "indices_of", "multiplied", "to_cmyk", "to_lab"]

NEAR = 8  # levels that a colour may be away from its palette's


def from_cmyk(inks: NDArray[Any]) -> NDArray[Any]:
    """Printing inks, without a profile, to RGB: whole numbers (..., 4), 0 for no ink, to (..., 3).

    Example:
        >>> from_cmyk(np.array([[0, 255, 255, 0], [0, 0, 0, 51]], np.uint8)).tolist()  # red, light gray
        [[255, 0, 0], [204, 204, 204]]
    """
    white = np.iinfo(inks.dtype).max
    paper = white - inks
    product = paper[..., :3].astype(np.uint32) * paper[..., 3:]
    return np.asarray((product + white // 2) // white, inks.dtype)


def to_cmyk(colours: NDArray[Any]) -> NDArray[Any]:
    """RGB to printing inks without black, of which `from_cmyk` makes the same again."""
    white = np.iinfo(colours.dtype).max
    return np.concatenate([white - colours, np.zeros_like(colours[..., :1])], axis=-1)


def from_lab(samples: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """L*a*b* of 8 bits (H, W, 3), a and b being signed, to sRGB.

    Raises:
        DataError: they are of more bits.
    """
    if samples.dtype.itemsize != 1:
        raise DataError(f"expected L*a*b* of 8 bits in {where}, got {samples.dtype}; save it again as RGB")
    return _transformed(samples.view(np.uint8), "LAB", "RGB")


def to_lab(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """SRGB (H, W, 3) to L*a*b*, as `from_lab` takes it."""
    return _transformed(colours, "RGB", "LAB")


def _transformed(samples: NDArray[np.uint8], mode: str, other: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageCms

    profiles = {"LAB": ImageCms.createProfile("LAB"), "RGB": ImageCms.createProfile("sRGB")}
    change = ImageCms.buildTransform(profiles[mode], profiles[other], mode, other)
    image = Image.frombytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())
    return np.asarray(ImageCms.applyTransform(image, change))


def divided(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Colours (H, W, C) that were multiplied by alpha (H, W) as they were before."""
    shares = _shares(colours, alpha)
    if colours.dtype.kind == "f":
        return np.asarray(np.divide(colours, shares, out=np.zeros_like(colours), where=shares > 0))
    most = np.iinfo(colours.dtype).max
    before = np.divide(colours, shares, out=np.zeros(colours.shape), where=shares > 0)
    return np.asarray(np.rint(before.clip(0, most)), colours.dtype)


def multiplied(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """The way back: of what `divided` gave, the same numbers."""
    product = colours * _shares(colours, alpha)
    return np.asarray(product if colours.dtype.kind == "f" else np.rint(product), colours.dtype)


def _shares(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    most = 1 if colours.dtype.kind == "f" else np.iinfo(colours.dtype).max
    return alpha[..., None].astype(np.float64) / most


def in_numbers(pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Pixels rounded and clipped to what a type of numbers holds; what is no number becomes 0.

    Those that are of the type already are given back themselves.
    """
    if isinstance(pixels, np.ndarray) and pixels.dtype == dtype:
        return pixels
    if dtype.kind == "f":
        return np.asarray(pixels).astype(dtype)
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    whole = np.asarray(pixels)
    if whole.dtype.kind == "f":
        whole = np.rint(np.nan_to_num(whole.astype(np.float64)))
    return whole.clip(least, most).astype(dtype)


def indices_of(samples: NDArray[Any], palette: NDArray[Any], has_alpha: bool) -> NDArray[np.intp] | None:
    """For each pixel the entry of a palette that is nearest, or None if one is far from all.

    Args:
        samples: (H, W, S) of 8 bits, S being 4 at most; the last is alpha where there is any.
        palette: (n, S).
        has_alpha: entries are near only where alpha is the same, and if that is 0, whatever their colour.

    Example:
        >>> black_and_white = np.array([[0], [255]])
        >>> indices_of(np.array([[[3], [250]]]), black_and_white, False).tolist()
        [[0, 1]]
        >>> indices_of(np.array([[[100]]]), black_and_white, False) is None
        True
    """
    from scipy.spatial import cKDTree

    def placed(colours: NDArray[Any]) -> NDArray[np.float64]:
        places = colours.reshape(-1, palette.shape[1]).astype(np.float64)
        if has_alpha:
            places[places[:, -1] == 0] = 0
            places[:, -1] *= 1000
        return places

    whole = np.zeros((*samples.shape[:2], 4), np.uint8)  # a pixel is one number, which sorts fast
    whole[..., : palette.shape[1]] = samples
    packed, inverse = np.unique(whole.view(np.uint32), return_inverse=True)
    colours = packed.view(np.uint8).reshape(-1, 4)[:, : palette.shape[1]]
    distances, nearest = cKDTree(placed(palette)).query(placed(colours), p=np.inf)
    if distances.max(initial=0) > NEAR:
        return None
    return np.asarray(nearest)[inverse.reshape(samples.shape[:2])]
