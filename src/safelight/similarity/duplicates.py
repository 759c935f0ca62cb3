"""Which images of a set are copies of each other: identical, nearly so, or turned and mirrored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.data.label_files import names_of
from safelight.data.likeness import look_hash, near_pairs
from safelight.data.traits import ALIKE, MOST_BEFORE, Traits, divided_as, gray_of

__all__ = ["TURNS", "Duplicates", "find_duplicates"]

OnReading = Callable[[int, int], object]
TURNS = (  # of the square's symmetries: quarter turns, and whether it is mirrored first
    ("turned by 90°", 1, False),
    ("turned by 180°", 2, False),
    ("turned by 270°", 3, False),
    ("mirrored", 0, True),
    ("mirrored, turned by 90°", 1, True),
    ("mirrored, turned by 180°", 2, True),
    ("mirrored, turned by 270°", 3, True),
)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of images of which one can go: identical ones first, then the most alike.

    Attributes:
        names: of all images.
        places: (P, 2) int64, the earlier image of a pair first.
        how: of each pair: identical, nearly identical, or how the second is turned.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64]
    how: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.how)

    @property
    def removable(self) -> NDArray[np.int64]:
        """Places of the images that are a copy of an earlier one."""
        return np.unique(self.places[:, 1])


def find_duplicates(
    images: ImageSet, turned: bool = False, on_reading: OnReading = lambda done, count: None
) -> Duplicates:
    """Find copies by hashes of content and of looks, in memory that grows with the set and not its pairs.

    Near ones differ in at most 3 of 64 bits of a perceptual hash (`safelight.data.likeness`), and their grays
    correlate by 0.98 or more. An image of which more than four look alike is paired with four of them.

    Args:
        images: the set.
        turned: look for copies turned by quarters and mirrored, too.
        on_reading: called with the images looked at and all there are.

    Example:
        >>> import safelight
        >>> digits = safelight.load("digits", split="test")
        >>> twice = safelight.ImageSet(np.concatenate([digits.pixels, digits.pixels[:3]]), (0, 16))
        >>> [pair for pair in find_duplicates(twice).places.tolist() if pair[1] > 179]
        [[0, 180], [1, 181], [2, 182]]
    """
    traits = Traits(images, divided_as(images), on_reading)
    found = [(traits.copies, "identical"), (traits.near, "nearly identical")]
    if turned:
        found += _turned(images, traits.flat)
    places = np.concatenate([np.sort(pairs, axis=1) for pairs, _ in found])
    how = np.repeat([words for _, words in found], [len(pairs) for pairs, _ in found])
    first = np.sort(np.unique(places, axis=0, return_index=True)[1])  # the plainest way that a pair is alike
    return Duplicates(tuple(names_of(images)), places[first], tuple(how[first].tolist()))


def _turned(images: ImageSet, flat: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], str]]:
    """Pairs of which the second is the first turned, by how."""
    seen = np.flatnonzero(~flat)
    looks = _looks(images, seen, 0, False)
    found = []
    for words, quarters, mirrored in TURNS:
        others = _looks(images, seen, quarters, mirrored)
        pairs = near_pairs(np.concatenate([looks, others]))
        pairs = pairs[(pairs[:, 0] < len(seen)) & (pairs[:, 1] >= len(seen))]
        pairs[:, 1] -= len(seen)
        # each pair is found from both ends, where turning and turning back are the same
        pairs = seen[pairs[pairs[:, 0] != pairs[:, 1]]]
        order = np.lexsort((pairs[:, 0], pairs[:, 1]))
        rank = np.arange(len(order)) - np.searchsorted(pairs[order, 1], pairs[order, 1])
        pairs = pairs[order[rank < MOST_BEFORE]]
        alike = [_alike(images, a, b, quarters, mirrored) for a, b in pairs.tolist()]
        found.append((pairs[np.asarray(alike, bool)], words))
    return found


def _turn(gray: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """(..., H, W)."""
    return torch.rot90(gray.flip(-1) if mirrored else gray, quarters, (-2, -1))


def _looks(images: ImageSet, places: NDArray[np.int64], quarters: int, mirrored: bool) -> NDArray[np.uint64]:
    found = []
    for chunk in np.array_split(places, max(1, len(places) // 500)):
        for gray in _turn(gray_of(images.floats(chunk)), quarters, mirrored) if len(chunk) else ():
            found.append(look_hash(gray.numpy(), 0))
    return np.array(found, np.uint64)


def _alike(images: ImageSet, one: int, other: int, quarters: int, mirrored: bool) -> bool:
    """Whether the grays of an image, and of another that is turned, correlate."""
    x, y = gray_of(images.floats([one, other]).double())
    y = _turn(y, quarters, mirrored)
    if x.shape != y.shape:
        return False
    x, y = x - x.mean(), y - y.mean()
    return bool((x * y).sum() >= ALIKE * x.norm() * y.norm())
