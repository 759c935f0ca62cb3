"""Cleaning arrays and files of pictures with a network, as they come."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.data.arrays import array_of, as_pixels
from safelight.data.finding import Images
from safelight.data.fitting import Untold
from safelight.data.images import ImageSet
from safelight.data.opening import SUFFIXES, Picture, open_pages
from safelight.data.readers import read_npy
from safelight.data.sources import load_for
from safelight.data.writing import encode_pages, encode_picture
from safelight.errors import DataError, RunError
from safelight.networks.base import ImageNetwork
from safelight.networks.tiling import MAX_PIXELS, clean
from safelight.networks.unet import DenoisingUNet
from safelight.runs.doubts import doubt_of
from safelight.runs.in_place import clean_in_place
from safelight.runs.written import compare_in, comparison_of, write, writing

__all__ = ["Cleaned", "Cleaner", "clean_files", "plan"]

LEAST_SIDE = 8
FULL_SCALES = ((0, 1), (0, 255), (0, 65535))  # of pictures, which mean the same at any depth
TOGETHER = 1 << 18  # pixels of small pictures that go through the network at once
SHOWN = 10  # images of an array in its comparison
MIDDLE = 512  # pixels to a side of a large picture in its own


@final
class Cleaner:
    """Cleans images by a network, as large as they are.

    Args:
        network: in evaluation mode.
        fit: of the images that it was made for; its range is what stands for black and white in arrays.
        precision: bfloat16, or float32.
        resize: scale images to the size of a network that takes no other, and the results back.
        changes_light: whether it was trained to make pictures brighter or darker, as against lost contrast.
        turns: average over the eight ways that a picture can lie; four for a network of one size, if that is
            no square.
    """

    def __init__(
        self,
        network: ImageNetwork,
        fit: Fit,
        precision: str,
        resize: bool = False,
        changes_light: bool = False,
        turns: bool = False,
    ) -> None:
        self.network = network
        self.changes_light = changes_light
        self.turns = turns
        self.fit, self.shape, self.value_range = fit, fit.shape, fit.range
        self.precision = precision
        self.takes_any_size = isinstance(network, DenoisingUNet)
        self.resize = resize and not self.takes_any_size
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
        x = torch.from_numpy(np.asarray(images, np.float32)).to(self.device)
        if self.resize:
            x = _scaled(x, self.shape[1:])
        cleaned = self._turned(x) if self.turns else clean(self.network, x, self.precision)
        return np.asarray(_scaled(cleaned, images.shape[2:]).cpu().numpy())

    def _turned(self, x: Tensor) -> Tensor:
        """The mean of what becomes of images as they lie and turned, turned back."""
        step = 1 if self.takes_any_size or x.shape[2] == x.shape[3] else 2
        total = torch.zeros_like(x)
        for quarters in range(0, 4, step):
            for axes in ((), (3,)):
                made = clean(self.network, x.flip(axes).rot90(quarters, (2, 3)), self.precision)
                total += made.rot90(-quarters, (2, 3)).flip(axes)
        return total / (8 // step)

    def doubt(self, before: NDArray[Any], after: NDArray[Any]) -> str | None:
        """How cleaned images (N, C, H, W) differ from noisy ones by more than noise, or None: `doubt_of`."""
        pairs = zip(before, after, strict=True)
        found = (doubt_of(*pair, any_light=self.changes_light) for pair in pairs)
        return next((doubt for doubt in found if doubt), None)

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
        if self.takes_any_size:
            if min(size) < LEAST_SIDE:
                raise DataError(
                    f"expected sides from {LEAST_SIDE} pixels up, got {size[1]}×{size[0]}; enlarge it"
                )
        elif tuple(size) != self.shape[1:] and not self.resize:
            raise DataError(
                f"expected pictures of {self.shape[2]}×{self.shape[1]}, as this network takes no others, got "
                f"{size[1]}×{size[0]}; add --resize, or train a denoising-unet"
            )


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


def plan(sources: Sequence[Path], out: Path, compare: bool, overwrite: bool) -> list[tuple[Path, Path]]:
    """Which file is cleaned into which; nothing is read or written yet.

    Args:
        sources: pictures, .npy files, or flat folders of them.
        out: the file for a single one, if its name ends as that does, or a folder.
        compare: whether a comparison will be written beside each.
        overwrite: whether what is there may be replaced.

    Raises:
        DataError: a source is missing, or no picture.
        RunError: the outputs would fall on each other, on the sources, or on what is there.
    """
    files = [file for source in sources for file in _files(source)]
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
        targets = [out / file.name for file in files]
        if out.exists() and not out.is_dir():
            raise RunError(f"expected a folder, got the file {out}; choose another --out")
        if out.resolve() in {file.parent.resolve() for file in files}:
            raise RunError(f"expected another folder than the input's, got {out}; choose another --out")
    written = [*targets, *(comparison_of(target) for target in targets if compare)]
    theirs = {_identity(file) for file in files}
    covered = next((path for path in written if _identity(path) in theirs), None)
    if covered is not None:
        raise RunError(f"expected outputs beside what is cleaned, got {covered}; choose another --out")
    name, count = Counter(path.name for path in written).most_common(1)[0]
    if count > 1:
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


def _files(source: Path) -> list[Path]:
    taken = (*SUFFIXES, ".npy")
    if source.is_dir():
        found = sorted(
            p for p in source.iterdir() if p.suffix.lower() in taken and p.name[0] != "." and p.is_file()
        )
        if not found:
            raise DataError(f"expected files of {', '.join(taken)} in {source}, got none; give their folder")
        return found
    if not source.is_file():
        raise DataError(
            f"expected a picture, an .npy file or a folder of them, got {source}, which is not there"
        )
    if source.suffix.lower() not in taken:
        raise DataError(f"expected a file of {', '.join(taken)}, got {source.name}; convert it")
    return [source]


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
    is_last = pixels.shape != array.shape and array.ndim == 4  # channels
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


def _scaled(images: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    scaled: Tensor = F.interpolate(images, tuple(size), mode="bilinear", antialias=True)
    return scaled
