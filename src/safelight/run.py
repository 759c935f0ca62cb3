"""A finished run, to read, clean and write images with: each method a few lines over the wings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.reading import from_dict
from safelight.data.finding import Images, as_image_set, find_split
from safelight.data.images import ImageSet
from safelight.data.pictures import make_folder, png
from safelight.errors import ConfigError, RunError
from safelight.files import write_file
from safelight.networks.base import Autoencoder, ImageNetwork, Network
from safelight.networks.sampling import latent_points, sample
from safelight.reporting.report import write_report
from safelight.runs.assembly import (
    Parts,
    assemble,
    device_of,
)
from safelight.runs.cleaning import Cleaner
from safelight.runs.folder import RunFolder
from safelight.tasks.base import Task

__all__ = ["Run"]

CHUNK = 500


class Run:
    """A run folder, opened lazily.

    Args:
        path: the folder.
        network: for a run of a network of your own, its class (called without arguments) or an instance.
        task: likewise for a task of your own.

    Raises:
        RunError: it is not a run folder, or its weights do not fit.

    Example:
        >>> import safelight
        >>> run = safelight.train("digits", latent=4, epochs=1, threads=1)
        >>> run.encode(safelight.load("digits", split="test")).shape
        (180, 4)
        >>> run.sample(3).shape
        (3, 1, 8, 8)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        network: type[Network] | Network | None = None,
        task: type[Task] | Task | None = None,
    ) -> None:
        self.folder = RunFolder(path)
        self.config = self.folder.read_config()
        self._given = network, task
        self._loaded: Parts | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.config.network.name}, {self.config.task.name})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record an epoch, as in history.jsonl."""
        return self.folder.read_history()

    @property
    def network(self) -> Network:
        """The network with its best weights on validation, or its last where there was none."""
        return self._parts.network

    @property
    def task(self) -> Task:
        """What the run was trained for."""
        return self._parts.task

    def encode(self, images: Images) -> NDArray[np.float32]:
        """Images to their mean codes, (N, D).

        Raises:
            RunError: the network has no codes.
        """
        network = self._autoencoder()
        return self._map(images, lambda x: network.encode(x).mu)

    def decode(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Codes (N, D) to images (N, C, H, W) in [0, 1].

        Raises:
            RunError: the network has no codes.
        """
        network = self._autoencoder()
        points = torch.as_tensor(np.asarray(codes, np.float32))
        chunks = torch.split(points, CHUNK)
        return np.concatenate([sample(network, z.to(device_of(network))).cpu().numpy() for z in chunks])

    def reconstruct(self, images: Images) -> NDArray[np.float32]:
        """Images to the network's version of them, (N, C, H, W) in [0, 1].

        Raises:
            RunError: the network does not make images.
        """
        return self._map(images, self._image_network().reconstruct)

    def denoise(self, images: Images) -> NDArray[np.float32]:
        """Images to clean ones, (N, C, H, W) in [0, 1]; a `DenoisingUNet` takes any size from 8 pixels up.

        Raises:
            DataError: the network takes no such images.
            RunError: the network does not make images.
        """
        image_set, cleaner = as_image_set(images), self.cleaner()
        parts = [
            cleaner(image_set.floats(slice(first, first + CHUNK)).numpy())
            for first in range(0, len(image_set), CHUNK)
        ]
        return np.concatenate(parts)

    def cleaner(self, resize: bool = False) -> Cleaner:
        """What cleans arrays and files by the run's network.

        Args:
            resize: scale images to the size of a network that takes no other, and the results back.

        Raises:
            RunError: the network does not make images.
        """
        return Cleaner(self._image_network(), self.config.image.shape, self.config.training.precision, resize)

    def sample(self, count: int, seed: int = 0, images: Images | None = None) -> NDArray[np.float32]:
        """New images, (count, C, H, W) in [0, 1].

        A variational network decodes draws from its prior; a deterministic one decodes draws from a normal
        distribution fitted to its training codes.

        Args:
            count: number of images.
            seed: fixes the draws.
            images: for a deterministic network trained on images handed over in Python, the same images.

        Raises:
            RunError: the network has no codes.
        """
        if count < 1:
            raise ConfigError(f"expected at least 1 sample, got {count}")
        network = self._autoencoder()
        blank = ImageSet(np.zeros((1, *self.config.image.shape), np.uint8))
        codes_of = blank if self.config.network.is_variational else self.images("train", images)
        return np.asarray(sample(network, latent_points(network, count, codes_of, seed)).cpu().numpy())

    def evaluate(self, split: str = "test", images: Images | None = None, **options: Any) -> dict[str, Any]:
        """Measure the run on one split of its data, and keep the result in evaluation.json.

        Args:
            split: test, validation or train.
            images: for a run on images handed over in Python, the same images.
            options: fields of the task's evaluation settings, such as `samples=50` where the task is to
                autoencode.

        Returns:
            The task's measures by name, "n" images and "split".

        Raises:
            ConfigError: the task has no such option.
            DataError: the run's data is gone or changed, or has no such split.
        """
        chosen = from_dict(self.config.task.evaluation, options, f"evaluate ({self.config.task.name})")
        parts, image_set = self._parts, self.images(split, images)
        with torch.no_grad():
            found = parts.task.evaluate(parts.network, parts.loss, image_set, chosen)
        measures = {**found.values, "n": len(image_set), "split": split}
        if found.pictures:
            folder = make_folder(self.folder.figures / "evaluation")
            for name, picture in found.pictures.items():
                write_file(folder / f"{name}.png", png(picture))
        self.folder.write_evaluation(self.folder.read_evaluation() | {split: measures})
        return measures

    def report(self) -> Path:
        """Write `figures/` and `report.html`; the path of the page."""
        return write_report(self.folder)

    def images(self, split: str, images: Images | None = None) -> ImageSet:
        """One split of the images that the run was made with.

        Args:
            split: test, validation or train.
            images: for a run on images handed over in Python, the same images.

        Raises:
            DataError: they are gone or changed, or there is no such split.
        """
        return self._fitting(find_split(self.config.data, split, images))

    @property
    def _parts(self) -> Parts:
        if self._loaded is None:
            parts = assemble(self.config, *self._given)
            self.folder.read_weights(self.folder.trained, parts.network, parts.loss)
            parts.network.eval(), parts.loss.eval()
            self._loaded = parts
        return self._loaded

    def _autoencoder(self) -> Autoencoder:
        network = self.network
        if not isinstance(network, Autoencoder):
            raise RunError(
                f"{self.path}: a {type(network).__name__} has no codes; use a run of an autoencoder"
            )
        return network

    def _image_network(self) -> ImageNetwork:
        network = self.network
        if not isinstance(network, ImageNetwork):
            raise RunError(f"{self.path}: a {type(network).__name__} makes no images; use another run")
        return network

    def _fitting(self, images: ImageSet) -> ImageSet:
        if images.shape != self.config.image.shape:
            raise RunError(
                f"expected images of {self.config.image.shape} (C, H, W), as {self.path} was trained on, "
                f"got {images.shape}; scale or crop them first"
            )
        return images

    @torch.no_grad()
    def _map(self, images: Images, function: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.float32]:
        image_set = self._fitting(as_image_set(images))
        device = device_of(self.network)
        parts = [
            function(image_set.floats(slice(first, first + CHUNK), device)).cpu().numpy()
            for first in range(0, len(image_set), CHUNK)
        ]
        return np.concatenate(parts)
