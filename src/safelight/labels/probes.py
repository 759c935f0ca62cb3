"""How good are codes? Simple classifiers on codes that stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.errors import DataError
from safelight.labels.training import codes_of
from safelight.networks.base import Network

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = ["Coded", "cluster_accuracy", "linear_probe", "probe", "probe_network"]

NEIGHBOURS = 5


class Coded(NamedTuple):
    """Codes (N, D) and what they are of, (N,)."""

    codes: NDArray[np.float32]
    labels: NDArray[np.int64]


def probe(train: Coded, test: Coded, seed: int = 0) -> dict[str, float]:
    """Judge codes by how well their images' classes can be told from them.

    Args:
        train: what the classifiers learn from; images whose label is -1 are left out.
        test: what they are judged on.
        seed: fixes where k-means starts.

    Returns:
        linear: accuracy of logistic regression, in percent.
        neighbours: accuracy of the 5 nearest neighbours' vote, in percent.
        clusters: accuracy of as many k-means clusters as there are classes, each given the class that makes
            most right in all, in percent; learned without labels.
        mutual_information: of clusters and classes, from 0 to 1, normalized by the mean of their entropies.

    Example:
        >>> import safelight
        >>> digits = safelight.load("digits")
        >>> coded = Coded(digits.floats().flatten(1).numpy(), digits.labels)
        >>> judged = probe(coded, coded)
        >>> judged["linear"] > judged["clusters"] > 60
        True
    """
    from sklearn.cluster import KMeans  # scikit-learn takes half a second to import
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.neighbors import KNeighborsClassifier

    known = train.labels != UNKNOWN
    codes, labels = train.codes[known], train.labels[known]
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(codes))).fit(codes, labels)
    most = min(len(np.unique(labels)), len(np.unique(train.codes, axis=0)))
    k_means = KMeans(most, n_init=4, random_state=seed % 2**32).fit(train.codes)
    clusters = k_means.predict(test.codes)
    return {
        "linear": 100 * float(linear_probe(codes, labels).score(test.codes, test.labels)),
        "neighbours": 100 * float(neighbours.score(test.codes, test.labels)),
        "clusters": 100 * cluster_accuracy(clusters, test.labels),
        "mutual_information": float(normalized_mutual_info_score(test.labels, clusters)),
    }


def probe_network(network: Network, train: ImageSet, test: ImageSet) -> dict[str, float]:
    """Judge a network's codes as `probe` does.

    Args:
        network: with codes.
        train: what the classifiers learn from.
        test: what they are judged on; images whose label is not known are left out.

    Returns:
        What `probe` does, and "n" images that it rests on, of "images".

    Raises:
        DataError: the images have no labels.
        RunError: the network has no codes.
    """
    shown, known = (
        np.flatnonzero([] if images.labels is None else images.labels != UNKNOWN) for images in (train, test)
    )
    if not (len(shown) and len(known)):
        raise DataError("expected images with labels, got none; probe a run on a set that has them")
    judged = test.subset(known)
    coded = [Coded(codes_of(network, images), cast(Any, images.labels)) for images in (train, judged)]
    return probe(coded[0], coded[1]) | {"n": len(known), "images": len(test)}


def linear_probe(codes: NDArray[np.float32], labels: NDArray[np.int64]) -> LogisticRegression:
    """Logistic regression, with a penalty of weight 1 on codes scaled to a standard deviation of 1 over all.

    Args:
        codes: (N, D).
        labels: (N,).

    Returns:
        A fitted scikit-learn classifier of codes as they are.
    """
    from sklearn.linear_model import LogisticRegression

    scale = max(float(codes.std()), 1e-12)
    regression = LogisticRegression(max_iter=1000).fit(codes / scale, labels)
    regression.coef_ /= scale
    return regression


def cluster_accuracy(clusters: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of images that are right when each cluster is given another class, in the best way.

    The assignment is Kuhn's (1955); Xie et al. (2016), Unsupervised Deep Embedding, equation 10.

    Args:
        clusters: (N,), numbers from 0.
        labels: (N,), numbers from 0.

    Returns:
        From 0 to 1.

    Example:
        >>> import numpy as np
        >>> cluster_accuracy(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 0]))
        0.75
    """
    from scipy.optimize import linear_sum_assignment

    size = int(max(clusters.max(), labels.max())) + 1
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (clusters, labels), 1)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(labels))
