"""Strips and tiles of TIFF files, of samples of any bits, packed as LZW, PackBits, deflate or zstd.

tifffile leaves most of this to imagecodecs, of 30 MB, and Pillow takes few kinds of samples. A strip is bytes
whatever its samples are, so where zlib will not do it is put into a file of its own, one row of 8-bit gray,
which the libtiff that Pillow brings reads and writes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["HORIZONTAL", "NONE", "PACKED", "as_stored", "in_strips", "out_of_strips", "pack", "unpack"]

NONE = 1  # of the tag Compression, as the keys of
PACKED = {NONE: "", 5: "tiff_lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 50000: "zstd"}
OFFSETS, COUNTS = 273, 279
HORIZONTAL, FLOATING = 2, 3  # of the tag Predictor


def pack(content: bytes, compression: int) -> bytes:
    """Bytes as a strip.

    Example:
        >>> len(pack(bytes(1000), 5)) < 100, unpack(pack(bytes(1000), 5), 5, 1000) == bytes(1000)
        (True, True)
    """
    if compression == NONE:
        return content
    if PACKED[compression] == "deflate":
        return zlib.compress(content)
    buffer = io.BytesIO()
    Image.frombytes("L", (len(content), 1), content).save(buffer, "TIFF", compression=PACKED[compression])
    packed = buffer.getvalue()
    tags = TiffImageFile(io.BytesIO(packed)).tag_v2
    start, count = tags[OFFSETS][0], tags[COUNTS][0]
    return packed[start : start + count]


def unpack(strip: bytes, compression: int, size: int) -> bytes:
    """The `size` bytes of a strip.

    Raises:
        OSError: it is damaged; or zlib.error.
    """
    if compression == NONE or PACKED[compression] == "deflate":
        content = strip[:size] if compression == NONE else zlib.decompressobj().decompress(strip, size)
        if len(content) < size:
            raise OSError(f"a strip of {len(content)} bytes in place of {size}")
        return content
    entries = ((256, size), (257, 1), (258, 8), (259, compression), (262, 1), (OFFSETS, 122), (277, 1))
    tags = (*entries, (278, 1), (COUNTS, len(strip)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags)
    header = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)  # 122 bytes
    return TiffImageFile(io.BytesIO(header + strip)).tobytes()


def out_of_strips(file: Any, page: Any) -> NDArray[Any]:
    """The samples of a page.

    Args:
        file: tifffile's `TiffFile`.
        page: one of its pages.

    Returns:
        (H, W, samples), differences from neighbours (the tag Predictor) undone.
    """
    height, width = page.imagelength, page.imagewidth
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    planes, samples = (page.samplesperpixel, 1) if separate else (1, page.samplesperpixel)
    size = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    dtype = page.dtype.newbyteorder(file.byteorder)
    whole = np.zeros((planes, height, width, samples), page.dtype)
    places = _places(planes, (height, width), size)
    for (plane, top, left), offset, count in zip(places, page.dataoffsets, page.databytecounts, strict=True):
        rows = size[0] if page.is_tiled else min(size[0], height - top)
        file.filehandle.seek(offset)
        row = -(-size[1] * samples * page.bitspersample // 8)  # bytes
        content = np.frombuffer(unpack(file.filehandle.read(count), page.compression, rows * row), np.uint8)
        shape = (rows, size[1], samples)
        if page.bitspersample < 8 * dtype.itemsize:
            part = _out_of_bits(content.reshape(rows, row), shape, page.bitspersample)
        else:
            part = _summed(content, shape, dtype, page.predictor)
        whole[plane, top : top + rows, left : left + size[1]] = part[: height - top, : width - left]
    return whole.transpose(1, 2, 3, 0).reshape(height, width, -1)


def in_strips(
    samples: NDArray[Any], separate: bool, size: tuple[int, int], tiled: bool
) -> Iterator[NDArray[Any]]:
    """Samples (H, W, S) in the parts of a file: rows of strips, or tiles filled up with zeros."""
    height, width, count = samples.shape
    for plane, top, left in _places(count if separate else 1, (height, width), size):
        part = samples[
            top : top + size[0], left : left + size[1], slice(plane, plane + 1) if separate else slice(None)
        ]
        if tiled and part.shape[:2] != size:
            part = np.pad(part, [(0, size[0] - part.shape[0]), (0, size[1] - part.shape[1]), (0, 0)])
        yield part


def as_stored(part: NDArray[Any], bits: int, predictor: int, order: Literal["<", ">"]) -> bytes:
    """The bytes of a part before they are packed: its samples, or what the tag Predictor makes of them."""
    rows, columns, samples = part.shape
    if bits < 8 * part.dtype.itemsize:
        places = np.arange(bits - 1, -1, -1, dtype=part.dtype)
        digits = (part.reshape(rows, -1, 1) >> places & 1).astype(np.uint8)
        return np.packbits(digits.reshape(rows, -1), axis=1).tobytes()
    if predictor == FLOATING:
        size = part.dtype.itemsize
        bytes_of = np.ascontiguousarray(part.astype(part.dtype.newbyteorder(">"))).view(np.uint8)
        planes = bytes_of.reshape(rows, columns * samples, size).transpose(0, 2, 1).reshape(rows, -1, samples)
        return np.concatenate([planes[:, :1], np.diff(planes, axis=1)], axis=1).tobytes()
    if predictor == HORIZONTAL:
        whole = np.ascontiguousarray(part).view(f"u{part.dtype.itemsize}")
        part = np.concatenate([whole[:, :1], np.diff(whole, axis=1)], axis=1)
    return part.astype(part.dtype.newbyteorder(order)).tobytes()


def _places(planes: int, whole: tuple[int, int], size: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    for plane in range(planes):
        for top in range(0, whole[0], size[0]):
            for left in range(0, whole[1], size[1]):
                yield plane, top, left


def _out_of_bits(content: NDArray[np.uint8], shape: tuple[int, int, int], bits: int) -> NDArray[Any]:
    """Samples of fewer bits than their type has, packed without gaps within a row."""
    rows, columns, samples = shape
    digits = np.unpackbits(content, axis=1, count=columns * samples * bits).reshape(rows, -1, bits)
    values = np.zeros(digits.shape[:2], np.uint16)
    for place in range(bits):
        values = values << 1 | digits[..., place]
    return values.reshape(shape)


def _summed(
    content: NDArray[np.uint8], shape: tuple[int, int, int], dtype: np.dtype[Any], predictor: int
) -> NDArray[Any]:
    """The way back from `as_stored`."""
    rows, columns, samples = shape
    if predictor == FLOATING:  # bytes of equal weight lie beside each other
        planes = np.cumsum(content.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
        parted = planes.reshape(rows, dtype.itemsize, columns * samples).transpose(0, 2, 1)
        return np.ascontiguousarray(parted).view(dtype.newbyteorder(">")).reshape(shape)
    part = content.view(dtype).reshape(shape)
    if predictor != HORIZONTAL:
        return part
    native = dtype.newbyteorder("=")
    whole = np.dtype(f"u{dtype.itemsize}")
    return np.cumsum(part.astype(native).view(whole), axis=1, dtype=whole).view(native)
