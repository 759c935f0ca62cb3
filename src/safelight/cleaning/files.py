"""Files of pictures cleaned, each into the kind that it was."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.cleaning.cleaner import Cleaner
from safelight.cleaning.planning import comparison_of
from safelight.data.opening import Picture, open_pages
from safelight.data.pictures import make_folder, png, tile
from safelight.data.readers import read_npy
from safelight.data.writing import encode_pages, encode_picture
from safelight.errors import DataError
from safelight.files import write_file

__all__ = ["Cleaned", "clean_files"]

TOGETHER = 1 << 18  # pixels of small pictures that go through the network at once
SHOWN = 10  # images of an array in its comparison


@dataclass(frozen=True)
class Cleaned:
    """What became of a file.

    Attributes:
        source: the file.
        error: why it was left out, or None.
    """

    source: Path
    error: DataError | None = None


def clean_files(cleaner: Cleaner, files: Iterable[tuple[Path, Path]], compare: bool) -> Iterator[Cleaned]:
    """Clean files one after another; no more than a few are ever in memory.

    Args:
        cleaner: does it.
        files: sources and targets, as `plan` gives them.
        compare: write before, after and their difference beside each.

    Yields:
        What became of each, in order; a file that cannot be cleaned does not end it.

    Raises:
        RunError: a result cannot be written.
    """
    waiting: list[tuple[Path, Path, Picture]] = []
    for source, target in files:
        picture, error = None, None
        try:
            if source.suffix.lower() == ".npy":
                _clean_array(cleaner, source, target, compare)
            else:
                pages = open_pages(source, str(source))
                picture = next(pages)
                _check(cleaner, picture, source)
                if picture.header.pages > 1:
                    _clean_stack(cleaner, [picture, *pages], (source, target), compare)
                    picture = None
        except DataError as caught:
            error = caught
        if waiting and not (picture and _fits(picture, waiting)):
            yield from _clean_pictures(cleaner, waiting, compare)
            waiting = []
        if picture and not error:
            waiting.append((source, target, picture))
        else:
            yield Cleaned(source, error)
    yield from _clean_pictures(cleaner, waiting, compare)


def _fits(picture: Picture, waiting: Sequence[tuple[Path, Path, Picture]]) -> bool:
    first = waiting[0][2].pixels
    return picture.pixels.shape == first.shape and first[0].size * (len(waiting) + 1) <= TOGETHER


def _clean_pictures(
    cleaner: Cleaner, waiting: Sequence[tuple[Path, Path, Picture]], compare: bool
) -> Iterator[Cleaned]:
    if not waiting:
        return
    before = np.stack([_shares(cleaner, picture) for _, _, picture in waiting])
    after = cleaner(before)
    for (source, target, picture), dirty, pixels in zip(waiting, before, after, strict=True):
        _write(target, encode_picture(_levels(cleaner, picture, pixels), picture))
        if compare:
            _write(comparison_of(target), png(tile([dirty, pixels, _difference(dirty, pixels)], columns=3)))
        yield Cleaned(source)


def _check(cleaner: Cleaner, picture: Picture, source: Path) -> None:
    """Refuse what the network does not take, and what is no number."""
    cleaner.check(picture.pixels.shape)
    if not np.isfinite(picture.pixels).all():
        count = int((~np.isfinite(picture.pixels)).sum())
        raise DataError(
            f"expected finite pixels in {source}, got {count:,} NaN or infinite; mend the picture"
        )


def _clean_stack(cleaner: Cleaner, pages: Sequence[Picture], file: tuple[Path, Path], compare: bool) -> None:
    """The pages of a file, one after another; its comparison shows the first."""
    source, target = file
    for page in pages:
        _check(cleaner, page, source)
    cleaned = (_levels(cleaner, page, cleaner(_shares(cleaner, page)[None])[0]) for page in pages)
    if compare:
        dirty = _shares(cleaner, pages[0])
        clean_first = cleaner(dirty[None])[0]
        sheet = tile([dirty, clean_first, _difference(dirty, clean_first)], columns=3)
        _write(comparison_of(target), png(sheet))
    _write(target, encode_pages(cleaned, pages))


def _levels(cleaner: Cleaner, picture: Picture, shares: NDArray[np.float32]) -> NDArray[Any]:
    """Shares of white, (C, H, W), in the picture's own numbers."""
    low, high = cleaner.range_of(picture)
    return low + shares * np.float32(high - low)


def _shares(cleaner: Cleaner, picture: Picture) -> NDArray[np.float32]:
    """Pixels as shares of white, (C, H, W); noise below black and above white stays."""
    low, high = cleaner.range_of(picture)
    return (picture.pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)


def _clean_array(cleaner: Cleaner, source: Path, target: Path, compare: bool) -> None:
    """An .npy file into one of the same shape and type."""
    array = read_npy(source)
    images = cleaner.taken(array)
    pixels, (low, high) = images.pixels, images.value_range
    cleaner.check(pixels.shape[1:])
    cleaned = np.empty_like(pixels)
    for chunk in images.chunks():
        part = (pixels[chunk].astype(np.float32) - low) / (high - low)
        result = cleaner(part)
        if compare and chunk.start == 0:
            rows = [a[:SHOWN] for a in (part, result, _difference(part, result))]
            _write(comparison_of(target), png(tile(np.concatenate(rows), len(rows[0]))))
        levels = low + result * (high - low)
        cleaned[chunk] = levels if pixels.dtype.kind == "f" else np.rint(levels)
    if cleaned.shape != array.shape and array.ndim == 4:
        cleaned = cleaned.transpose(0, 2, 3, 1)
    if array.dtype.kind in "iu":
        cleaned = np.rint(cleaned)
    buffer = io.BytesIO()
    np.save(buffer, cleaned.reshape(array.shape).astype(array.dtype))
    _write(target, buffer.getvalue())


def _difference(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """What was added in white, what was taken away in black, over gray."""
    return np.asarray(0.5 + 0.5 * (after - before))


def _write(target: Path, content: bytes) -> None:
    write_file(make_folder(target.parent) / target.name, content)
