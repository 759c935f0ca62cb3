"""PNG files of 16-bit colour, or of gray with alpha, which Pillow would reduce to 8 bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError

__all__ = ["decode_png16", "encode_png16"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # a pixel, by colour type (PNG specification, table 11.1)


def decode_png16(data: bytes, where: str) -> NDArray[np.uint16]:
    """The samples of a 16-bit PNG file.

    Args:
        data: the file; its declared size was checked before.
        where: its name in messages.

    Returns:
        (H, W, samples): gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        DataError: it is damaged, cut short, interlaced or not of 16 bits.

    Example:
        >>> import numpy as np
        >>> image = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 1000
        >>> bool((decode_png16(encode_png16(image), "here") == image).all())
        True
    """
    header, packed, position = b"", b"", len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        position += 12 + length
    if not data.startswith(SIGNATURE) or len(header) != 13:
        raise DataError(f"expected a PNG file in {where}, got something else; replace or remove it")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if bits != 16 or colour not in SAMPLES or interlaced:
        raise DataError(
            f"expected 16 bits, not interlaced, in {where}, got {bits} bits of colour type {colour}"
            f"{', interlaced' * bool(interlaced)}; save it again without"
        )
    size = 2 * SAMPLES[colour]  # bytes a pixel
    wanted = height * (1 + width * size)
    try:
        raw = zlib.decompressobj().decompress(packed, wanted + 1)
    except zlib.error as error:
        raise DataError(f"expected a whole picture in {where}, got '{error}'; replace or remove it") from None
    if len(raw) != wanted:
        raise DataError(f"expected {wanted} bytes of pixels in {where}, got {len(raw)}; replace or remove it")
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    samples = _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, size))
    return samples.view(">u2").astype(np.uint16)


def encode_png16(samples: NDArray[np.uint16], profile: bytes = b"") -> bytes:
    """A PNG file of 16-bit samples.

    Args:
        samples: (H, W, samples), as `decode_png16` gives them.
        profile: an ICC colour profile, or nothing.
    """
    height, width, count = samples.shape
    colour = next(kind for kind, samples_of in SAMPLES.items() if samples_of == count)
    pixels = np.array(samples, ">u2", order="C").view(np.uint8).reshape(height, -1)
    pixels[1:] -= pixels[:-1].copy()  # filter 2: the difference from the row above, modulo 256
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), pixels], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    if profile:
        chunks.insert(1, (b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _unfilter(filters: NDArray[np.uint8], stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters of PNG (specification, section 9.2).

    A pixel follows from those to its left and above, so all of an anti-diagonal can be found at once.

    Args:
        filters: (H,), 0 to 4.
        stored: (H, W, bytes), each the difference from what its row's filter predicts.
    """
    if filters.max(initial=0) > 4:
        raise DataError(f"expected PNG filters from 0 to 4, got {filters.max()}; replace the picture")
    height, width, size = stored.shape
    known = np.zeros((height + 1, width + 1, size), np.int16)  # with a row and a column of zeros before
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        left, above, corner = known[row + 1, column], known[row, column + 1], known[row, column]
        guess = left + above - corner
        far_left, far_above, far_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
        nearer = np.where(far_above <= far_corner, above, corner)
        paeth = np.where((far_left <= far_above) & (far_left <= far_corner), left, nearer)
        predictions = np.stack([np.zeros_like(left), left, above, (left + above) >> 1, paeth])
        predicted = predictions[filters[row], np.arange(len(row))]
        known[row + 1, column + 1] = (stored[row, column] + predicted) & 255
    return np.ascontiguousarray(known[1:, 1:].astype(np.uint8))
