"""Which images to label next: those that stand for many others."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.config.reading import check_seed, whole
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN, names_of, read_labels
from safelight.errors import ConfigError
from safelight.files import write_file
from safelight.labels.spreading import certainty
from safelight.labels.training import codes_of
from safelight.networks.base import Network
from safelight.tasks.classify import Predictions

__all__ = ["suggest", "suggest_images", "write_suggestions"]

CLUSTERS = 4  # at most, for each image to choose


def suggest(
    codes: NDArray[np.float32],
    count: int,
    known: NDArray[np.bool_] | None = None,
    weights: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Choose images to label.

    The codes are divided by k-means into as many clusters as there will be labels, but at most `CLUSTERS` for
    each that is to be chosen, so that it takes no longer where many are labelled. Of the largest of those
    with the fewest labels, mostly none, the image nearest to the center is chosen. Cf. Hacohen et al. (2022),
    Active Learning on a Budget, section 3.

    Args:
        codes: (N, D).
        count: images to choose.
        known: (N,), those that have a label; none by default.
        weights: (N,), how much each image counts, such as how unsure a classifier is of it.
        seed: fixes where k-means starts.

    Raises:
        ConfigError: there are not so many images without a label.

    Returns:
        (count,) their places, those of the largest clusters first.

    Example:
        >>> import numpy as np
        >>> codes = np.array([[0], [1], [2], [10], [11]], np.float32)
        >>> suggest(codes, 2).tolist()
        [1, 3]
    """
    from sklearn.cluster import MiniBatchKMeans  # scikit-learn takes half a second to import

    known = np.zeros(len(codes), bool) if known is None else known
    count, seed = whole("count", count, 0), check_seed(seed)
    if not 1 <= count <= len(codes) - known.sum():
        raise ConfigError(
            f"count: expected from 1 to {len(codes) - known.sum()}, the images without a label, got {count}"
        )
    if weights is None or not weights.any():  # a classifier may be entirely sure of every image
        weights = np.ones(len(codes), np.float32)
    most = min(count + int(known.sum()), CLUSTERS * count, len(np.unique(codes, axis=0)))
    k_means = MiniBatchKMeans(most, n_init=1, batch_size=4096, random_state=seed % 2**32)
    clusters = k_means.fit_predict(codes, sample_weight=weights)
    distances = ((codes - k_means.cluster_centers_[clusters]) ** 2).sum(1)
    sizes = np.bincount(clusters[~known], weights[~known], minlength=most)
    order = np.lexsort((-sizes, np.bincount(clusters[known], minlength=most)))
    largest = [k for k in order if sizes[k] > 0][:count]
    distances[known] = np.inf
    chosen = [np.flatnonzero(clusters == k)[distances[clusters == k].argmin()] for k in largest]
    others = np.setdiff1d(np.flatnonzero(~known), chosen)  # where images are alike there are fewer clusters
    more = np.random.default_rng(seed).choice(others, count - len(chosen), replace=False)
    return np.array([*chosen, *more], np.int64)


def suggest_images(
    network: Network,
    images: ImageSet,
    count: int,
    labels: str | os.PathLike[str] | None = None,
    found: Predictions | None = None,
    seed: int = 0,
    encoding: str | None = None,
    among: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Choose images to label by what a network makes of them.

    Args:
        network: of an autoencoder or a classifier.
        images: to choose from.
        count: images to choose.
        labels: a file of those that are labelled already, as `read_labels` reads it.
        found: a classifier's predictions; the less sure they are, the more an image counts.
        seed: fixes where k-means starts.
        encoding: of the file, as for `read_labels`.
        among: the places of those to choose from, such as the training images; by default all.

    Returns:
        (count,) their places.

    Raises:
        ConfigError: there are not so many images without a label.
        DataError: the labels cannot be read.
        RunError: the network has no codes.
    """
    places = np.arange(len(images)) if among is None else among
    given = None if labels is None else read_labels(labels, names_of(images), encoding).numbers[places]
    known = None if given is None else given != UNKNOWN
    weights = None if found is None else 1 - certainty(found.probabilities[places])
    return places[suggest(codes_of(network, images.subset(places)), count, known, weights, seed)]


def write_suggestions(path: Path, names: Sequence[str], chosen: NDArray[np.int64]) -> None:
    """Write a table of "filename" and an empty "label", to be filled in.

    Args:
        path: of the file.
        names: of all images.
        chosen: the places of those to label.

    Raises:
        RunError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename", "label"))
    writer.writerows((names[place], "") for place in chosen)
    write_file(path, text.getvalue())
