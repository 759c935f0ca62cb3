"""Cleaning a picture over its own pixels: a hundred megapixels need little more than themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.cleaning.cleaner import Cleaner
from safelight.data.colours import in_numbers
from safelight.networks.tiling import tiles
from safelight.networks.unet import DenoisingUNet

__all__ = ["clean_in_place"]

LARGE_TILE = 1 << 20  # pixels, with margins; half a gigabyte in the default network


def clean_in_place(cleaner: Cleaner, pixels: NDArray[Any], value_range: tuple[float, float]) -> str | None:
    """Clean a picture of any size, by tiles that alone are ever floats.

    Args:
        cleaner: its network is a `DenoisingUNet`, whose tiles come out as they would have of the whole.
        pixels: (C, H, W), in whatever numbers; they become the clean ones.
        value_range: what stands for black and white in them.

    Returns:
        What there is to doubt of the first tile that is doubtful, or None.
    """
    assert isinstance(cleaner.network, DenoisingUNet)
    low, high = value_range
    down, across = tiles(cleaner.network, pixels.shape[1:], LARGE_TILE)
    above, doubt = pixels[:, :0], None  # rows as they were, of which tiles below still see some
    for rows, following in zip(down, [*down[1:], None], strict=True):
        band = np.concatenate([above, pixels[:, rows.kept.start : rows.seen.stop]], axis=1)
        if following is not None:
            above = band[:, following.seen.start - rows.seen.start : rows.inner.stop]
        for columns in across:
            part = (band[:, :, columns.seen].astype(np.float32) - low) / (high - low)
            inner = (slice(None), rows.inner, columns.inner)
            result = cleaner(part[None])[0][inner]
            doubt = doubt or cleaner.doubt(part[inner][None], result[None])
            pixels[:, rows.kept, columns.kept] = in_numbers(low + result * (high - low), pixels.dtype)
    return doubt
