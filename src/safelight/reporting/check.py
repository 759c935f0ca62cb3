"""What `data check` found as a page of its own, out of `check.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safelight.data.checking import Check
from safelight.data.images import ImageSet
from safelight.data.pictures import png
from safelight.files import printable
from safelight.reporting.page import data_uri, write_page

__all__ = ["thumbnail", "write_check"]

SHOWN, LISTED = 24, 200  # of a finding: with thumbnails, and in a table
BARS = 12  # of a chart
SIDE = 112  # pixels of a thumbnail


def write_check(path: Path, check: Check, images: ImageSet) -> Path:
    """Write the page.

    Args:
        path: the file.
        check: what was found.
        images: that its places count.

    Raises:
        RunError: it cannot be written.
    """
    uris: dict[int, str] = {}

    def uri(place: int) -> str:
        if place not in uris:
            uris[place] = data_uri(png(thumbnail(images, place)), "png")
        return uris[place]

    sections = []
    for found in check.findings:
        most = SHOWN if any(row.places for row in found.rows) else LISTED
        rows = [
            {
                "names": list(map(printable, row.names)),
                "remark": printable(row.remark),
                "uris": [uri(place) for place in row.places],
            }
            for row in found.rows[:most]
        ]
        sections.append({"kind": found.kind, "count": found.count, "rows": rows})
    channels, height, width = check.shape
    low, high = check.range
    facts = [
        ("Fitted to", f"{width}×{height}, {channels} channel{'s' * (channels > 1)}"),
        ("Black and white", f"{low:g} and {high:g}"),
        ("Values outside", f"{check.clipped:,}"),
        ("With alpha", f"{check.alpha:,}"),
        ("With several frames", f"{check.animated:,}"),
        ("Passed over, no pictures by name", f"{check.passed_over:,}"),
        *((f"In {name}", f"{count:,}") for name, count in check.parts),
        ("Divided by", {"owner": "their owner"}.get(check.divided_by, check.divided_by)),
    ]
    charts = [
        ("Sizes", _bars([(f"{width}×{height}", count) for (width, height), count in check.sizes])),
        ("Kinds of file", _bars(check.kinds)),
        ("Bits a channel", _bars(check.bits)),
        ("Classes", _bars([*check.classes, *[("no class", check.unlabelled)] * bool(check.unlabelled)], 40)),
    ]
    return write_page(
        path,
        "reporting/check.html.j2",
        name=printable(Path(check.source).name or check.source),
        check=check,
        notes=list(map(printable, check.notes)),
        sections=sections,
        facts=facts,
        charts=charts,
        tiles=_tiles(check),
    )


def thumbnail(images: ImageSet, place: int) -> Image.Image:
    """An image as it is seen, small: channels of which there are not one or three as grays beside each other.

    Example:
        >>> import safelight
        >>> thumbnail(safelight.load("digits"), 0).size
        (8, 8)
    """
    x = (images.floats([place])[0].numpy().clip(0, 1) * 255 + 0.5).astype(np.uint8)  # (C, H, W)
    pixels = x.transpose(1, 2, 0) if len(x) == 3 else np.concatenate(list(x), axis=1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE * (1 if len(x) == 3 else len(x)), SIDE))
    return picture


def _tiles(check: Check) -> list[tuple[str, str, str]]:
    pictures = f"of {check.pictures:,} pictures" if check.pictures != check.images else ""
    tiles = [("Images", f"{check.images:,}", pictures)]
    for found in check.faults[:7]:
        tiles.append((found.kind.title, f"{found.count:,}", ""))
    return tiles


def _bars(rows: Sequence[tuple[Any, int]], most: int = BARS) -> list[tuple[str, int, float]]:
    """What is counted, how often, and the share of the most that it is; the rest together."""
    kept = [(printable(str(name)), count) for name, count in rows[:most]]
    if len(rows) > most:
        kept.append((f"{len(rows) - most:,} others", sum(count for _, count in rows[most:])))
    highest = max((count for _, count in kept), default=1)
    return [(name, count, count / max(1, highest)) for name, count in kept]
