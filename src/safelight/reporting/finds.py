"""What was found in a set as a page of thumbnails, out of `finds.html.j2`, and as a table beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from safelight.data.images import ImageSet
from safelight.data.pictures import png
from safelight.files import printable, write_file
from safelight.reporting.check import thumbnail
from safelight.reporting.page import data_uri, write_page

__all__ = ["Card", "card", "heat_picture", "write_finds", "write_table"]

HOT = 16.0  # times the usual miss that is drawn the brightest


@dataclass(frozen=True)
class Card:
    """Thumbnails side by side, over the names of what they show and a remark."""

    uris: tuple[str, ...]
    names: tuple[str, ...]
    remark: str


def card(
    images: ImageSet, places: Sequence[int], names: Sequence[str], remark: str, *more: Image.Image
) -> Card:
    """Images of a set, and pictures beside them."""
    pictures = [*(thumbnail(images, place) for place in places), *more]
    return Card(
        tuple(data_uri(png(picture), "png") for picture in pictures), tuple(map(printable, names)), remark
    )


def heat_picture(heat: NDArray[np.float32]) -> Image.Image:
    """A heat map, (H, W), from dark where an image is as usual to bright where it misses most.

    The scale is that of logarithms, and the same for all.
    """
    scaled = np.log2(np.maximum(heat, 1)) / np.log2(HOT)
    picture = Image.fromarray(colormaps["inferno"](scaled, bytes=True)[..., :3].copy())
    picture.thumbnail((112, 112))
    return picture


def write_finds(
    path: Path, verb: str, name: str, lead: str, sections: Sequence[tuple[str, Sequence[Card]]], remark: str
) -> Path:
    """Write the page.

    Raises:
        RunError: it cannot be written.
    """
    return write_page(
        path,
        "reporting/finds.html.j2",
        verb=verb,
        name=printable(name),
        lead=lead,
        remark=remark,
        sections=[(printable(title), cards) for title, cards in sections],
    )


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV file of a heading and rows.

    Raises:
        RunError: it cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_file(path, table.getvalue())
    return path
