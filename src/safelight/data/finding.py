"""A run's images, found again and divided as they were."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import DataConfig
from safelight.data import sources
from safelight.data.images import ImageSet
from safelight.data.label_files import Labels
from safelight.data.readers import Accept
from safelight.errors import DataError

__all__ = ["SPLITS", "Images", "as_image_set", "find_images", "find_split"]

SPLITS = ("train", "validation", "test")
Images = ImageSet | NDArray[Any] | str | os.PathLike[str]


def as_image_set(
    images: Images, value_range: tuple[float, float] | None = None, accept: Accept | None = None
) -> ImageSet:
    """Images as they are, or loaded.

    Args:
        images: an `ImageSet`, or what `sources.load` takes.
        value_range: what stands for black and white where whole numbers do not say it themselves.
        accept: as in `sources.load`.

    Raises:
        DataError: they cannot be loaded, or do not keep to that range.
    """
    if isinstance(images, ImageSet):
        return images
    loaded = sources.load(images, accept=accept)
    is_named = isinstance(images, str | os.PathLike) and not str(images).endswith((".npy", ".npz"))
    if value_range is None or value_range == loaded.value_range or is_named:
        return loaded
    low, high = value_range
    if loaded.value_range == (0, 1) and low == 0:
        return loaded  # floats and booleans from black to white mean the same in any run
    if loaded.pixels.dtype != np.float32 and low <= loaded.pixels.min() and loaded.pixels.max() <= high:
        return dataclasses.replace(loaded, value_range=value_range)
    raise DataError(
        f"expected pixels from {low:g} to {high:g}, as the run's, got {loaded.pixels.dtype} up to "
        f"{loaded.pixels.max():g}; say what they mean with safelight.ImageSet(pixels, value_range=...)"
    )


def find_images(data: DataConfig, folder: Path, images: Images | None = None) -> ImageSet:
    """A run's images, before they are divided.

    Args:
        data: where they came from.
        folder: of the run or the search.
        images: for a run on images handed over in Python, the same images.

    Raises:
        DataError: they are gone, or not the same.
    """
    if images is None and data.source is None:
        raise DataError("this run was trained on images handed over in Python; hand over the same ones")
    with _or_moved(folder):
        image_set = as_image_set(images if images is not None else str(data.source))
        if image_set.fingerprint() != data.fingerprint:
            raise DataError(
                "expected the images that the run was trained on, but "
                f"{image_set.source or 'these'} differ from them; restore them"
            )
    return image_set


def find_split(
    data: DataConfig, folder: Path, split: str, images: Images | None = None, labels: Labels | None = None
) -> ImageSet:
    """One part of a run's images: train, validation or test.

    Args:
        data: where the images came from.
        folder: of the run.
        split: train, validation or test; test images may be kept apart at the source.
        images: for a run on images handed over in Python, the same images.
        labels: of all images before they were divided, instead of their own; test images that are kept apart
            are given their own labels in these classes.

    Raises:
        DataError: as in `find_images`, or there is no such split.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split of {', '.join(SPLITS)}, got {split!r}")
    image_set = find_images(data, folder, images)
    if labels is not None:
        image_set = replace(image_set, labels=labels.numbers)
    part: ImageSet | None = getattr(image_set.split(data.validation, data.limit), split)
    if part is None and split == "test" and data.source is not None:
        with _or_moved(folder):
            part = sources.load(data.source, split="test")
        if labels is not None and part.labels is not None:
            part = replace(part, labels=labels.renumber(part.labels))
    if part is None:
        raise DataError(f"expected {split} images, but the run's data has none; use another --split")
    return part


@contextmanager
def _or_moved(folder: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error}, or say where they are now: safelight data moved {shlex.quote(str(folder))} PLACE"
        ) from None
