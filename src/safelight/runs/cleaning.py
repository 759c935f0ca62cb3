"""Cleaning arrays and files of pictures with a network, as they come."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.data.arrays import array_of, as_pixels
from safelight.data.covering import through
from safelight.data.finding import Images
from safelight.data.fitting import Untold
from safelight.data.images import ImageSet
from safelight.data.listing import natural_path, walk
from safelight.data.opening import SUFFIXES, Picture, open_pages
from safelight.data.pictures import make_folder, png, tile
from safelight.data.readers import read_npy
from safelight.data.sources import load_for
from safelight.data.writing import encode_pages, encode_picture
from safelight.errors import DataError, RunError
from safelight.files import MAX_NAME, refuse_links, write_file
from safelight.networks.base import ImageNetwork
from safelight.networks.tiling import clean
from safelight.networks.unet import DenoisingUNet

__all__ = ["Cleaned", "Cleaner", "clean_files", "plan"]

LEAST_SIDE = 8
FULL_SCALES = ((0, 1), (0, 255), (0, 65535))  # of pictures, which mean the same at any depth
TOGETHER = 1 << 18  # pixels of small pictures that go through the network at once
SHOWN = 10  # images of an array in its comparison


@final
class Cleaner:
    """Cleans images by a network, as large as they are.

    Args:
        network: in evaluation mode.
        fit: of the images that it was made for; its range is what stands for black and white in arrays.
        precision: bfloat16, or float32.

    A network of one size sees others as its run's own pictures were fitted, and what it draws is scaled back.
    """

    def __init__(
        self,
        network: ImageNetwork,
        fit: Fit,
        precision: str,
    ) -> None:
        self.network = network
        self.fit, self.shape, self.value_range = fit, fit.shape, fit.range
        self.precision = precision
        self.takes_any_size = isinstance(network, DenoisingUNet)
        self.device = next(network.parameters()).device

    def range_of(self, picture: Picture) -> tuple[float, float]:
        """What stands for black and white in a picture: as its file says, else as in the run's own images."""
        own = {"uint16": Untold(whole=self.fit.range), "float32": Untold(real=self.fit.range)}
        return own.get(self.fit.dtype, Untold()).range_of(picture.pixels, picture.white)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Images (N, C, H, W) in [0, 1] to clean ones.

        A network for gray images cleans one channel after another, one for colours a gray image as three.

        Raises:
            DataError: they have other channels, or a size, that the network does not take.
        """
        self.check(images.shape[1:])
        (count, channels, *size), own = images.shape, self.shape[0]
        if channels == own:
            return self._clean(images)
        if own == 1:
            return np.asarray(self._clean(images.reshape(-1, 1, *size)).reshape(count, channels, *size))
        return np.asarray(self._clean(np.repeat(images, own, axis=1)).mean(1, keepdims=True))

    def _clean(self, images: NDArray[Any]) -> NDArray[np.float32]:
        images = np.asarray(images, np.float32)
        if self.takes_any_size or images.shape[2:] == self.shape[1:]:
            return self._run(images)
        return np.stack([through(image, self.fit, self._run) for image in images]).clip(0, 1)

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        x = torch.from_numpy(images).to(self.device)
        return np.asarray(clean(self.network, x, self.precision).cpu().numpy())

    def scales(self, shape: Sequence[int]) -> bool:
        """Whether images of that shape, (..., H, W), are scaled for the network, which loses what is fine."""
        return not (self.takes_any_size or tuple(shape[-2:]) == self.shape[1:] or self.fit.how == "tile")

    def taken(self, images: Images) -> ImageSet:
        """Images of a user's: by a network for pictures, as deep as they are; else by its run's own range.

        Raises:
            DataError: they cannot be loaded, or do not keep to that range.
        """
        options = FitOptions() if self.value_range in FULL_SCALES else self.fit
        if isinstance(images, ImageSet):
            image_set = images
        elif isinstance(images, str | os.PathLike):
            image_set = load_for(images, DataConfig(), FitOptions() if self.takes_any_size else self.fit)
        else:
            image_set = as_pixels(array_of(images), "the array", options)
        self.check(image_set.shape)
        return image_set

    def check(self, shape: Sequence[int]) -> None:
        """Refuse images (C, H, W) that the network does not take.

        Raises:
            DataError: as it says.
        """
        channels, *size = shape
        if channels != self.shape[0] and 1 not in (channels, self.shape[0]):
            raise DataError(
                f"expected pictures of {self.shape[0]} channels, as the network was trained on, or gray "
                f"ones, got {channels} channels; convert them, or use another run"
            )
        if self.takes_any_size and min(size) < LEAST_SIDE:
            raise DataError(
                f"expected sides from {LEAST_SIDE} pixels up, got {size[1]}×{size[0]}; enlarge it"
            )


@dataclass(frozen=True)
class Cleaned:
    """What became of a file.

    Attributes:
        source: the file.
        error: why it was left out, or None.
        was_scaled: whether the network saw it in another size.
    """

    source: Path
    error: DataError | None = None
    was_scaled: bool = False


def plan(sources: Sequence[Path], out: Path, compare: bool, overwrite: bool) -> list[tuple[Path, Path]]:
    """Which file is cleaned into which; nothing is read or written yet.

    Args:
        sources: pictures, .npy files, or folders of them, with folders in them.
        out: the file for a single one, if its name ends as that does, or a folder, in which files of a folder
            lie as they lay there.
        compare: whether a comparison will be written beside each.
        overwrite: whether what is there may be replaced.

    Raises:
        DataError: a source is missing, or no picture.
        RunError: the outputs would fall on each other, on the sources, or on what is there.
    """
    found = [one for source in sources for one in _files(source)]
    files = [file for file, _ in found]
    if len(sources) == 1 and sources[0].is_file() and out.suffix and not out.is_dir():
        targets = [out]
        if out.suffix.lower() != files[0].suffix.lower():
            raise RunError(
                f"expected an output of the same kind as {files[0].name}, got {out.name}; "
                f"end it in {files[0].suffix}, or give a folder"
            )
        if out.exists() and out.samefile(files[0]):
            raise RunError(f"expected another file than the input, got {out}; choose another --out")
    else:
        targets = [out / name for _, name in found]
        if out.exists() and not out.is_dir():
            raise RunError(f"expected a folder, got the file {out}; choose another --out")
        place = out.resolve()
        if any(_is_in(place, source) for source in sources):
            raise RunError(f"expected another folder than the input's, got {out}; choose another --out")
        for parent in {target.parent for target in targets}:
            refuse_links(parent, out)
    written = [*targets, *(_comparison(target) for target in targets if compare)]
    theirs = {_identity(file) for file in files}
    covered = next((path for path in written if _identity(path) in theirs), None)
    if covered is not None:
        raise RunError(f"expected outputs beside what is cleaned, got {covered}; choose another --out")
    path, count = Counter(written).most_common(1)[0]
    if count > 1:
        name = path.relative_to(out)
        raise RunError(f"expected outputs of different names, got {name} {count} times; clean them apart")
    there = [path for path in written if path.exists() or path.is_symlink()]
    if there and not overwrite:
        raise RunError(
            f"expected no outputs yet, got {there[0]}{f' and {len(there) - 1} more' * (len(there) > 1)}; "
            "choose another --out, or add --overwrite"
        )
    return list(zip(files, targets, strict=True))


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
        picture, error, was_scaled = None, None, False
        try:
            if source.suffix.lower() == ".npy":
                was_scaled = _clean_array(cleaner, source, target, compare)
            else:
                pages = open_pages(source, str(source))
                picture = next(pages)
                _check(cleaner, picture, source)
                if picture.header.pages > 1:
                    was_scaled = cleaner.scales(picture.pixels.shape)
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
            yield Cleaned(source, error, was_scaled)
    yield from _clean_pictures(cleaner, waiting, compare)


def _files(source: Path) -> list[tuple[Path, str]]:
    """What is cleaned of a source, and how each is called in it."""
    taken = (*SUFFIXES, ".npy")
    if source.is_dir():
        names = [name for name, _ in walk(source) if name.lower().endswith(taken)]
        if not names:
            raise DataError(f"expected files of {', '.join(taken)} in {source}, got none; give their folder")
        return [(source / name, name) for name in sorted(names, key=natural_path)]
    if not source.is_file():
        raise DataError(
            f"expected a picture, an .npy file or a folder of them, got {source}, which is not there"
        )
    if source.suffix.lower() not in taken:
        raise DataError(f"expected a file of {', '.join(taken)}, got {source.name}; convert it")
    return [(source, source.name)]


def _is_in(place: Path, source: Path) -> bool:
    """Whether a folder is where a source lies, or somewhere in a folder that is one."""
    if source.is_dir():
        return source.resolve() in (place, *place.parents)
    return source.resolve().parent == place


def _comparison(target: Path) -> Path:
    """Beside the target, by a name that file systems take."""
    stem, ending = os.fsencode(target.stem), b"-compare.png"
    return target.with_name(os.fsdecode(stem[: MAX_NAME - len(ending)] + ending))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, under whatever name; a link is one of its own."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
            _write(_comparison(target), png(tile([dirty, pixels, _difference(dirty, pixels)], columns=3)))
        yield Cleaned(source, was_scaled=cleaner.scales(pixels.shape))


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
        _write(_comparison(target), png(sheet))
    _write(target, encode_pages(cleaned, pages))


def _levels(cleaner: Cleaner, picture: Picture, shares: NDArray[np.float32]) -> NDArray[Any]:
    """Shares of white, (C, H, W), in the picture's own numbers."""
    low, high = cleaner.range_of(picture)
    return low + shares * np.float32(high - low)


