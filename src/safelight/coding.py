"""A run's codes: what its encoder makes of images, and what that is good for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.latent import MapConfig
from safelight.config.reading import from_dict
from safelight.data.arrays import array_of
from safelight.data.finding import Images
from safelight.data.images import at_once
from safelight.data.label_files import names_of
from safelight.errors import DataError
from safelight.files import new_file
from safelight.latent.codes import Codes, encode, some_images
from safelight.latent.maps import LatentMap, project
from safelight.latent.parquet import embed
from safelight.latent.stored import StoredCodes, sample_of, stored_codes
from safelight.networks.base import device_of
from safelight.runs.opened import OpenedRun
from safelight.similarity.neighbours import Neighbours, nearest, nearest_of_parts
from safelight.similarity.outliers import Outliers, find_outliers
from safelight.tasks.sampling import sample

__all__ = ["CodingRun"]


class CodingRun(OpenedRun):
    """A run of which the network is used as an encoder and a decoder."""

    def encode(self, images: Images) -> NDArray[np.float32]:
        """Images to their mean codes, (N, D); one image to its own, (D,).

        Raises:
            RunError: the network has no codes.
        """
        network = self._autoencoder()
        return self._map(images, lambda x: network.encode(x).mu)

    def decode(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Codes (N, D) to images (N, C, H, W) in [0, 1]; one code (D,) to one image (C, H, W).

        Args:
            codes: an array or a tensor.

        Raises:
            DataError: they are none of this network.
            RunError: the network has no codes.
        """
        network = self._autoencoder()
        points = torch.as_tensor(np.asarray(array_of(codes), np.float32))
        latent = getattr(self.config.network, "latent", 0) or points.shape[-1]  # a custom one may not tell
        if points.ndim not in (1, 2) or not points.numel() or points.shape[-1] != latent:
            raise DataError(
                f"expected codes of {latent} numbers, (N, {latent}), as this run's encode gives them, got "
                f"{tuple(points.shape)}"
            )
        chunks = torch.split(points.reshape(-1, latent), at_once(self.config.image.shape))
        drawn = np.concatenate([sample(network, z.to(device_of(network))).cpu().numpy() for z in chunks])
        return drawn if points.ndim == 2 else np.asarray(drawn[0])

    def codes(self, images: Images) -> Codes:
        """Everything that the encoder says of images: means, log-variances, reconstruction losses.

        Raises:
            RunError: the network has no codes.
        """
        return encode(
            self._autoencoder(),
            self._likelihood,
            self.taken(images),
        )

    def outliers(
        self,
        images: Images,
        share: float | None = None,
        quantile: float = 0.99,
        train: Images | None = None,
    ) -> Outliers:
        """How odd images are beside those that the run was trained on; see `find_outliers`.

        Args:
            images: to score.
            share: of them to call outliers; without, training images' quantile decides.
            quantile: of the training images' scores, that an outlier's lies above.
            train: for a run on images handed over in Python, the same images.

        Raises:
            ConfigError: share or quantile is not between 0 and 1.
            DataError: the training images are gone or changed.
            RunError: the network has no codes.
        """
        network, known = self._autoencoder(), self.images("train", train)
        return find_outliers(
            network, self._likelihood, self.prior, known, self.taken(images), share, quantile
        )

    def similar(
        self, query: Images, images: Images | StoredCodes | None = None, k: int = 12, metric: str = "cosine"
    ) -> Neighbours:
        """The images whose codes are nearest to those of queries.

        Args:
            query: one image or several.
            images: to search, or codes of this run, as below; without, the training images.
            k: how many to find of each query.
            metric: cosine or euclidean.

        Raises:
            ConfigError: k is more than there are images, or there is no such metric.
            DataError: the training images are gone or changed, or the codes are another run's.
            RunError: the network has no codes.

        Codes are what `embed` wrote, a file or a folder, by its path. They are read part by part, and places
        count those that have no error.
        """
        if stored := self.stored(images):
            return nearest_of_parts(self.encode(self.taken(query)), stored.batches(), k, metric)
        assert not isinstance(images, StoredCodes)  # for mypy: those are stored
        among = self.images("train") if images is None else self.taken(images)
        places, distances = nearest(self.encode(self.taken(query)), self.encode(among), k, metric)
        names = names_of(among)
        return Neighbours(tuple(tuple(names[place] for place in row) for row in places), places, distances)

    def embed(
        self,
        images: Images,
        out: str | os.PathLike[str],
        overwrite: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> Path:
        """Stream the codes of images into a Parquet file, which `safelight.latent.parquet.read_codes` reads.

        Started again after a kill, it goes on where it stopped.

        Args:
            images: any number of them.
            out: the file to make, ending in .parquet.
            overwrite: replace a file that is there.
            on_progress: called with the number of images done.

        Returns:
            The path of the file.

        Raises:
            RunError: the network has no codes, or the file cannot be written.
        """
        path = new_file(out, [".parquet"], overwrite)
        network, image_set = self._autoencoder(), self.taken(images)
        about = {"run": self.path.name, "source": image_set.source, "shape": image_set.shape}
        about |= {"weights": self.weights}
        embed(network, self._likelihood, image_set, path, about, on_progress)
        return path

    def stored(self, source: object) -> StoredCodes | None:
        """The codes that `embed` wrote at a path; None where there are none, but images.

        Args:
            source: a Parquet file or a folder of shards, or whatever images are taken from.

        Raises:
            DataError: they are another run's, or damaged.
        """
        found = stored_codes(source)
        latent = getattr(self.config.network, "latent", 0)  # a custom one may not tell
        return found and found.of_run(self.path, self.folder.digest(), latent)

    def project(
        self,
        images: Images | StoredCodes | None = None,
        method: str = "pca",
        on_progress: Callable[[int, int], object] | None = None,
        **settings: Any,
    ) -> LatentMap:
        """Map the codes of images onto a plane or into space.

        Args:
            images: at most `n` of them are used, chosen at random; the training images by default.
                Codes of this run, as in `similar`, are not worked out again.
            method: pca, tsne or umap.
            on_progress: called with the iterations of t-SNE that are done and those there are.
            settings: other fields of `MapConfig`.

        Raises:
            ConfigError: a setting does not fit.
            DataError: the codes are another run's.
            RunError: the network has no codes.
        """
        config = from_dict(MapConfig, {"method": method, **settings}, "project")
        if stored := self.stored(images):
            return project(sample_of(stored.batches(), config.n, config.seed), config, on_progress)
        assert not isinstance(images, StoredCodes)  # for mypy: those are stored
        chosen = self.images("train") if images is None else self.taken(images)
        return project(self.codes(some_images(chosen, config.n, config.seed)), config, on_progress)
