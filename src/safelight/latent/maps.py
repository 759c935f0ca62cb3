"""Maps of codes: PCA, t-SNE and UMAP, each with what it kept of the codes' neighbourhoods."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from safelight.config.latent import MapConfig
from safelight.config.reading import from_dict, to_dict
from safelight.errors import ConfigError, DataError
from safelight.latent.codes import Codes
from safelight.latent.measures import MapQuality, map_quality, neighbours
from safelight.latent.parquet import read_table, write_table
from safelight.machine import derive_seed
from safelight.showing import table

__all__ = ["LatentMap", "clusters", "project", "read_map", "write_map"]

AXES = ("x", "y", "z")
CLUSTERS = 10
EXAGGERATED, ITERATIONS = 250, 750  # of t-SNE: with early exaggeration, and after
EXAGGERATION = 12
REPORTED = 25  # iterations between two calls of on_progress
SHOWN, SIDE = 2000, 420  # points and pixels in a notebook
LEAST = 4  # points for anything but PCA
MANY = 10_000  # points from which t-SNE's repulsion is quicker by FFT than by a Barnes-Hut tree

OnProgress = Callable[[int, int], object]
Matrix = NDArray[np.float64]
Shares = tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Where codes lie on a plane or in space.

    Attributes:
        points: (n, 2) or (n, 3) float32.
        names: of the images, one a point.
        labels: (n,) int64, or None.
        clusters: (n,) int64, which of at most ten k-means clusters of the codes a point belongs to.
        reconstruction: (n,) float32, -log p(x | z) in nats with z at the mean.
        config: how it was made, with what was adjusted to the codes.
        explained_variance: each axis's share of the codes' variance, for PCA.
        quality: what it kept of the neighbourhoods, or None for a few points.
        notes: what had to be adjusted or left out, one sentence each.
    """

    points: NDArray[np.float32]
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    clusters: NDArray[np.int64]
    reconstruction: NDArray[np.float32]
    config: MapConfig
    explained_variance: tuple[float, ...] | None
    quality: MapQuality | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"LatentMap({len(self)} points, {self.config.method})"

    def _repr_html_(self) -> str:
        """At most 2,000 of the points, for notebooks, coloured by label or else by cluster."""
        groups = self.clusters if self.labels is None else self.labels
        step = -(-len(self) // SHOWN)
        points, groups = self.points[::step, :2], groups[::step]
        low, high = points.min(0), points.max(0)
        places = SIDE * (0.02 + 0.96 * (points - low) / np.maximum(high - low, 1e-12))
        hues = 360 * np.unique(groups, return_inverse=True)[1] / max(1, len(np.unique(groups)))
        dots = "".join(
            f'<circle cx="{x:.1f}" cy="{SIDE - y:.1f}" r="2.5" fill="hsl({hue:.0f} 65% 50%)"/>'
            for (x, y), hue in zip(places, hues, strict=True)
        )
        trusted = [("trustworthiness", f"{self.quality.trustworthiness:.3f}")] if self.quality else []
        rows = [("map", self.config.method), ("points", f"{len(self):,}"), *trusted]
        return table(rows) + f'<svg width="{SIDE}" height="{SIDE}" role="img">{dots}</svg>'


def project(
    codes: Codes, config: MapConfig | None = None, on_progress: OnProgress | None = None
) -> LatentMap:
    """Map codes onto a plane or into space.

    PCA as in the original report; t-SNE (van der Maaten & Hinton 2008) by openTSNE with exact neighbours,
    FFT-accelerated repulsion (Linderman et al. 2019) from 10,000 codes on, a PCA start and the rates of
    Belkina et al. (2019); UMAP (McInnes et al. 2018) by umap-learn. What the codes do not allow is adjusted,
    and said in `notes`.

    Args:
        codes: of any number of images.
        config: method, dimensions, number of images and so on; PCA onto a plane by default.
        on_progress: called with the iterations of t-SNE that are done and those there are.

    Raises:
        ConfigError: UMAP is not installed.
        DataError: no code is finite.

    Example:
        >>> import safelight
        >>> from safelight.latent.codes import encode
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> codes = encode(DeepConvVAE((1, 8, 8)), Bernoulli(), safelight.load("digits"))
        >>> latent_map = project(codes, MapConfig(n=500))
        >>> latent_map.points.shape, len(latent_map.explained_variance)
        ((500, 2), 2)
    """
    config = config or MapConfig()
    notes: list[str] = []
    codes = _chosen(codes, config, notes)
    x = np.asarray(codes.sampled(config.seed) if config.sampled else codes.mu, np.float64)  # (n, D)
    if config.metric == "cosine":  # on the sphere the nearest in angle are the nearest
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    config = _allowed(config, codes, x, notes)
    points, explained = METHODS[config.method](x, config, on_progress)
    return LatentMap(
        points=points.astype(np.float32),
        names=codes.names,
        labels=codes.labels,
        clusters=clusters(x, config.seed),
        reconstruction=codes.reconstruction,
        config=config,
        explained_variance=explained,
        quality=map_quality(x, points, config.seed),
        notes=tuple(notes),
    )


def _chosen(codes: Codes, config: MapConfig, notes: list[str]) -> Codes:
    """The finite codes, at most `config.n` of them."""
    finite = codes.finite()
    if len(finite) < len(codes):
        notes.append(f"left out {len(codes) - len(finite):,} codes that hold NaN or infinity")
    if len(finite) <= config.n:
        return finite
    order = np.random.default_rng(derive_seed(config.seed, "codes of the map")).permutation(len(finite))
    return finite.subset(np.sort(order[: config.n]))


def _allowed(config: MapConfig, codes: Codes, x: Matrix, notes: list[str]) -> MapConfig:
    """The nearest to `config` that the codes allow."""
    n, dimensions = x.shape
    if config.sampled and codes.logvar is None:
        notes.append("the codes are points: a draw of one is the code itself")
    if np.ptp(x, 0).max() == 0:
        notes.append("one code is one point" if n == 1 else "all codes are equal: the map is one point")
        return replace(config, method="pca")
    if config.method != "pca" and n < LEAST:
        notes.append(f"{n} images are too few for {config.method}: the map is their PCA")
        config = replace(config, method="pca")
    if config.method == "pca" and min(dimensions, n - 1) < config.dims:
        why = f"{n} images" if n - 1 < dimensions else f"codes of {dimensions} dimensions"
        notes.append(f"{why} span {min(dimensions, n - 1)} of the map's {config.dims} axes: the rest are 0")
    most = (n - 1) / 3
    if config.method == "tsne" and config.perplexity > most:
        notes.append(f"{n} images allow a perplexity of {most:.3g}, not {config.perplexity:g}")
        config = replace(config, perplexity=most)
    if config.method == "umap" and config.neighbours > n - 1:
        notes.append(f"{n} images allow {n - 1} neighbours, not {config.neighbours}")
        config = replace(config, neighbours=n - 1)
    return config


def _pca(x: Matrix, config: MapConfig, _: object = None) -> tuple[Matrix, Shares]:
    """The directions of most variance; what there is no direction for stays 0."""
    from sklearn.decomposition import PCA

    points = np.zeros((len(x), config.dims))
    components = min(config.dims, x.shape[1], len(x) - 1)
    if components == 0 or np.ptp(x, 0).max() == 0:
        return points, None
    pca = PCA(components, svd_solver="full")
    points[:, :components] = pca.fit_transform(x)
    return points, tuple(map(float, pca.explained_variance_ratio_))


def _tsne(x: Matrix, config: MapConfig, on_progress: OnProgress | None) -> tuple[Matrix, Shares]:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    near = PrecomputedNeighbors(*neighbours(x, min(len(x) - 1, int(3 * config.perplexity))))
    threads = torch.get_num_threads()
    noise = np.random.default_rng(derive_seed(config.seed, "t-SNE"))
    start = _pca(x, config)[0]
    start = start / start[:, 0].std() + noise.normal(scale=0.01, size=start.shape)  # so that equal codes part
    done = 0

    def step(iteration: int, *_: object) -> None:
        if on_progress is not None:
            on_progress(done + iteration, EXAGGERATED + ITERATIONS)

    embedding = TSNEEmbedding(
        1e-4 * start,
        PerplexityBasedNN(perplexity=config.perplexity, knn_index=near, n_jobs=threads),
        negative_gradient_method="fft" if len(x) >= MANY else "bh",
        n_jobs=threads,
        callbacks=[step],
        callbacks_every_iters=REPORTED,
    )
    rate = max(200.0, len(x) / EXAGGERATION)  # also afterwards: a larger one leaves neighbourhoods coarser
    embedding = embedding.optimize(EXAGGERATED, exaggeration=EXAGGERATION, momentum=0.5, learning_rate=rate)
    done = EXAGGERATED
    embedding = embedding.optimize(ITERATIONS, momentum=0.8, learning_rate=rate)
    return np.asarray(embedding, np.float64), None


def _umap(x: Matrix, config: MapConfig, _: object) -> tuple[Matrix, Shares]:
    start = _pca(x, config)[0]
    reducer = _umap_class()(
        n_neighbors=config.neighbours,
        n_components=config.dims,
        init=10 * start / np.abs(start).max(),
        random_state=config.seed % 2**32,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(x), np.float64), None


def _umap_class() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TensorFlow, which it could also use
            try:
                from umap import UMAP
            except RuntimeError:  # neither its own folder nor the user's can hold what numba compiles
                import numba

                settings: Any = numba.config
                settings.CACHE_DIR = _compiled().name
                from umap import UMAP
    except ImportError:
        raise ConfigError("method: umap is an extra; install it with pip install 'safelight[umap]'") from None
    return UMAP


@lru_cache(maxsize=1)
def _compiled() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="safelight-numba-")


