"""The settings of a map of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safelight.config.reading import MAX_COUNT, check, check_seed

__all__ = ["MAX_PAGE_IMAGES", "MapConfig", "PageConfig"]

MAX_PAGE_IMAGES = 70_000
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class MapConfig:
    """How codes are projected onto a plane or into space.

    Attributes:
        method: pca, tsne (openTSNE; planes only) or umap (with safelight[umap])
        dims: dimensions of the map, 2 or 3
        n: the most images to show, chosen at random
        sampled: show a draw from each image's q(z | x), as the original report did, instead of its mean
        perplexity: of t-SNE, about how many neighbours a point is held to
        neighbours: of UMAP, how many neighbours a point is held to
        metric: of codes; cosine compares their directions alone
        seed: fixes the choice of images, the draws and the map
    """

    method: Literal["pca", "tsne", "umap"] = "pca"
    dims: int = 2
    n: int = 20_000
    sampled: bool = False
    perplexity: float = 30.0
    neighbours: int = 15
    metric: Metric = "euclidean"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.dims in (2, 3), "dims", "2 or 3", self.dims)
        check(
            self.method != "tsne" or self.dims == 2,
            "dims",
            "2 for t-SNE (pca and umap also make maps of 3)",
            self.dims,
        )
        check(1 <= self.n <= MAX_COUNT, "n", f"1 to {MAX_COUNT:,} images", self.n)
        check(1 <= self.perplexity <= MAX_COUNT, "perplexity", f"1 to {MAX_COUNT:,}", self.perplexity)
        check(2 <= self.neighbours <= MAX_COUNT, "neighbours", f"2 to {MAX_COUNT:,}", self.neighbours)
        check_seed(self.seed)


@dataclass(frozen=True)
class PageConfig:
    """What the page of a run shows.

    Attributes:
        n: the most training images to show, chosen at random
        map: tsne (openTSNE) or umap (with safelight[umap]), beside PCA
        perplexity: of t-SNE, about how many neighbours a point is held to
        neighbours: of UMAP, how many neighbours a point is held to
        metric: of codes; cosine compares their directions alone
    """

    n: int = 10_000
    map: Literal["tsne", "umap"] = "tsne"
    perplexity: float = MapConfig.perplexity
    neighbours: int = MapConfig.neighbours
    metric: Metric = "euclidean"

    def __post_init__(self) -> None:
        check(1 <= self.n <= MAX_PAGE_IMAGES, "n", f"1 to {MAX_PAGE_IMAGES:,} images", self.n)
        self.map_config(self.map, 2)

    def map_config(self, method: Literal["pca", "tsne", "umap"], dims: int) -> MapConfig:
        """One of the page's maps."""
        return MapConfig(
            method, dims, self.n, perplexity=self.perplexity, neighbours=self.neighbours, metric=self.metric
        )
