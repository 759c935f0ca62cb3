"""A run's images, found again and divided as they were."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.config.run import RunConfig
from safelight.data import sources
from safelight.data.arrays import fitted
from safelight.data.changes import changed_since
from safelight.data.images import PARTS, ImageSet
from safelight.data.label_files import Labels
from safelight.data.store import described
from safelight.errors import DataError

__all__ = ["Images", "as_image_set", "find_images", "find_split", "refuse_left_out"]

OnReading = Callable[[int, int], object]
Images = ImageSet | NDArray[Any] | str | os.PathLike[str]


def as_image_set(
    images: Images,
    options: FitOptions | Fit,
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen
    on_reading: OnReading = lambda done, count: None,
) -> ImageSet:
    """Images as they are, or loaded, and made alike.

    Args:
        images: an `ImageSet`, or what `sources.load` takes.
        options: how they are made alike: what is asked for, or a run's own fit.
        data: how they are labelled and grouped, and how many are wanted.
        on_reading: as in `sources.load`.

    Raises:
        DataError: they cannot be loaded, or do not keep to a run's range.
    """
    if isinstance(images, ImageSet):
        return fitted(images, options)
    return sources.load_for(images, data, options, on_reading=on_reading)


def refuse_left_out(images: ImageSet) -> None:
    """What --strict asks for.

    Raises:
        DataError: pictures were left out.
    """
    if images.store is not None and images.store.left_out_count:
        count, left_out = images.store.left_out_count, described(images.store.left_out)
        raise DataError(f"expected every picture, as --strict asks, got {count:,} left out ({left_out})")


def find_images(data: DataConfig, fit: Fit, folder: Path, images: Images | None = None) -> ImageSet:
    """A run's images, before they are divided.

    Args:
        data: where they came from.
        fit: how they were made alike.
        folder: of the run or the search.
        images: for a run on images handed over in Python, the same images.

    Raises:
        DataError: they are gone, or not the same.
    """
    if images is None and data.source is None:
        raise DataError(
            "this run was trained on images handed over in Python; hand over the same ones as images="
        )
    with _or_moved(folder):
        image_set = as_image_set(images if images is not None else str(data.source), fit, data)
        if not image_set.is_what(data.fingerprint):
            how = changed_since(folder, image_set) if data.limit is None else ""  # others were chosen now
            raise DataError(
                "expected the images that the run was trained on, but "
                f"{image_set.source or 'these'} differ from them{f' ({how})' * bool(how)}; restore them"
            )
    return image_set


def find_split(
    config: RunConfig, folder: Path, split: str, images: Images | None = None, labels: Labels | None = None
) -> ImageSet:
    """One part of a run's images: train, validation or test.

    Args:
        config: where the images came from and how they were made alike.
        folder: of the run.
        split: train, validation or test; test images may be kept apart at the source.
        images: for a run on images handed over in Python, the same images.
        labels: of all images before they were divided, instead of their own; test images that are kept apart
            are given their own labels in these classes.

    Raises:
        DataError: as in `find_images`, or there is no such split.
    """
    if split not in PARTS:
        raise DataError(f"expected a split of {', '.join(PARTS)}, got {split!r}")
    data = config.data
    found = find_images(data, config.image, folder, images)
    divided = found.split(data.validation, data.limit, None if labels is None else labels.parts)
    if labels is not None:
        divided = divided.labelled(labels.numbers, labels.classes)
    part: ImageSet | None = getattr(divided, split)
    if part is None and split == "test" and data.source is not None:
        with _or_moved(folder):
            part = sources.load_for(data.source, data, config.image, split="test")
        if labels is not None and part.labels is not None:
            part = replace(part, labels=labels.renumber(part), classes=labels.classes)
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
