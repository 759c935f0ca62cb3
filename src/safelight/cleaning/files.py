"""Files of pictures cleaned, each into the kind that it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.cleaning.cleaner import Cleaner
from safelight.cleaning.in_place import clean_in_place
from safelight.cleaning.written import compare_in, write, writing
from safelight.data.opening import Picture, open_pages
from safelight.data.readers import read_npy
from safelight.data.writing import encode_pages, encode_picture
from safelight.errors import DataError
from safelight.networks.tiling import MAX_PIXELS

__all__ = ["Cleaned", "clean_files"]

TOGETHER = 1 << 18  # pixels of small pictures that go through the network at once
SHOWN = 10  # images of an array in its comparison
MIDDLE = 512  # pixels to a side of a large picture in its own


@dataclass(frozen=True)
class Cleaned:
    """What became of a file.

    Attributes:
        source: the file.
        error: why it was left out, or None.
        doubt: how its result differs from it by more than noise, in words that follow "the result", or None.
    """

    source: Path
    error: DataError | None = None
    doubt: str | None = None


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
        picture, error, doubt = None, None, None
        try:
            if source.suffix.lower() == ".npy":
                doubt = _clean_array(cleaner, source, target, compare)
            else:
                pages = open_pages(source, str(source))
                picture = next(pages)
                _check(cleaner, picture, source)
                if picture.header.pages > 1:
                    doubt = _clean_stack(cleaner, [picture, *pages], (source, target), compare)
                    picture = None
                elif cleaner.takes_any_size and picture.pixels[0].size > MAX_PIXELS:
                    doubt = _clean_large(cleaner, picture, target, compare)
                    picture = None
        except DataError as caught:
            error = caught
        if waiting and not (picture and _fits(picture, waiting)):
            yield from _clean_pictures(cleaner, waiting, compare)
            waiting = []
        if picture and not error:
            waiting.append((source, target, picture))
        else:
            yield Cleaned(source, error, doubt)
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
        write(target, encode_picture(_levels(cleaner, picture, pixels), picture))
        if compare:
            compare_in(target, dirty[None], pixels[None])
        yield Cleaned(source, doubt=cleaner.doubt(dirty[None], pixels[None]))


def _check(cleaner: Cleaner, picture: Picture, source: Path) -> None:
    """Refuse what the network does not take, and what is no number."""
    cleaner.check(picture.pixels.shape)
    if not np.isfinite(picture.pixels).all():
        count = int((~np.isfinite(picture.pixels)).sum())
        raise DataError(
            f"expected finite pixels in {source}, got {count:,} NaN or infinite; mend the picture"
        )


def _clean_stack(
    cleaner: Cleaner, pages: Sequence[Picture], file: tuple[Path, Path], compare: bool
) -> str | None:
    """The pages of a file, one after another; its comparison shows the first.

    Returns:
        What there is to doubt of the first page that is doubtful.
    """
    source, target = file
    for page in pages:
        _check(cleaner, page, source)
    doubts: list[str | None] = []

    def cleaned(page: Picture) -> NDArray[Any]:
        dirty = _shares(cleaner, page)
        pixels = cleaner(dirty[None])[0]
        if compare and not doubts:
            compare_in(target, dirty[None], pixels[None])
        doubts.append(cleaner.doubt(dirty[None], pixels[None]))
        return _levels(cleaner, page, pixels)

    write(target, encode_pages(map(cleaned, pages), pages))
    return next((doubt for doubt in doubts if doubt), None)


def _clean_large(cleaner: Cleaner, picture: Picture, target: Path, compare: bool) -> str | None:
    """A picture in parts, over its own pixels; its comparison shows the middle."""
    low, high = cleaner.range_of(picture)
    pixels = picture.pixels if picture.pixels.flags.writeable else picture.pixels.copy()
    bare = replace(picture, pixels=pixels[:, :0])  # so that a writer holds no more than it writes
    middle = tuple(slice(max(0, (side - MIDDLE) // 2), (side + MIDDLE) // 2) for side in pixels.shape[1:])
    before = pixels[:, *middle].astype(np.float32)
    doubt = clean_in_place(cleaner, pixels, (low, high))
    if compare:
        after = pixels[:, *middle].astype(np.float32)
        compare_in(target, *((shown[None] - low) / (high - low) for shown in (before, after)))
    del picture
    write(target, encode_picture(pixels, bare))
    return doubt


def _levels(cleaner: Cleaner, picture: Picture, shares: NDArray[np.float32]) -> NDArray[Any]:
    """Shares of white, (C, H, W), in the picture's own numbers."""
    low, high = cleaner.range_of(picture)
    return low + shares * np.float32(high - low)


def _shares(cleaner: Cleaner, picture: Picture) -> NDArray[np.float32]:
    """Pixels as shares of white, (C, H, W); noise below black and above white stays."""
    low, high = cleaner.range_of(picture)
    return (picture.pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)


def _clean_array(cleaner: Cleaner, source: Path, target: Path, compare: bool) -> str | None:
    """An .npy file into one of the same shape and type, which is never all in memory."""
    array = read_npy(source)
    images = cleaner.taken(array)
    pixels, (low, high) = images.pixels, images.value_range
    cleaner.check(pixels.shape[1:])
    is_last = array.shape[-1] == pixels.shape[1] and array.shape[-2:] != pixels.shape[2:]  # channels
    doubt = None
    with writing(target) as file:
        about = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, about)
        for chunk in images.chunks():
            part = (pixels[chunk].astype(np.float32) - low) / (high - low)
            result = cleaner(part)
            doubt = doubt or cleaner.doubt(part, result)
            if compare and chunk.start == 0:
                compare_in(target, part[:SHOWN], result[:SHOWN])
            levels = low + result * (high - low)
            if pixels.dtype.kind != "f" or array.dtype.kind in "iu":
                levels = np.rint(levels)
            levels = levels.transpose(0, 2, 3, 1) if is_last else levels
            file.write(np.ascontiguousarray(levels.astype(array.dtype)).data)
    return doubt
