"""How good a classifier of a few labels may be, where no others are there to measure it on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.data.images import Divided, ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.labels.probes import linear_probe
from safelight.labels.spreading import neighbour_graph, spread_over
from safelight.tasks.calibration import interval

__all__ = ["FOLDS", "cross_validate", "folds_of", "has_others", "try_both"]

FOLDS = 5
MOST = 20_000  # images that labels are spread over, once for each fold


def has_others(images: ImageSet, divided: Divided) -> bool:
    """Whether a run has labels that it is not trained on, to measure it on once."""
    test = divided.test
    own = test is not None and test.labels is not None and bool((test.labels != UNKNOWN).any())
    return own or images.has_test_split


def folds_of(labels: NDArray[np.int64], seed: int = 0, folds: int = FOLDS) -> NDArray[np.int64]:
    """Deal labels into folds so that each class is spread over as many as it can be.

    Args:
        labels: (N,).
        seed: fixes who comes where.
        folds: how many.

    Returns:
        (N,) numbers of folds; -1 for the only label of a class, without which nothing is known of it.

    Example:
        >>> import numpy as np
        >>> sorted(folds_of(np.array([0, 0, 0, 1, 1, 2]), folds=3).tolist())
        [-1, 0, 0, 1, 1, 2]
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class
    found = np.empty(len(labels), np.int64)
    found[order] = np.arange(len(labels)) % folds
    found[np.bincount(labels)[labels] == 1] = UNKNOWN
    return found


def try_both(
    codes: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[dict[str, Any] | None, str]:
    """Whether labels are better spread over the unlabelled images, or used alone.

    Args:
        codes: as for `cross_validate`.
        labels: likewise.
        classes: likewise.

    Returns:
        What `cross_validate` found of the better way, and where that is labels alone, a note of why.
    """
    spread, alone = (cross_validate(codes, labels, classes, is_spread) for is_spread in (True, False))
    if spread is None or alone is None or alone["accuracy"] <= spread["accuracy"]:
        return spread, ""
    told = f"{alone['accuracy']:.1f}% of those hidden right, {spread['accuracy']:.1f}% if they are spread"
    return alone, f"labels: they are not spread over the unlabelled images, as alone they tell {told}"


def cross_validate(
    codes: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...], is_spread: bool
) -> dict[str, Any] | None:
    """How often labels are told right from the other labels and from codes that were learned without any.

    A fifth of the labels is hidden at a time. The classifier itself is not trained five times: the labels are
    what its first epoch takes the images for, or those of logistic regression where it is not to use the
    unlabelled images. It learns from the images too and mostly tells more of them right.

    Args:
        codes: (N, D) of an autoencoder.
        labels: (N,), -1 where unknown.
        classes: the K classes' names.
        is_spread: spread labels over the codes of all; else logistic regression on those of the labelled.

    Returns:
        accuracy: in percent.
        accuracy_low, accuracy_high: where it lies with 95% confidence (Wilson 1927).
        confusion: as in `Classify.evaluate`.
        n, images: labels that were hidden once, and images.
        method: what was done, in words.

        None where no class has two labels.
    """
    known = np.flatnonzero(labels != UNKNOWN)
    rest = np.flatnonzero(labels == UNKNOWN)
    fold = np.full(len(labels), UNKNOWN)
    fold[known] = folds_of(labels[known])
    hidden = np.flatnonzero(fold != UNKNOWN)
    if not len(hidden):
        return None
    if len(labels) > MOST:
        some = np.random.default_rng(0).permutation(rest)[: max(MOST - len(known), 0)]
        kept = np.sort(np.concatenate([known, some]))
        codes, labels, fold = codes[kept], labels[kept], fold[kept]
        hidden = np.flatnonzero(fold != UNKNOWN)
    graph = neighbour_graph(codes) if is_spread else None
    found = np.full(len(labels), UNKNOWN)
    for number in range(FOLDS):
        out = np.flatnonzero(fold == number)
        given = np.where(fold == number, UNKNOWN, labels)
        if not len(out):
            continue
        if graph is not None:
            found[out] = spread_over(graph, given, len(classes))[out].argmax(1)
        else:
            shown = np.flatnonzero(given != UNKNOWN)
            found[out] = linear_probe(codes[shown], given[shown]).predict(codes[out])
    right = int((found[hidden] == labels[hidden]).sum())
    low, high = interval(right, len(hidden))
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels[hidden], found[hidden]), 1)
    how = "spreading the others over its codes" if is_spread else "logistic regression on its codes"
    return {
        "accuracy": 100 * right / len(hidden),
        "accuracy_low": 100 * low,
        "accuracy_high": 100 * high,
        "confusion": {"classes": list(classes), "counts": counts.tolist()},
        "n": len(hidden),
        "images": len(fold),
        "method": f"{FOLDS} folds of the given labels, told by {how}, before the network was trained; "
        "too low where suggest chose the images, which are unlike each other",
    }