METHODS: dict[str, Callable[[Matrix, MapConfig, OnProgress | None], tuple[Matrix, Shares]]] = {
    "pca": _pca,
    "tsne": _tsne,
    "umap": _umap,
}


def clusters(x: NDArray[np.floating[Any]], seed: int = 0) -> NDArray[np.int64]:
    """Which of at most ten k-means clusters each code belongs to, the largest first.

    Args:
        x: (N, D), finite.
        seed: fixes the start.

    Example:
        >>> clusters(np.repeat([[0.0], [1.0]], [3, 5], axis=0)).tolist()
        [1, 1, 1, 0, 0, 0, 0, 0]
    """
    from sklearn.cluster import KMeans

    different = len(np.unique(x, axis=0))
    if different == 1:
        return np.zeros(len(x), np.int64)
    found = KMeans(min(CLUSTERS, different), n_init=1, random_state=seed % 2**32).fit_predict(x)
    order = np.argsort(-np.bincount(found), kind="stable")
    return np.asarray(np.argsort(order)[found], np.int64)


def write_map(latent_map: LatentMap, path: Path) -> None:
    """Write a map as a Parquet file: name, label, cluster, reconstruction, x, y and, in space, z.

    Under the key "safelight" its metadata hold, as JSON, how it was made, its measures and its notes.

    Args:
        latent_map: the map.
        path: the file to make or to replace.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    n = len(latent_map)
    columns = {
        "name": pa.array(latent_map.names, pa.string()),
        "label": pa.nulls(n, pa.int64()) if latent_map.labels is None else pa.array(latent_map.labels),
        "cluster": pa.array(latent_map.clusters),
        "reconstruction": pa.array(latent_map.reconstruction),
        **{axis: pa.array(column) for axis, column in zip(AXES, latent_map.points.T, strict=False)},
    }
    about = {
        "kind": "map",
        "config": to_dict(latent_map.config),
        "explained_variance": latent_map.explained_variance,
        "quality": latent_map.quality and latent_map.quality._asdict(),
        "notes": latent_map.notes,
    }
    write_table(pa.table(columns), path, about)


def read_map(path: str | os.PathLike[str]) -> LatentMap:
    """Read what `write_map` wrote.

    Raises:
        DataError: it is missing, damaged, too large for memory, or none of ours.
    """
    table, about = read_table(path, "map")
    try:
        explained, quality = about["explained_variance"], about["quality"]
        return LatentMap(
            points=np.stack([table[axis].to_numpy() for axis in AXES if axis in table.column_names], 1),
            names=tuple(table["name"].to_pylist()),
            labels=None if table["label"].null_count else table["label"].to_numpy(),
            clusters=table["cluster"].to_numpy(),
            reconstruction=table["reconstruction"].to_numpy(),
            config=from_dict(MapConfig, about["config"], str(path)),
            explained_variance=explained and tuple(map(float, explained)),
            quality=quality and MapQuality(**quality),
            notes=tuple(map(str, about["notes"])),
        )
    except (KeyError, TypeError, ValueError, ConfigError, pa.ArrowException) as error:
        raise DataError(f"{path} does not hold a map ({error}); make it with safelight project") from None
