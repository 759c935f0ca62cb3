"""What is in a set of images, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from safelight.config.data import DataConfig, FitOptions
from safelight.data.findings import KINDS, Kind, class_counts
from safelight.data.images import ImageSet
from safelight.data.sources import load_for
from safelight.data.traits import PARTS, Row, Traits, divided_as

__all__ = ["Check", "Finding", "check", "check_source"]

OnReading = Callable[[int, int], object]


@dataclass(frozen=True)
class Finding:
    """What was found of one kind.

    Attributes:
        kind: of what.
        rows: the worst first.
        count: how many there are; of files that were left out more than rows are kept.
    """

    kind: Kind
    rows: tuple[Row, ...]
    count: int


@dataclass(frozen=True)
class Check:
    """What is in a set, and what is wrong with it.

    Attributes:
        source: where it comes from.
        images: how many there are.
        pictures: how many these were made of; fewer where some have pages, or are cut into tiles.
        shape: (C, H, W) of an image.
        range: the values that stand for black and white.
        notes: what was done to the pictures, in words.
        sizes: (width, height) of pictures, or of their pages, and how many have it, the most common first.
        kinds: of files, likewise.
        bits: of a channel, likewise.
        alpha: how many pictures have some.
        animated: how many have several frames, of which the first was taken.
        clipped: how many values were outside of black and white.
        passed_over: files that are no pictures by their names.
        classes: their names, and how many images each has.
        unlabelled: how many images have no class, where others have one.
        parts: how many images are in each.
        divided_by: owner or safelight, who put them there.
        findings: one of each kind.
    """

    source: str
    images: int
    pictures: int
    shape: tuple[int, int, int]
    range: tuple[float, float]
    notes: tuple[str, ...]
    sizes: tuple[tuple[tuple[int, int], int], ...]
    kinds: tuple[tuple[str, int], ...]
    bits: tuple[tuple[int, int], ...]
    alpha: int
    animated: int
    clipped: int
    passed_over: int
    classes: tuple[tuple[str, int], ...]
    unlabelled: int
    parts: tuple[tuple[str, int], ...]
    divided_by: str
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> list[Finding]:
        """The findings that one would rather not have, where there are any."""
        return [found for found in self.findings if found.kind.is_fault and found.count]

    def __getitem__(self, name: str) -> Finding:
        return next(found for found in self.findings if found.kind.name == name)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        made = {name: value for name, value in vars(self).items() if name != "findings"}
        made["sizes"] = [
            {"width": width, "height": height, "count": count} for (width, height), count in self.sizes
        ]
        for name in ("kinds", "bits", "classes", "parts"):
            made[name] = {str(key): count for key, count in made[name]}
        made["findings"] = {
            found.kind.name: {
                "title": found.kind.title,
                "count": found.count,
                "rows": [{"names": list(row.names), "remark": row.remark} for row in found.rows],
            }
            for found in self.findings
        }
        return made


def check_source(
    source: Any,
    data: DataConfig,
    options: FitOptions,
    on_reading: OnReading = lambda done, count: None,
) -> tuple[Check, ImageSet]:
    """Look through images where they lie, as a training would read them.

    Args:
        source: as in `load`. Test images that it keeps apart are looked at too.
        data: how they are labelled and grouped.
        options: how they are made alike.
        on_reading: called with the images read or looked at, and all there are.

    Returns:
        What was found, and the images that its places count.

    Raises:
        DataError: as `load`.
    """
    images = load_for(source, data, options, on_reading=on_reading)
    if not images.has_test_split:
        return check(images, on_reading), images
    test = load_for(source, data, images.image, "test", on_reading)
    parts = np.r_[divided_as(images), np.full(len(test), PARTS.index("test"), np.uint8)]
    labels = None
    if images.labels is not None and test.labels is not None:
        labels = np.concatenate([images.labels, test.labels])
    both = replace(
        images,
        pixels=np.concatenate([images.pixels, test.pixels]),
        labels=labels,
        parts=parts,
        digest=None,
        has_test_split=False,
    )
    return check(both, on_reading), both


def check(images: ImageSet, on_reading: OnReading = lambda done, count: None) -> Check:
    """Look through a set of images.

    Args:
        images: the set; of arrays each image is looked at, of pictures that was done when they were read.
        on_reading: called with the images looked at and all there are.

    Example:
        >>> import safelight
        >>> found = check(safelight.load("digits"))
        >>> found.images, found["copies"].count, dict(found.parts)
        (1797, 0, {'train': 1437, 'validation': 180, 'test': 180})
    """
    parts = divided_as(images)
    traits = Traits(images, parts, on_reading)
    store, once = images.store, traits.first
    table = None if store is None else store.table().select(["kind", "bits", "alpha", "frames"]).take(once)
    findings = []
    for kind in KINDS:
        rows = tuple(kind.find(traits))
        count = store.left_out_count if store and kind.name == "left_out" else len(rows)
        findings.append(Finding(kind, rows, count))
    sizes = Counter(zip(traits.width[once].tolist(), traits.height[once].tolist(), strict=True))

    def counted(name: str, otherwise: Any) -> tuple[tuple[Any, int], ...]:
        values = Counter([otherwise] * len(once) if table is None else table[name].to_pylist())
        return tuple(values.most_common())

    return Check(
        source=images.source or "images handed over in Python",
        images=len(images),
        pictures=store.read if store else len(images),
        shape=images.shape,
        range=(float(images.value_range[0]), float(images.value_range[1])),
        notes=images.notes,
        sizes=tuple(sizes.most_common()),
        kinds=counted("kind", "array"),
        bits=counted("bits", 8 * images.pixels.dtype.itemsize),
        alpha=dict(counted("alpha", False)).get(True, 0),
        animated=sum(count for frames, count in counted("frames", 1) if frames > 1),
        clipped=int(traits.clipped[once].sum()),
        passed_over=store.passed_over if store else 0,
        classes=class_counts(images),
        unlabelled=0 if images.labels is None else int((images.labels < 0).sum()),
        parts=tuple((name, int((parts == number).sum())) for number, name in enumerate(PARTS)),
        divided_by="owner" if images.parts is not None else "safelight",
        findings=tuple(findings),
    )
