"""Pictures covered by tiles: cut into them, and by way of them through what takes one size alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import Fit
from safelight.data.fitting import behind, scaled

__all__ = ["through", "tiles_of"]


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


def through(
    pixels: NDArray[np.float32], fit: Fit, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """A picture of any size by way of images of one size: made such as the fit says, and the results undone.

    Nothing is lost at the sides: where images were cropped, or cut into tiles, all of the picture is covered.

    Args:
        pixels: (C, H, W), shares of white.
        fit: what the images are made like.
        function: images (N, C, fit.height, fit.width) to others.

    Returns:
        (C, H, W).

    Example:
        >>> wide = np.random.default_rng(0).random((1, 10, 30), np.float32)
        >>> bool((through(wide, Fit(10, 10, 1, how="crop"), lambda images: 1 - images) == 1 - wide).all())
        True
    """
    size = pixels.shape[1:]
    ratios = fit.height / size[0], fit.width / size[1]
    scale = {"pad": min(ratios), "crop": max(ratios), "tile": 1.0}.get(fit.how)
    inner = (fit.height, fit.width) if scale is None else tuple(max(1, round(side * scale)) for side in size)
    small = scaled(pixels, *inner)
    places = tiles_of(small, fit.height, fit.width)
    images = np.empty((len(places), *fit.shape), np.float32)
    images[:] = behind(small, fit, 1)
    parts = [small[:, rows, columns] for rows, columns in places]
    top, left = ((whole - part) // 2 for whole, part in zip(fit.shape[1:], parts[0].shape[1:], strict=True))
    inside = slice(top, top + parts[0].shape[1]), slice(left, left + parts[0].shape[2])
    for image, part in zip(images, parts, strict=True):
        image[:, *inside] = part
    found = np.empty_like(small)
    for (rows, columns), image in zip(places, function(images), strict=True):
        found[:, rows, columns] = image[:, *inside]
    return scaled(found, *size)
