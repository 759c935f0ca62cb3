"""What is known of each image of a set, by which one is compared with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.fitting import LUMA, TINT, TINTED
from safelight.data.images import PARTS, ImageSet, at_once
from safelight.data.likeness import FLAT, near_pairs
from safelight.data.store import measured

__all__ = ["ALIKE", "PARTS", "Row", "Traits", "divided_as"]

ALIKE, ALIKE_IN_COLOUR = 0.98, 0.9  # correlations of near ones; JPEG keeps colours worse than grays
MOST_BEFORE = 4  # near ones that an image is paired with: a hundred alike are no 4,950 pairs
BITS = np.array([byte.bit_count() for byte in range(256)], np.uint8)  # that are set in each byte

OnReading = Callable[[int, int], object]


@dataclass(frozen=True)
class Row:
    """One thing that was found.

    Attributes:
        names: of the images that it is about, one or two; or of a file, or a class.
        remark: what there is to say of it.
        places: of the images in the set; none of what is not in it.
    """

    names: tuple[str, ...]
    remark: str
    places: tuple[int, ...] = ()


@final
class Traits:
    """What is known of each image of a set, a column each.

    Args:
        images: the set.
        parts: (N,) of each image the number of its part, in the order of `PARTS`.
        on_reading: called with the images looked at and all there are.
    """

    def __init__(self, images: ImageSet, parts: NDArray[np.uint8], on_reading: OnReading) -> None:
        self.images, self.parts = images, parts
        rows = _measured(images, on_reading) if images.store is None else images.store.table()
        columns = {name: rows[name] for name in ("content", "look", "mean", "contrast", "sharpness")}
        self.content, self.look, self.mean, self.contrast, self.sharpness = map(np.asarray, columns.values())
        count, (_, height, width) = len(images), images.shape
        self.picture, self.clipped = np.arange(count), np.zeros(count, np.int64)
        self.height, self.width = np.full(count, height), np.full(count, width)
        self.first = np.arange(count)  # one image of each picture
        if images.store is not None:
            self.height, self.width, self.clipped = (
                np.asarray(rows[n]) for n in ("height", "width", "clipped")
            )
            self.first = images.store.once()
            if images.store.fit.how == "tile":
                self.picture = np.asarray(rows["picture"])

    def name(self, place: int) -> str:
        """What an image is called."""
        names = self.images.names
        return f"image {place}" if names is None else str(names[place])

    def class_of(self, place: int) -> str | None:
        """What an image is taken for."""
        labels, classes = self.images.labels, self.images.classes
        if labels is None or labels[place] < 0:
            return None
        return str(labels[place]) if classes is None else classes[labels[place]]

    def rows(self, places: NDArray[np.int64], remark: Callable[[int], str]) -> Iterator[Row]:
        """A row an image."""
        for place in places.tolist():
            yield Row((self.name(place),), remark(place), (place,))

    def pairs(self, pairs: NDArray[np.int64], remark: Callable[[int, int], str]) -> Iterator[Row]:
        """A row a pair, (P, 2)."""
        for a, b in pairs.tolist():
            yield Row((self.name(a), self.name(b)), remark(a, b), (a, b))

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """(N,) where nothing, or next to nothing, is to be seen."""
        return self.contrast < FLAT

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """(P, 2): the first image of each content, with each of its copies elsewhere; empty ones last."""
        _, first, which = np.unique(self.content, return_index=True, return_inverse=True)
        pairs = np.stack([first[which], np.arange(len(which))], axis=1)
        pairs = pairs[self.picture[pairs[:, 0]] != self.picture[pairs[:, 1]]]
        return np.asarray(pairs[np.argsort(self.flat[pairs[:, 0]], kind="stable")])

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """(P, 2): images that look nearly alike and are no copies, the most alike first."""
        first = np.sort(np.unique(self.content, return_index=True)[1])
        first = first[~self.flat[first]]
        pairs = first[near_pairs(self.look[first])]
        pairs = pairs[self.picture[pairs[:, 0]] != self.picture[pairs[:, 1]]]
        differing = (self.look[pairs[:, 0]] ^ self.look[pairs[:, 1]]).view(np.uint8)
        bits = BITS[differing.reshape(-1, 8)].sum(1)
        order = np.lexsort((bits, pairs[:, 1]))
        rank = np.arange(len(order)) - np.searchsorted(pairs[order, 1], pairs[order, 1])
        pairs = pairs[order[rank < MOST_BEFORE]]
        gray, colour = self._correlations(pairs)
        chosen = np.flatnonzero((gray >= ALIKE) & (colour >= ALIKE_IN_COLOUR))
        return np.asarray(pairs[chosen[np.argsort(-gray[chosen], kind="stable")]])

    def _correlations(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(P,) of the grays and of all values of each pair, which brightness and contrast do not change."""
        found, step = np.empty((2, len(pairs))), at_once(self.images.shape)
        for first in range(0, len(pairs), step):
            part = slice(first, first + step)
            one, other = (self.images.floats(pairs[part, side]).double() for side in (0, 1))  # (n, C, H, W)
            for row, (x, y) in enumerate(((gray_of(one), gray_of(other)), (one, other))):
                x, y = (z.flatten(1) - z.flatten(1).mean(1, keepdim=True) for z in (x, y))
                found[row, part] = ((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))).numpy()
        return found[0], found[1]

    @cached_property
    def is_gray(self) -> NDArray[np.bool_]:
        """(N,) where an image of three channels has no colour."""
        low, high = self.images.value_range
        found = []
        for chunk in self.images.chunks():
            spread = np.ptp(self.images.pixels[chunk].astype(np.float32), axis=1)  # (n, H, W)
            found.append((spread > TINT * (high - low)).mean((1, 2)) <= TINTED)
        return np.concatenate(found)


def gray_of(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W)."""
    weights = torch.tensor(LUMA.tolist() if images.shape[1] == 3 else [1.0], dtype=images.dtype)
    return (images * weights[:, None, None]).sum(1)


def divided_as(images: ImageSet) -> NDArray[np.uint8]:
    """(N,) the part that each image is put into; all train where there are too few to divide."""
    parts = np.zeros(len(images), np.uint8)
    if len(images) >= len(PARTS) or images.parts is not None:
        shadow = replace(images, pixels=np.zeros((len(images), 1, 1, 1), np.uint8), value_range=(0, 255))
        for number, name in enumerate(PARTS):
            parts[shadow.split().rows[name]] = number
    return parts


def _measured(images: ImageSet, on_reading: OnReading) -> dict[str, NDArray[Any]]:
    """The columns that a store has, of images that come from none."""
    kinds = {
        "content": np.uint64,
        "look": np.uint64,
        **dict.fromkeys(("mean", "contrast", "sharpness"), "f4"),
    }
    columns = {name: np.empty(len(images), kind) for name, kind in kinds.items()}
    for chunk in images.chunks():
        for place, image in enumerate(images.pixels[chunk], chunk.start):
            for name, value in measured(image, images.image).items():
                columns[name][place] = value
        on_reading(min(chunk.stop, len(images)), len(images))
    return columns
