"""Readers of image files: IDX, npy, npz, PNG and JPEG. They trust no header and unpickle nothing."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError
from safelight.files import legible

__all__ = ["Accept", "as_pixels", "read_idx", "read_npy", "read_npz", "read_pictures"]

if TYPE_CHECKING:
    from safelight.data.kinds import Header

Shape = tuple[int, int, int]  # (C, H, W)
Accept = Callable[[Shape], object]  # raises what is wrong with images of that shape

MAX_BYTES = 16 << 30  # of one array in memory; a header that declares more is not followed
DEFLATE = 1032  # gzip and zip pack at most this many bytes into one
WHITES = (1.0, 16.0, 255.0, 1023.0, 4095.0, 65535.0)
WHOLE_BYTES = "array.astype('uint8')"
PICTURES = (".png", ".jpg", ".jpeg")
DAMAGE = (
    EOFError, KeyError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError,
    gzip.BadGzipFile, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def as_pixels(array: NDArray[Any], where: str) -> tuple[NDArray[Any], tuple[float, float]]:
    """An array in the form that `ImageSet` takes: its pixels, (N, C, H, W), and its value range.

    Args:
        array: (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1 or 3; uint8, uint16, bool, or float32 or
            float64 in [0, 1]. It is not copied unless its form must change.
        where: what to call it in messages.

    Raises:
        DataError: it has another shape, type or range, or NaN in it.

    Example:
        >>> import numpy as np
        >>> from safelight.data.readers import as_pixels
        >>> pixels, value_range = as_pixels(np.ones((5, 28, 28, 3)), "the array")
        >>> pixels.shape, pixels.dtype.name, value_range
        ((5, 3, 28, 28), 'float32', (0, 1))
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError(f"expected every pixel of {where}, got a mask; fill it, as with array.filled(0)")
    given = np.asarray(array)
    array = given[:, None] if given.ndim == 3 else given
    if array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)  # (N, C, H, W)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise DataError(
            "expected images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels in "
            f"{where}, got {given.shape}; reshape the array"
        )
    value_range: tuple[float, float]
    if array.dtype == np.bool_:
        value_range, array = (0, 1), np.minimum(array.view(np.uint8), 1)
    elif array.dtype.kind == "u" and array.dtype.itemsize in (1, 2):
        value_range = (0, 2 ** (8 * array.dtype.itemsize) - 1)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    elif array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        with np.errstate(invalid="ignore"):
            least, most = float(array.min()), float(array.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise DataError(f"expected finite pixels in {where}, got NaN or infinity; clean the array first")
        if least < 0 or most > 1:
            raise DataError(
                f"expected floats from 0 to 1 in {where}, got {least:g} to {most:g}; "
                f"rescale them, as with {_rescaled(least, most)}"
            )
        value_range, array = (0, 1), array.astype(np.float32, copy=False)
    else:
        advice = "convert them to floats from 0 to 1"
        if array.dtype.kind == "f":
            advice = "convert them, as with array.astype('float32')"
        elif array.dtype.kind in "iu":
            least, most = float(array.min()), float(array.max())
            fits = least >= 0 and most <= 255
            advice = f"convert them, as with {WHOLE_BYTES if fits else _rescaled(least, most)}"
        raise DataError(
            f"expected uint8, uint16, bool, float32 or float64 pixels in {where}, got {array.dtype}; {advice}"
        )
    return np.ascontiguousarray(array), value_range


def _rescaled(least: float, most: float) -> str:
    """An expression that gives floats from 0 to 1, by what usually stands for black and white."""
    if least < 0:
        low, high = (-1.0, 1.0) if least >= -1 and most <= 1 else (least, most)
        return f"(array - {low!r}) / {high - low!r}".replace("- -", "+ ")
    return f"array / {next((white for white in WHITES if most <= white), most)!r}"


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, plain or .gz.

    Two zero bytes, the type (8), the number of dimensions, the sizes as four big-endian bytes each, the
    data (Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits").

    Raises:
        DataError: it is something else, or cut short.
    """
    size, packed = path.stat().st_size, path.suffix == ".gz"
    with _naming(path), gzip.open(path) if packed else path.open("rb") as stream:
        header = stream.read(4 + 4 * dimensions)
        magic, wanted = header[:4], bytes([0, 0, 8, dimensions])
        if magic != wanted:
            raise DataError(
                f"expected {path} to start with the bytes {wanted.hex(' ')} (IDX of {dimensions} "
                f"dimension{'s' * (dimensions > 1)}), got {magic.hex(' ') or 'nothing'}; it is "
                "mislabelled or damaged: get it again"
            )
        if len(header) < 4 + 4 * dimensions:
            raise DataError(
                f"expected an IDX header of {4 + 4 * dimensions} bytes in {path}, got {len(header)}; "
                "the file is truncated: get it again"
            )
        shape = struct.unpack(f">{dimensions}I", header[4:])
        return _declared(stream, shape, np.dtype(np.uint8), size * DEFLATE if packed else size, str(path))


def read_npy(path: Path) -> NDArray[Any]:
    """An array in NumPy's format.

    Raises:
        DataError: it is something else, cut short, or holds Python objects.
    """
    with _naming(path), path.open("rb") as stream:
        return _npy(stream, path.stat().st_size, str(path))


def read_npz(path: Path, member: str | None = None) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """An array of a zip file of arrays, and its labels.

    Args:
        path: the file.
        member: which array; without it the one named `images`, with the `labels` beside it, or the only one.

    Raises:
        DataError: it is something else, damaged, or does not say which array is meant.
    """
    with _naming(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        chosen = member or ("images" if "images" in names else names[0] if len(names) == 1 else None)
        if chosen not in names:
            wanted = f"an array named {chosen!r}" if chosen else "one array, or one named 'images',"
            raise DataError(
                f"expected {wanted} in {path}, got {', '.join(names[:10]) or 'none'}; "
                f"say which, as in {path.name}:{names[0] if names else 'images'}"
            )

        def read(name: str) -> NDArray[Any]:
            info = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
            with archive.open(info) as stream:
                return _npy(stream, min(info.file_size, path.stat().st_size * DEFLATE), f"{path}:{name}")

        images = read(chosen)
        if member is not None or chosen != "images" or "labels" not in names:
            return images, None
        labels = read("labels")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(
                f"expected one whole number for each of {len(images)} images in {path}:labels, "
                f"got {labels.dtype} of shape {labels.shape}; correct them, or give {path.name}:images"
            )
        return images, labels.astype(np.int64)


def read_pictures(source: Path, accept: Accept | None = None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """A PNG or JPEG file, or those of a flat folder: (N, C, H, W), and their names in order.

    Args:
        source: the file or folder.
        accept: given the shape that the headers of all of them declare, before any is decoded.

    Raises:
        DataError: there are none, one cannot be read, or they differ in size or kind.
    """
    from safelight.data.opening import declared, open_picture

    folder = source if source.is_dir() else source.parent
    listed = folder.iterdir() if source.is_dir() else [source]
    named = (path for path in listed if path.suffix.lower() in PICTURES and path.name[0] != ".")
    paths = sorted(path for path in named if path.is_file())
    if not paths:
        raise DataError(
            f"expected PNG, JPEG or IDX files in {folder}, got none; give the folder that holds them directly"
        )
    headers = [declared(path, str(path)) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        _refuse_others(path, header)
    shapes = [(header.channels, header.height, header.width) for header in headers]
    first = shapes[0]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != first:
            raise DataError(
                "expected all pictures of one size and kind, got "
                f"{_named_shape(paths[0], first)} and {_named_shape(path, shape)} in {folder}; "
                "crop, scale or convert them first"
            )
    if accept is not None:
        accept(first)
    pixels = np.empty((_affordable(len(paths), first, folder), *first), np.uint8)
    for index, (path, header) in enumerate(zip(paths, headers, strict=True)):
        picture = open_picture(path, str(path))
        if picture.header != header:
            raise DataError(
                f"expected {path} to stay as it is while it is read; leave it alone, and try again"
            )
        pixels[index] = picture.pixels
    return pixels, tuple(legible(path.name) for path in paths)


def _refuse_others(path: Path, header: Header) -> None:
    if header.alpha or header.bits != 8 or header.channels not in (1, 3):
        kind = {1: "gray", 3: "RGB"}.get(header.channels, f"{header.channels} channels")
        raise DataError(
            f"expected a picture in 8-bit gray or RGB, got {path} in {header.bits}-bit {kind}"
            f"{' with alpha' * header.alpha}; convert it"
        )


def _named_shape(path: Path, shape: Shape) -> str:
    channels, height, width = shape
    return f"{path.name} ({width}×{height}, {'RGB' if channels == 3 else 'gray'})"


def _affordable(count: int, shape: Shape, folder: Path) -> int:
    total = count * shape[0] * shape[1] * shape[2]
    if total > MAX_BYTES:
        raise DataError(f"expected at most {MAX_BYTES} bytes of pixels in {folder}, got {total}; scale down")
    return count


def _npy(stream: Any, size: int, where: str) -> NDArray[Any]:
    """An array in NumPy's format, from a stream of at most `size` bytes."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # 2.0 and 3.0 are for records with many fields
        raise DataError(f"expected version 1.0 of the npy format in {where}, got {version}; save it again")
    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "biuf":
        raise DataError(f"expected an array of numbers in {where}, got the type {dtype}; convert it")
    if columns_first:
        return _declared(stream, shape[::-1], dtype, size, where).T
    return _declared(stream, shape, dtype, size, where)


def _declared(
    stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], room: int, where: str
) -> NDArray[Any]:
    """The array that a header declared, from the rest of a stream that holds at most `room` bytes."""
    wanted = dtype.itemsize
    for length in shape:  # whole numbers of Python, which do not overflow
        wanted *= length
    declared = f"expected {wanted} bytes in {where}, as its header declares for {'×'.join(map(str, shape))}"
    if wanted > room:
        raise DataError(f"{declared}, got at most {room}; the file is truncated or mislabelled: get it again")
    if wanted > MAX_BYTES:
        raise DataError(f"{declared}, got a limit of {MAX_BYTES}; use fewer images")
    content = np.empty(wanted, np.uint8)  # its memory is not taken until it is filled
    view, filled = content.data, 0
    while filled < wanted and (count := stream.readinto(view[filled : filled + (1 << 24)])):
        filled += count
    if filled < wanted:
        raise DataError(f"{declared}, got {filled}; the file is truncated: get it again")
    if stream.read(1):
        raise DataError(f"{declared}, got more; the file is mislabelled or damaged: get it again")
    return content.view(dtype).reshape(shape)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its decoder raise into one line with its name."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(f"expected a whole file in {path}, got '{_line(error)}'; get it again") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