def _shares(cleaner: Cleaner, picture: Picture) -> NDArray[np.float32]:
    """Pixels as shares of white, (C, H, W); noise below black and above white stays."""
    low, high = cleaner.range_of(picture)
    return (picture.pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)


def _clean_array(cleaner: Cleaner, source: Path, target: Path, compare: bool) -> bool:
    """An .npy file into one of the same shape and type; whether its images were scaled."""
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
            _write(_comparison(target), png(tile(np.concatenate(rows), len(rows[0]))))
        levels = low + result * (high - low)
        cleaned[chunk] = levels if pixels.dtype.kind == "f" else np.rint(levels)
    if cleaned.shape != array.shape and array.ndim == 4:
        cleaned = cleaned.transpose(0, 2, 3, 1)
    if array.dtype.kind in "iu":
        cleaned = np.rint(cleaned)
    buffer = io.BytesIO()
    np.save(buffer, cleaned.reshape(array.shape).astype(array.dtype))
    _write(target, buffer.getvalue())
    return cleaner.scales(pixels.shape)


def _difference(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """What was added in white, what was taken away in black, over gray."""
    return np.asarray(0.5 + 0.5 * (after - before))


def _write(target: Path, content: bytes) -> None:
    write_file(make_folder(target.parent) / target.name, content)
