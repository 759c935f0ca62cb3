"""Readers of arrays: IDX, npy and npz files. They trust no header, unpickle nothing, and map plain files."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError
from safelight.files import in_a_line

__all__ = ["parts_of_npz", "read_idx", "read_npy", "read_npz"]

MAX_BYTES = 16 << 30  # of one array in memory; a header that declares more is not followed
DEFLATE = 1032  # gzip and zip pack at most this many bytes into one
NUMBERS = "biuf"  # NumPy's kinds of them
DAMAGE = (
    EOFError, KeyError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError,
    gzip.BadGzipFile, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


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
        kind, room = np.dtype(np.uint8), size * DEFLATE if packed else size
        return _declared(stream, shape, kind, room, str(path), None if packed else path)


def read_npy(path: Path) -> NDArray[Any]:
    """An array in NumPy's format.

    Raises:
        DataError: it is something else, cut short, or holds Python objects.
    """
    with _naming(path), path.open("rb") as stream:
        return _npy(stream, path.stat().st_size, str(path), path)


def read_npz(path: Path, member: str | None = None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """An array of a zip file of arrays, and its labels.

    Args:
        path: the file.
        member: which array; without it the one named `images`, with the `labels` beside it, or the only one.

    Raises:
        DataError: it is something else, damaged, or does not say which array is meant.
    """
    with _naming(path), zipfile.ZipFile(path) as archive:
        names = _members(archive)
        chosen = member or ("images" if "images" in names else names[0] if len(names) == 1 else None)
        if chosen not in names:
            wanted = f"an array named {chosen!r}" if chosen else "one array, or one named 'images',"
            raise DataError(
                f"expected {wanted} in {path}, got {', '.join(names[:10]) or 'none'}; "
                f"say which, as in {path.name}:{names[0] if names else 'images'}"
            )
        images = _member(archive, path, chosen)
        if member is not None or chosen != "images" or "labels" not in names:
            return images, None
        return images, _labels(archive, path, "labels", len(images))


def parts_of_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.uint8]] | None:
    """The images of a file that its owner has divided, as MedMNIST's are, or None if it is no such file.

    Returns:
        All images, their labels where all parts have some, and each one's part: 0 for training, 1 for
        validation, 2 for test.

    Raises:
        DataError: it is damaged, or its parts do not fit each other.
    """
    with _naming(path), zipfile.ZipFile(path) as archive:
        names = _members(archive)
        parts = [part for part in ("train", "val", "test") if f"{part}_images" in names]
        if "train" not in parts:
            return None
        images = [_member(archive, path, f"{part}_images") for part in parts]
        if len({(array.shape[1:], array.dtype) for array in images}) > 1:
            raise DataError(f"expected parts of one size and type in {path}, got several; make them alike")
        number = {"train": 0, "val": 1, "test": 2}
        which = np.repeat([number[part] for part in parts], [len(array) for array in images]).astype(np.uint8)
        labels = None
        if all(f"{part}_labels" in names for part in parts):
            given = [
                _labels(archive, path, f"{part}_labels", len(array))
                for part, array in zip(parts, images, strict=True)
            ]
            labels = np.concatenate(given)
        return np.concatenate(images), labels, which


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _member(archive: zipfile.ZipFile, path: Path, name: str, kinds: str = NUMBERS) -> NDArray[Any]:
    info = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    with archive.open(info) as stream:
        return _npy(stream, min(info.file_size, path.stat().st_size * DEFLATE), f"{path}:{name}", kinds=kinds)


def _labels(archive: zipfile.ZipFile, path: Path, name: str, count: int) -> NDArray[Any]:
    """Numbers or names of classes, (N,) or (N, 1)."""
    labels = _member(archive, path, name, NUMBERS + "U")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "iuU":
        raise DataError(
            f"expected one whole number or name for each of {count} images in {path}:{name}, "
            f"got {labels.dtype} of shape {labels.shape}; correct them, or give the images alone, as in "
            f"{path.name}:images"
        )
    return labels


def _npy(stream: Any, size: int, where: str, path: Path | None = None, kinds: str = NUMBERS) -> NDArray[Any]:
    """An array in NumPy's format, from a stream of at most `size` bytes; mapped, if it is that of a file."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for records with names of fields that are no ASCII
        raise DataError(f"expected version 1.0 of the npy format in {where}, got {version}; save it again")
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else (np.lib.format.read_array_header_2_0)
    )
    shape, columns_first, dtype = read_header(stream)
    if dtype.kind not in kinds:
        raise DataError(f"expected an array of numbers in {where}, got the type {dtype}; convert it")
    if columns_first:
        return _declared(stream, shape[::-1], dtype, size, where, path).T
    return _declared(stream, shape, dtype, size, where, path)


def _declared(
    stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], room: int, where: str, path: Path | None = None
) -> NDArray[Any]:
    """The array that a header declared, from the rest of a stream that holds at most `room` bytes."""
    wanted = dtype.itemsize
    for length in shape:  # whole numbers of Python, which do not overflow
        wanted *= length
    declared = f"expected {wanted} bytes in {where}, as its header declares for {'×'.join(map(str, shape))}"
    if wanted > room:
        raise DataError(f"{declared}, got at most {room}; the file is truncated or mislabelled: get it again")
    if path is not None and wanted:
        if (got := path.stat().st_size - stream.tell()) != wanted:
            few = "truncated" if got < wanted else "mislabelled or damaged"
            raise DataError(
                f"{declared}, got {got if got < wanted else 'more'}; the file is {few}: get it again"
            )
        return np.memmap(path, dtype, "r", stream.tell(), shape)
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
        raise DataError(f"expected a whole file in {path}, got '{in_a_line(error)}'; get it again") from error
