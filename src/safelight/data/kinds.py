"""What a picture file is: its header, its picture, and which way up that is."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from safelight.config.data import MAX_CHANNELS
from safelight.errors import DataError

__all__ = [
    "Header",
    "Picture",
    "affordable",
    "find_orientation",
    "unturned",
    "upright",
]

MAX_VALUES = 400_000_000  # pixels times channels of one picture: 133 megapixels in colour
ORIENTATION = 0x0112  # of EXIF and of TIFF: how the camera was held


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before any of it is decoded.

    Attributes:
        kind: PNG, JPEG, MPO, TIFF, WEBP, BMP or GIF.
        height: rows, once the picture is upright.
        width: columns, once the picture is upright.
        channels: of colour or data, without alpha: 1 to 8.
        alpha: whether it says how transparent each pixel is.
        bits: a sample: 8 (fewer are scaled to 8) or 16 of whole numbers that stay such, 32 or 64 of all
            others.
        pages: pictures that `open_pages` gives: pages of a TIFF stack, 1 of any other file.
        frames: pictures that are in the file; of an animation the first is read.
    """

    kind: str
    height: int
    width: int
    channels: int
    alpha: bool
    bits: int
    pages: int = 1
    frames: int = 1


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, and all that its file must have to be of the same kind.

    Attributes:
        pixels: (C, H, W), upright, in the file's own numbers: uint8, uint16, or float32 for everything else.
            32-bit whole numbers above 2^24 are rounded to what float32 holds.
        white: what the file says white is, or None where it does not.
        alpha: (H, W) in the file's own numbers, the largest being opaque, or None. Colours are as they would
            be without it: those that the file has multiplied by it were divided again.
        header: what the file says of it.
        written: what a writer needs beside: the file itself, or the options of one page of a TIFF.
    """

    pixels: NDArray[Any]
    white: float | None
    alpha: NDArray[Any] | None
    header: Header
    written: Any = None


def affordable(height: int, width: int, channels: int, where: str) -> None:
    """Refuse what a header declares, before anything is decoded.

    Raises:
        DataError: there are no pixels, too many, or too many channels.
    """
    if channels > MAX_CHANNELS:
        raise DataError(
            f"expected at most {MAX_CHANNELS} channels in {where}, got {channels}; save fewer, or as pages"
        )
    if min(height, width, channels) < 1:
        raise DataError(f"expected pixels in {where}, got {width}×{height}; replace or remove it")
    if height * width * channels > MAX_VALUES:
        raise DataError(
            f"expected at most {MAX_VALUES:,} values in a picture, got {width}×{height}×{channels} "
            f"in {where}; scale it down"
        )


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A picture as it was seen, from how it lies in its file.

    Args:
        pixels: (..., H, W).
        orientation: 1 to 8 (TIFF 6.0, page 36; EXIF has the same); anything else leaves it.

    Example:
        >>> import numpy as np
        >>> upright(np.array([[1, 2, 3]]), 6).tolist()  # its first row is the right side
        [[1], [2], [3]]
    """
    if 5 <= orientation <= 8:
        pixels = pixels.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[..., ::-1]
    return pixels


def find_orientation(exif: bytes) -> tuple[int, int, str]:
    r"""How a camera was held, by EXIF data.

    Args:
        exif: with or without the mark `Exif\0\0` before it.

    Returns:
        The orientation, 1 where nothing valid is said; where its two bytes are, or 0; their order, < or >.
    """
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4], "")
    if not order or len(exif) < start + 10:
        return 1, 0, "<"
    first = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
    count = struct.unpack_from(f"{order}H", exif, first)[0] if first + 2 <= len(exif) else 0
    for entry in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, entry)
        if tag == ORIENTATION and kind == 3 and values == 1 and 1 <= value <= 8:
            return value, entry + 8, order
    return 1, 0, "<"


def unturned(metadata: bytes) -> bytes:
    """EXIF or XMP data of a picture that is upright now; all else in them stays.

    Example:
        >>> unturned(b'<rdf:Description tiff:Orientation="6"/>')
        b'<rdf:Description tiff:Orientation="1"/>'
    """
    orientation, place, order = find_orientation(metadata)
    if orientation != 1:
        return metadata[:place] + struct.pack(f"{order}H", 1) + metadata[place + 2 :]
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", metadata)
