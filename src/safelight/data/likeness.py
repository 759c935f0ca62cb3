"""Which pictures are copies of each other, or nearly: hashes of content and of looks, and groups of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["content_hash", "groups_of", "look_hash", "near_pairs"]

SIDE, KEPT = 32, 8  # of the thumbnail, and of the block of its lowest frequencies
FLAT = 2 / 255  # a standard deviation below which nothing is to be seen
NEAR = 3  # bits of 64 in which near-identical pictures differ at most
BAND = 16  # bits; two that differ in three of 64 agree in one of four bands
MOST_ALIKE = 64  # of one band that are all compared with each other
LARGEST = 0.05  # of a set, that a group of near ones may be


def content_hash(pixels: NDArray[np.generic]) -> int:
    """64 bits that are equal for equal pixels."""
    return int.from_bytes(
        hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest(), "little"
    )


def look_hash(gray: NDArray[np.float32], content: int) -> int:
    """64 bits that differ in few for pictures that look alike.

    The signs of the lowest frequencies of a thumbnail about their median (C. Zauner 2010, "Implementation and
    Benchmarking of Perceptual Image Hash Functions", section 3.2.1).

    Args:
        gray: (H, W), from 0 to 1.
        content: what stands for it where nothing is to be seen in it.

    Example:
        >>> gray = np.random.default_rng(0).random((48, 64)).astype(np.float32).cumsum(1)
        >>> gray /= gray.max()
        >>> dark, turned = look_hash(gray * 0.7 + 0.1, 0), look_hash(gray[::-1].copy(), 0)
        >>> (look_hash(gray, 0) ^ dark).bit_count() < 4 < (look_hash(gray, 0) ^ turned).bit_count()
        True
    """
    if gray.std() < FLAT:
        return content
    picture = Image.fromarray(np.ascontiguousarray(gray, np.float32))
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    waves = _cosines()
    low = (waves @ small @ waves.T).reshape(-1)
    signs = low > np.median(low[1:])  # the first is the brightness
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def near_pairs(looks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs of pictures whose hashes differ in at most three bits, (P, 2), in linear memory.

    Where very many agree in a band, only neighbours in the order of their hashes are compared.
    """
    found = []
    for shift in range(0, 64, BAND):
        turned = (looks << np.uint64(shift)) | (looks >> np.uint64((64 - shift) % 64)) if shift else looks
        order = np.argsort(turned, kind="stable")
        bands = turned[order] >> np.uint64(64 - BAND)
        begins = np.flatnonzero(np.r_[True, np.diff(bands) != 0])
        sizes = np.diff(np.r_[begins, len(order)])
        most = int(min(sizes.max(initial=1), MOST_ALIKE))
        for step in range(1, most):
            first, second = order[:-step], order[step:]
            near = bands[:-step] == bands[step:]
            first, second = first[near], second[near]
            near = _bits(looks[first] ^ looks[second]) <= NEAR
            found.append(np.stack([first[near], second[near]], axis=1))
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def groups_of(
    contents: NDArray[np.uint64], looks: NDArray[np.uint64] | None, belongs: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """(N,) numbers that are equal for copies, for near ones, and for what belongs together.

    Groups of near ones that take up more than a twentieth of the set say nothing, and are only copies.

    Args:
        contents: `content_hash` of each.
        looks: `look_hash` of each; without, near ones are not told.
        belongs: other numbers that are equal for what must stay together.

    Example:
        >>> groups_of(np.array([1, 2, 1, 3], np.uint64), np.array([0, 255, 0, 7], np.uint64)).tolist()
        [0, 1, 0, 0]
    """
    count = len(contents)
    copies = [_links(np.unique(contents, return_inverse=True)[1])]
    if belongs is not None:
        copies.append(_links(belongs))
    pairs = np.empty((0, 2), np.int64)
    if looks is not None:  # of a hundred that look the same, a hundred links are enough
        unique, first, which = np.unique(looks, return_index=True, return_inverse=True)
        pairs = np.concatenate([_links(which), first[near_pairs(unique)]])
    groups = _connected(count, [*copies, pairs])
    sizes = np.bincount(groups)
    too_large = sizes[groups] > max(10, LARGEST * count)
    if too_large.any():
        groups = _connected(count, [*copies, pairs[~too_large[pairs[:, 0]]]])
    return groups


def _links(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each with the next of its number, (P, 2)."""
    order = np.argsort(numbers, kind="stable")
    same = numbers[order[:-1]] == numbers[order[1:]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _connected(count: int, pairs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = np.concatenate(pairs)
    if not len(joined):
        return np.arange(count)
    ones = np.ones(len(joined), np.int8)
    graph = coo_array((ones, (joined[:, 0], joined[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _bits(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits of each are set."""
    bits = np.unpackbits(numbers.view(np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(bits.sum(1, dtype=np.int64))


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """(8, 32): the lowest cosines of the DCT-II."""
    k, x = np.arange(KEPT)[:, None], np.arange(SIDE)[None] + 0.5
    return np.cos(np.pi * k * x / SIDE).astype(np.float32)
