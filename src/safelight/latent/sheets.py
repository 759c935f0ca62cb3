"""Samples beside the training images that are nearest to them."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, fromarray

from safelight.data.images import ImageSet
from safelight.data.label_files import names_of
from safelight.data.pictures import png, tile
from safelight.files import write_file
from safelight.latent.sampling import nearest_images
from safelight.reporting.sheets import contact_sheet

__all__ = ["sample_sheet", "write_samples"]

WIDEST = 16  # images a row


def sample_sheet(samples: NDArray[Any], words: str, train: ImageSet | None) -> Image:
    """Samples on one sheet, and at the same places of another the training images nearest to them.

    Args:
        samples: (N, C, H, W) in [0, 1].
        words: what they were drawn from.
        train: the training images, or None to leave them out.
    """
    columns = min(WIDEST, math.ceil(math.sqrt(len(samples))))
    panels = [(tile(samples, columns), words)]
    if train is not None:
        places, _ = nearest_images(samples, train)
        panels.append((tile(train.floats(places).numpy(), columns), "the training images nearest to them"))
    return contact_sheet(panels)


def _picture(image: NDArray[Any]) -> Image:
    """One image, a pixel a pixel."""
    pixels = (image.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)  # (H, W, C)
    return fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def write_samples(folder: Path, samples: NDArray[Any], train: ImageSet | None) -> None:
    """Write each sample as a picture, and samples.csv, which tells its nearest training image.

    Args:
        folder: an empty folder.
        samples: (N, C, H, W) in [0, 1].
        train: the training images, or None to leave them out.

    Raises:
        RunError: the folder cannot be written.
    """
    names = [f"sample-{i + 1:04d}.png" for i in range(len(samples))]
    for name, sample in zip(names, samples, strict=True):
        write_file(folder / name, png(_picture(sample)))
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["sample", "nearest_training_image", "distance"])
    if train is None:
        rows.writerows([name, "", ""] for name in names)
    else:
        places, distances = nearest_images(samples, train)
        known = names_of(train)
        rows.writerows(
            [name, known[place], f"{distance:.4f}"]
            for name, place, distance in zip(names, places, distances, strict=True)
        )
    write_file(folder / "samples.csv", table.getvalue())
