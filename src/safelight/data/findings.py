"""The table of what `data check` looks for: each kind in words, and the function that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.data.images import ImageSet
from safelight.data.traits import ALIKE, PARTS, Row, Traits

__all__ = ["KINDS", "Kind", "class_counts"]

EXTREMES = 12  # brightest and darkest images that are shown
NOTHING_BRIGHT, NOTHING_DARK = 0.3, 0.9  # of which a dark image stays below, and a light one above
SPREADS = 3  # standard deviations about the mean that hold what there is to see
SOFT = 3.5  # robust standard deviations; B. Iglewicz & D. Hoaglin 1993, "How to Detect and Handle Outliers"
ODD_SIDE, ODD_SHAPE = 4.0, 2.5  # times the usual
FEW = 10  # images of a class, of which validation or test may get none


@dataclass(frozen=True)
class Kind:
    """A kind of findings.

    Attributes:
        name: in JSON and in links.
        title: for people.
        meaning: what it means, and what to do.
        find: what there is of it, the worst first.
        is_fault: whether it is something that one would rather not have.
    """

    name: str
    title: str
    meaning: str
    find: Callable[[Traits], Iterator[Row]]
    is_fault: bool = True


def class_counts(images: ImageSet) -> tuple[tuple[str, int], ...]:
    """The classes of a set, and how many images each has."""
    if images.labels is None:
        return ()
    known = images.labels[images.labels >= 0]
    counts = np.bincount(known, minlength=len(images.classes or ()))
    names = images.classes or [str(number) for number in range(len(counts))]
    return tuple(
        (name, int(count)) for name, count in zip(names, counts, strict=True) if count or images.classes
    )


def _sorted(chosen: NDArray[np.bool_], by: NDArray[Any]) -> NDArray[np.int64]:
    """Places of those chosen, the least first."""
    places = np.flatnonzero(chosen)
    return places[np.argsort(by[places], kind="stable")]


def _left_out(traits: Traits) -> Iterator[Row]:
    for entry in traits.images.store.left_out if traits.images.store else ():
        yield Row((entry.name,), entry.reason)


def _same(traits: Traits) -> Iterator[Row]:
    return traits.pairs(traits.copies, lambda a, b: "")


def _near(traits: Traits) -> Iterator[Row]:
    return traits.pairs(traits.near, lambda a, b: "")


def _contrary(traits: Traits) -> Iterator[Row]:
    for row in _same(traits):
        one, other = (traits.class_of(place) for place in row.places)
        if one is not None and other is not None and one != other:
            yield replace(row, remark=f"{one} and {other}")


def _leaks(traits: Traits) -> Iterator[Row]:
    for pairs, how in ((traits.copies, "identical"), (traits.near, "nearly so")):
        crossing = pairs[traits.parts[pairs[:, 0]] != traits.parts[pairs[:, 1]]]
        for row in traits.pairs(
            crossing, lambda a, b: f"{PARTS[traits.parts[a]]} and {PARTS[traits.parts[b]]}"
        ):
            yield replace(row, remark=f"{row.remark}, {how}")


def _constant(traits: Traits) -> Iterator[Row]:
    return traits.rows(
        _sorted(traits.flat, traits.contrast),
        lambda place: f"contrast {traits.contrast[place]:.4f}, brightness {traits.mean[place]:.2f}",
    )


def _dark(traits: Traits) -> Iterator[Row]:
    highest = traits.mean + SPREADS * traits.contrast
    return _by_brightness(traits, _sorted(~traits.flat & (highest < NOTHING_BRIGHT), traits.mean))


def _light(traits: Traits) -> Iterator[Row]:
    lowest = traits.mean - SPREADS * traits.contrast
    return _by_brightness(traits, _sorted(~traits.flat & (lowest > NOTHING_DARK), -traits.mean))


def _darkest(traits: Traits) -> Iterator[Row]:
    return _by_brightness(traits, np.argsort(traits.mean, kind="stable")[:EXTREMES])


def _brightest(traits: Traits) -> Iterator[Row]:
    return _by_brightness(traits, np.argsort(-traits.mean, kind="stable")[:EXTREMES])


def _by_brightness(traits: Traits, places: NDArray[np.int64]) -> Iterator[Row]:
    return traits.rows(places, lambda place: f"brightness {traits.mean[place]:.3f}")


def _blurred(traits: Traits) -> Iterator[Row]:
    seen = ~traits.flat & (traits.sharpness > 0)
    if not seen.any():
        return
    # over the variance of the grays, as else a pale image would count as a blurred one
    edges = np.full(len(seen), np.inf)
    edges[seen] = np.log(traits.sharpness[seen] / traits.contrast[seen] ** 2)
    usual = float(np.median(edges[seen]))
    spread = 1.4826 * float(np.median(np.abs(edges[seen] - usual)))
    yield from traits.rows(
        _sorted(edges < usual - SOFT * spread, edges) if spread else np.empty(0, np.int64),
        lambda place: f"{np.exp(edges[place] - usual):.1%} of the usual sharpness",
    )


def _odd_size(traits: Traits) -> Iterator[Row]:
    side = np.log(np.sqrt(traits.width[traits.first] * traits.height[traits.first].astype(float)))
    return _odd(traits, side, ODD_SIDE)


def _odd_shape(traits: Traits) -> Iterator[Row]:
    return _odd(traits, np.log(traits.width[traits.first] / traits.height[traits.first]), ODD_SHAPE)


def _odd(traits: Traits, logs: NDArray[Any], most: float) -> Iterator[Row]:
    """Pictures of which something, given as its logarithm, is so many times more or less than usual."""
    away = np.abs(logs - np.median(logs))
    places = traits.first[_sorted(away > np.log(most), -away)]
    return traits.rows(places, lambda place: f"{traits.width[place]}×{traits.height[place]}")


def _odd_colour(traits: Traits) -> Iterator[Row]:
    if traits.images.shape[0] != 3:
        return
    gray, coloured = traits.is_gray & ~traits.flat, ~traits.is_gray & ~traits.flat
    few, words = (gray, "gray") if gray.sum() <= coloured.sum() else (coloured, "coloured")
    yield from traits.rows(np.flatnonzero(few), lambda place: words)


def _clipped(traits: Traits) -> Iterator[Row]:
    first = traits.first
    places = first[_sorted(traits.clipped[first] > 0, -traits.clipped[first])]
    return traits.rows(places, lambda place: f"{traits.clipped[place]:,} values")


def _few(traits: Traits) -> Iterator[Row]:
    for name, count in sorted(class_counts(traits.images), key=lambda row: row[1]):
        if count < FEW:
            yield Row((name,), f"{count} image{'s' * (count != 1)}")


KINDS: Sequence[Kind] = (
    Kind("left_out", "Left out", "These files could not be taken. Replace or remove them.", _left_out),
    Kind(
        "leaks",
        "In two parts",
        "These are in two of training, validation and test images, so a test would ask what was learned by "
        "heart. Remove one of each pair, or divide anew.",
        _leaks,
    ),
    Kind(
        "contrary",
        "Identical, of two classes",
        "The same image stands for two classes. One label is wrong.",
        _contrary,
    ),
    Kind("copies", "Identical", "The same pixels, once they are fitted, in two files or more.", _same),
    Kind(
        "near",
        "Nearly identical",
        "They look alike: encoded again, scaled, lightened, or taken one after the other. Their hashes "
        f"differ in at most 3 of 64 bits, and their grays correlate by {ALIKE} or more.",
        _near,
    ),
    Kind("constant", "Nothing to see", "One colour, or nearly so: there is nothing to learn.", _constant),
    Kind("dark", "Dark", f"Hardly anything in them is brighter than {NOTHING_BRIGHT:.0%} of white.", _dark),
    Kind("light", "Pale", f"Hardly anything in them is darker than {NOTHING_DARK:.0%} of white.", _light),
    Kind(
        "blurred",
        "Blurred",
        f"Their edges are softer than the set's by more than {SOFT} of its standard deviations (of the "
        "logarithm of the Laplacian's variance over that of the grays). So are pictures that were enlarged.",
        _blurred,
    ),
    Kind(
        "odd_size", "Of an odd size", f"More than {ODD_SIDE:g} times larger or smaller than usual.", _odd_size
    ),
    Kind(
        "odd_shape",
        "Of odd proportions",
        f"More than {ODD_SHAPE:g} times wider or higher than usual.",
        _odd_shape,
    ),
    Kind(
        "odd_colour",
        "Odd in colour",
        "Gray ones among coloured, or coloured ones among gray: of whichever there are fewer.",
        _odd_colour,
    ),
    Kind(
        "clipped",
        "Beyond black or white",
        "Values outside of black and white were taken for these. Say what these are with --range.",
        _clipped,
    ),
    Kind(
        "few",
        "Classes of few images",
        f"With fewer than {FEW}, validation or test may get none.",
        _few,
    ),
    Kind("darkest", "The darkest", "For comparison.", _darkest, is_fault=False),
    Kind("brightest", "The brightest", "For comparison.", _brightest, is_fault=False),
)
