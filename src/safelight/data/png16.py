"""PNG files: their chunks, and what Pillow would reduce to 8 bits or cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError

__all__ = ["chunks_of", "decode_png16", "encode_png16", "joined", "png_of_rows"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # a pixel, by colour type (PNG specification, table 11.1)
WHOLE = ((0, 0, 1, 1),)
ADAM7 = (  # first column and row of each pass of an interlaced picture, and the steps between its pixels
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file: kind and content."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def joined(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of its chunks."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def decode_png16(data: bytes, where: str) -> NDArray[np.uint16]:
    """The samples of a 16-bit PNG file.

    Args:
        data: the file; its declared size was checked before.
        where: its name in messages.

    Returns:
        (H, W, samples): gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        DataError: it is damaged, cut short, or not of 16 bits.

    Example:
        >>> import numpy as np
        >>> image = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 1000
        >>> bool((decode_png16(encode_png16(image), "here") == image).all())
        True
    """
    header, packed = b"", []
    for kind, content in chunks_of(data):
        if kind == b"IHDR":
            header = content
        elif kind == b"IDAT":
            packed.append(content)
    if not data.startswith(SIGNATURE) or len(header) != 13:
        raise DataError(f"expected a PNG file in {where}, got something else; replace or remove it")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if bits != 16 or colour not in SAMPLES or interlaced > 1:
        raise DataError(
            f"expected 16 bits in {where}, got {bits} bits of colour type {colour}; replace or remove it"
        )
    size = 2 * SAMPLES[colour]  # bytes a pixel
    passes = [
        (
            slice(top, None, down),
            slice(left, None, across),
            -(-(height - top) // down),
            -(-(width - left) // across),
        )
        for left, top, across, down in (ADAM7 if interlaced else WHOLE)
        if height > top and width > left
    ]
    wanted = sum(rows * (1 + columns * size) for *_, rows, columns in passes)
    try:
        raw = zlib.decompressobj().decompress(b"".join(packed), wanted + 1)
    except zlib.error as error:
        raise DataError(f"expected a whole picture in {where}, got '{error}'; replace or remove it") from None
    if len(raw) != wanted:
        raise DataError(f"expected {wanted} bytes of pixels in {where}, got {len(raw)}; replace or remove it")
    samples, start = np.empty((height, width, size // 2), np.uint16), 0
    for at_rows, at_columns, rows, columns in passes:
        end = start + rows * (1 + columns * size)
        part = np.frombuffer(raw, np.uint8, end - start, start).reshape(rows, -1)
        known = _unfilter(part[:, 0], part[:, 1:].reshape(rows, columns, size), where)
        samples[at_rows, at_columns] = known.view(">u2")
        start = end
    return samples


def encode_png16(samples: NDArray[np.uint16]) -> bytes:
    """A PNG file of 16-bit samples.

    Args:
        samples: (H, W, samples), as `decode_png16` gives them.
    """
    height, width, count = samples.shape
    colour = next(kind for kind, samples_of in SAMPLES.items() if samples_of == count)
    pixels = np.array(samples, ">u2", order="C").view(np.uint8).reshape(height, -1)
    pixels[1:] -= pixels[:-1].copy()  # filter 2: the difference from the row above, modulo 256
    return png_of_rows(pixels, 2, (width, height, 16, colour))


def png_of_rows(rows: NDArray[np.uint8], row_filter: int, header: tuple[int, int, int, int]) -> bytes:
    """A PNG file of filtered rows.

    Args:
        rows: (H, bytes a row).
        row_filter: of the specification's, which they went through.
        header: width, height, bits a sample and colour type.
    """
    filtered = np.concatenate([np.full((len(rows), 1), row_filter, np.uint8), rows], axis=1)
    start = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    return joined(((b"IHDR", start), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")))


def _unfilter(filters: NDArray[np.uint8], stored: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Undo the filters of PNG (specification, section 9.2).

    A pixel follows from those to its left and above, so all of an anti-diagonal can be found at once.

    Args:
        filters: (H,), 0 to 4.
        stored: (H, W, bytes), each the difference from what its row's filter predicts.
        where: the file's name in messages.
    """
    if filters.max(initial=0) > 4:
        raise DataError(f"expected PNG filters from 0 to 4 in {where}, got {filters.max()}; replace it")
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
