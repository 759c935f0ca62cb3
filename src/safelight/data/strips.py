"""Strips of TIFF files that are packed as LZW or PackBits, by the libtiff that Pillow brings.

tifffile leaves these to imagecodecs, of 30 MB, and Pillow reads few kinds of samples. A strip is bytes
whatever its samples are, so it is put into a TIFF file of its own, one row of 8-bit gray.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["PACKED", "pack", "rows_from_strips", "unpack"]

PACKED = {5: "tiff_lzw", 32773: "packbits"}  # values of the tag Compression, and Pillow's names
OFFSETS, COUNTS = 273, 279


def pack(content: bytes, compression: int) -> bytes:
    """Bytes as a strip.

    Example:
        >>> len(pack(bytes(1000), 5)) < 100, unpack(pack(bytes(1000), 5), 5, 1000) == bytes(1000)
        (True, True)
    """
    buffer = io.BytesIO()
    row = Image.frombytes("L", (len(content), 1), content)
    row.save(buffer, "TIFF", compression=PACKED[compression])
    packed = buffer.getvalue()
    tags = TiffImageFile(io.BytesIO(packed)).tag_v2
    start, count = tags[OFFSETS][0], tags[COUNTS][0]
    return packed[start : start + count]


def unpack(strip: bytes, compression: int, size: int) -> bytes:
    """The `size` bytes of a strip.

    Raises:
        OSError: it is damaged.
    """
    entries = ((256, size), (257, 1), (258, 8), (259, compression), (262, 1), (OFFSETS, 122), (277, 1))
    tags = (*entries, (278, 1), (COUNTS, len(strip)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags)
    header = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)  # 122 bytes
    return TiffImageFile(io.BytesIO(header + strip)).tobytes()


def rows_from_strips(file: Any, page: Any) -> NDArray[Any]:
    """The samples of a page whose strips or tiles are packed so.

    Args:
        file: tifffile's `TiffFile`.
        page: one of its pages.

    Returns:
        (H, W, samples), differences from neighbours (the tag Predictor) undone.
    """
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    planes, samples = (page.samplesperpixel, 1) if separate else (1, page.samplesperpixel)
    height, width = page.imagelength, page.imagewidth
    rows, columns = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    )
    down, across = -(-height // rows), -(-width // columns)
    dtype = page.dtype.newbyteorder(file.byteorder)
    whole = np.zeros((planes, down * rows, across * columns, samples), page.dtype)
    for number, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        plane, place = divmod(number, down * across)
        top, left = place // across * rows, place % across * columns
        held = rows if page.is_tiled else min(rows, height - top)
        file.filehandle.seek(offset)
        size = held * columns * samples * dtype.itemsize
        content = np.frombuffer(unpack(file.filehandle.read(count), page.compression, size), np.uint8)
        part = _summed(content, (held, columns, samples), dtype, page.predictor)
        whole[plane, top : top + held, left : left + columns] = part
    return whole[:, :height, :width].transpose(1, 2, 3, 0).reshape(height, width, -1)


def _summed(
    content: NDArray[np.uint8], shape: tuple[int, int, int], dtype: np.dtype[Any], predictor: int
) -> NDArray[Any]:
    rows, columns, samples = shape
    if predictor == 3:  # of floats: differences of bytes, those of equal weight beside each other
        bytes_of = content.reshape(rows, -1, samples)
        planes = np.cumsum(bytes_of, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, columns * samples)
        return planes.transpose(0, 2, 1).copy().view(dtype.newbyteorder(">")).reshape(shape)
    part = content.view(dtype).reshape(shape)
    if predictor != 2:
        return part
    whole = np.dtype(f"u{dtype.itemsize}")
    return np.cumsum(part.astype(dtype.newbyteorder("=")).view(whole), axis=1, dtype=whole).view(
        dtype.newbyteorder("=")
    )
