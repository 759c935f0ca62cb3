"""A run's folder and what is loaded from it: what every run can do."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from safelight.config.reading import from_dict, plain
from safelight.data.arrays import one_image
from safelight.data.finding import Images, OnReading, as_image_set, find_images, find_split
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN, Labels
from safelight.errors import ConfigError, RunError
from safelight.networks.base import Autoencoder, ImageNetwork, Network, device_of
from safelight.runs.assembly import Parts, assemble
from safelight.runs.folder import RunFolder
from safelight.showing import table
from safelight.tasks.base import Beside, Task
from safelight.tasks.denoise import DenoisingLoss
from safelight.tasks.objective import Bernoulli, Likelihood, NegativeELBO
from safelight.tasks.priors import Normal, Prior

__all__ = ["OpenedRun"]


class OpenedRun(ABC):
    """A run folder, its network and its images; see `safelight.Run`, which adds what to do with them."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        network: type[Network] | Network | None = None,
        task: type[Task] | Task | None = None,
        images: Images | None = None,
    ) -> None:
        self.folder = RunFolder(path)
        self.config = self.folder.read_config()
        self._given = network, task
        self._kept = images
        self._loaded: Parts | None = None
        self._weights = ""

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.config.network.name}, {self.config.task.name})"

    def _repr_html_(self) -> str:
        """A table for notebooks: what it is, and what was measured."""
        config, history = self.config, self.history
        rows: list[tuple[object, object]] = [
            ("images", "×".join(map(str, config.image.shape))),
            ("epochs", f"{len(history)} of {config.training.epochs}"),
        ]
        found = {"validation": history[-1]["validation"]} if history else {}
        for split, values in (found | self.folder.read_evaluation()).items():
            for measure in self.task.measures if values else ():
                if (value := values.get(measure.name)) is not None:
                    rows.append((f"{split} {measure.title}", f"{value:.{measure.digits}f}"))
        return table(rows, repr(self))

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
    def weights(self) -> str:
        """What tells the network's weights from others: the first 16 digits of their file's SHA-256."""
        _ = self._parts
        return self._weights

    @property
    def task(self) -> Task:
        """What the run was trained for."""
        return self._parts.task

    def evaluate(self, split: str = "test", images: Images | None = None, **options: Any) -> dict[str, Any]:
        """Measure the run on one split of its data, and keep the result in evaluation.json.

        Where the folder cannot be written, a warning says so, and the numbers arrive all the same.

        Args:
            split: test, validation or train.
            images: for a run on images handed over in Python, the same images.
            options: fields of the task's evaluation settings, such as `samples=50` where the task is to
                autoencode.

        Returns:
            The task's measures by name, "n", the images that they rest on, "images", if the split has more,
            "split" and "weights", as the property says.

        Raises:
            ConfigError: the task has no such option.
            DataError: the run's data is gone or changed, or has no such split.
        """
        measures, pictures = self.measure(split, images, **options)
        try:
            self.folder.add_evaluation(split, measures, pictures)
        except RunError as error:
            warnings.warn(f"the numbers are not kept: {error}", stacklevel=2)
        return measures

    def measure(
        self, split: str = "test", images: Images | None = None, **options: Any
    ) -> tuple[dict[str, Any], Mapping[str, Image]]:
        """What `evaluate` keeps, its pictures too, without keeping it; arguments and errors are the same."""
        chosen = from_dict(self.config.task.evaluation, options, f"evaluate ({self.config.task.name})")
        parts, image_set = self._parts, self.images(split, images)
        beside = Beside(lambda: self.images("train", images), lambda path: self._judge(path, image_set))
        image_set = parts.task.prepare(image_set, chosen, beside)
        with torch.no_grad():
            found = parts.task.evaluate(parts.network, parts.loss, image_set, chosen)
        measures = {"n": len(image_set), **found.values, "split": split, "weights": self.weights}
        if measures["n"] != len(image_set):  # the others have no label
            measures["images"] = len(image_set)
        return measures, found.pictures

    def _judge(self, path: str, images: ImageSet) -> tuple[Network, ImageSet]:
        """The classifier of a run that tells these images' classes, and the images by its numbers of them."""
        judge = type(self)(path)
        if judge.config.classes is None:
            raise ConfigError(
                f"judge: expected a run of a classifier, got one to {judge.config.task.name}, {path}; make "
                "one with safelight finetune"
            )
        if images.labels is not None and (names := judge.config.classes):
            images = replace(images, labels=Labels(images.labels, names).renumber(images), classes=names)
        if images.labels is None or not (images.labels != UNKNOWN).any():
            raise ConfigError("judge: expected images of classes that it tells, got none; leave it out")
        judge.check_shape(images.shape)
        return judge.network, images

    @abstractmethod
    def report(self, images: Images | None = None) -> Path:
        """Write `figures/` and `report.html`; the path of the page."""

    def images(self, split: str, images: Images | None = None) -> ImageSet:
        """One split of the images that the run was made with.

        Args:
            split: test, validation or train.
            images: for a run on images handed over in Python, the same images.

        Raises:
            DataError: they are gone or changed, or there is no such split.
        """
        found, classes = self.folder.read_labels(), self.config.classes
        labels = None if found is None or classes is None else Labels(found.given, classes, found.parts)
        return find_split(self.config, self.path, split, self._kept if images is None else images, labels)

    def whole(self, images: Images | None = None) -> tuple[ImageSet, NDArray[np.int64]]:
        """All images of the run, and the places of those that it was trained on.

        Args:
            images: for a run on images handed over in Python, the same images.

        Raises:
            DataError: they are gone or changed.
        """
        data, labels = self.config.data, self.folder.read_labels()
        given = self._kept if images is None else images
        found = find_images(data, self.config.image, self.path, given)
        return found, found.split(data.validation, data.limit, labels and labels.parts).rows["train"]

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Refuse what another run makes, where it is not of this run's shape, (C, H, W).

        Raises:
            RunError: it is not.
        """
        if shape != self.config.image.shape:
            raise RunError(
                f"expected images of {self.config.image.shape} (C, H, W), as {self.path} was trained on, "
                f"got {shape}; use another run"
            )

    @property
    def _parts(self) -> Parts:
        if self._loaded is None:
            parts = assemble(self.config, *self._given)
            self._weights = self.folder.read_weights(self.folder.trained, parts.network, parts.loss)
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

    @property
    def prior(self) -> Prior | None:
        """What new codes are drawn from; None where codes are points, and none was fitted to them."""
        loss = self._parts.loss
        prior = loss.prior if isinstance(loss, NegativeELBO) else Normal()
        is_there = self.config.network.is_variational or not isinstance(prior, Normal)
        return prior if is_there else None

    @property
    def _likelihood(self) -> Likelihood:
        """What measures the reconstruction losses of codes: Bernoulli, where the task has none of its own."""
        loss = self._parts.loss
        return loss.likelihood if isinstance(loss, NegativeELBO | DenoisingLoss) else Bernoulli()

    def _one(self, image: Images | int) -> ImageSet:
        image = plain(image)
        if not isinstance(image, int):
            return self.taken(image).subset(slice(1))
        data, fit = self.config.data, self.config.image
        whole = find_images(data, fit, self.path, self._kept)  # as codes and labels count them
        if not 0 <= image < len(whole):
            raise ConfigError(
                f"expected the place of an image in its set, 0 to {len(whole) - 1}, got {image}"
            )
        return whole.subset(slice(image, image + 1))

    def taken(self, images: Images, on_reading: OnReading = lambda done, count: None) -> ImageSet:
        """Images of a user's as the network takes them: fitted, and scaled, as the run's own pictures were.

        Args:
            images: an `ImageSet`, an array, or what `safelight.load` takes; one image is a set of one.
            on_reading: as in `safelight.load`.

        Raises:
            DataError: they cannot be loaded, or mean something else.
        """
        one = one_image(images, self.config.image.channels)
        return as_image_set(images if one is None else one, self.config.image, on_reading=on_reading)

    @torch.no_grad()
    def _map(self, images: Images, function: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.float32]:
        """A function's results, (N, ...); of one image its own."""
        found = self.taken(images).mapped(function, device_of(self.network))
        return found if one_image(images, self.config.image.channels) is None else found[0]
