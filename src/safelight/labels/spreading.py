"""Spreading a few labels over many images whose codes lie near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from safelight.data.label_files import UNKNOWN

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["certainty", "neighbour_graph", "spread", "spread_over"]

NEIGHBOURS = 10
ALPHA = 0.99
TOLERANCE = 1e-4


def spread(
    codes: NDArray[np.float32], labels: NDArray[np.int64], classes: int, neighbours: int = NEIGHBOURS
) -> NDArray[np.float32]:
    """What the classes of all images probably are, from those of a few and how near their codes lie.

    Args:
        codes: (N, D).
        labels: (N,) of 0 to K - 1, or -1 where unknown.
        classes: K, of each of which at least one image must be known.
        neighbours: of each image, that its label may come from.

    Returns:
        (N, K) probabilities. A known image has its own label alone; one that no known image can be reached
        from has all classes alike.

    Example:
        >>> import numpy as np
        >>> codes = np.array([[0], [1], [2], [10], [11], [12]], np.float32)
        >>> labels = np.array([0, -1, -1, -1, -1, 1])
        >>> spread(codes, labels, classes=2, neighbours=2).argmax(1)
        array([0, 0, 0, 1, 1, 1])
    """
    return spread_over(neighbour_graph(codes, neighbours), labels, classes)


def neighbour_graph(codes: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> csr_matrix:
    """Each image joined with its nearest ones, near ones more strongly; no image with itself.

    The affinity of x and y is exp(-|x - y|² / (s(x) s(y))), s being the distance to the furthest neighbour
    (Zelnik-Manor & Perona 2004, Self-Tuning Spectral Clustering), so that it needs no scale of its own.

    Args:
        codes: (N, D).
        neighbours: of each image.

    Returns:
        (N, N), symmetric.
    """
    from scipy.sparse import csr_matrix  # slow to import
    from sklearn.neighbors import NearestNeighbors

    n = len(codes)
    k = min(neighbours, n - 1)
    distances, places = NearestNeighbors(n_neighbors=k).fit(codes).kneighbors()  # each image itself left out
    scales = np.maximum(distances[:, -1:], 1e-12)
    weights = np.exp(-(distances**2) / (scales * scales[places, 0]))
    rows = np.repeat(np.arange(n), k)
    directed = csr_matrix((weights.ravel(), (rows, places.ravel())), shape=(n, n))
    return directed.maximum(directed.T)


def spread_over(graph: csr_matrix, labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Spread labels over a graph: F = (I - αS)⁻¹ Y, S = D^-½ W D^-½ (Zhou et al. 2004, equation 4).

    Each class's column of F is then divided by its sum: a class does not grow by being labelled more often,
    or by having its labels where the graph is dense.

    Args:
        graph: W, (N, N), as `neighbour_graph` gives it.
        labels: (N,) of 0 to K - 1, or -1 where unknown.
        classes: K.

    Returns:
        (N, K) probabilities, as `spread` gives them.
    """
    from scipy.sparse import diags, identity  # slow to import
    from scipy.sparse.linalg import cg

    known = np.flatnonzero(labels != UNKNOWN)
    sources = np.zeros((len(labels), classes))
    sources[known, labels[known]] = 1
    roots = diags(1 / np.sqrt(np.maximum(np.asarray(graph.sum(1)).ravel(), 1e-12)))
    system = identity(len(labels)) - ALPHA * (roots @ graph @ roots)  # symmetric and positive definite
    columns = [cg(system, column, rtol=TOLERANCE)[0] for column in sources.T]
    reached = np.maximum(np.stack(columns, 1), 0)  # (N, K); rounding may leave a little below zero
    shares = reached / np.maximum(reached.sum(0), 1e-12)
    totals = shares.sum(1, keepdims=True)
    uniform = np.full_like(shares, 1 / classes)
    probabilities: NDArray[np.float64] = np.divide(shares, totals, out=uniform, where=totals > 0)
    probabilities[known] = sources[known]
    return np.asarray(probabilities, np.float32)


def certainty(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How sure they are: 1 - H(p) / log K, from 0 (all classes alike) to 1 (one class alone).

    Iscen et al. (2019), Label Propagation for Deep Semi-supervised Learning, equation 11.

    Args:
        probabilities: (N, K).

    Returns:
        (N,).

    Example:
        >>> import numpy as np
        >>> certainty(np.array([[1, 0], [0.5, 0.5]], np.float32)).tolist()
        [1.0, 0.0]
    """
    logs = np.log(np.maximum(probabilities, 1e-12))
    entropies = -(probabilities * logs).sum(1)
    return cast(NDArray[np.float32], np.clip(1 - entropies / np.log(probabilities.shape[1]), 0, 1))
