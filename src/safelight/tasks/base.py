"""The seam between training and what it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.reading import check
from safelight.config.task import PLAIN_NAME, Measure, Sheet
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.networks.base import Network

__all__ = ["Beside", "Evaluation", "Task", "Transform"]

Transform = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a network came to on a set of images.

    Attributes:
        values: numbers by the names of the task's measures, and lists or tables that the report draws.
        pictures: by name, for the report.
    """

    values: dict[str, Any]
    pictures: Mapping[str, Image] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.pictures:
            is_plain = PLAIN_NAME.fullmatch(name) is not None
            check(is_plain, "pictures", "names of letters, digits, - and _", repr(name))


@dataclass(frozen=True)
class Beside:
    """What a run has beside the images that it is measured on, fetched where its task asks for it.

    Attributes:
        train: gives the training images.
        judge: from the path of a classifier's run to its network, and to the images by its numbers of
            classes.
    """

    train: Callable[[], ImageSet]
    judge: Callable[[str], tuple[Network, ImageSet]]


class Task(ABC):
    """What a run is trained for: its loss, the batches' transform, its measures and its pictures.

    Everything else (the loop, the run folder, exact resuming, the history, reports, comparisons and searches)
    is the same for all tasks. A task of your own is handed to `safelight.train(..., task=MyTask())`.

    Attributes:
        measures: the table of its measures; the first chooses the best weights, and stops by patience.
        sheets: the table of its pictures; the last is what is shown first, while it trains.
        transform: what is done to a batch's images before the network sees them: a function of images
            (N, C, H, W) in [0, 1] and a generator, the only randomness it may use; or None.
        augment: what is done to a batch's images themselves, before its transform; likewise.
        measures_means: whether what `measure` gives are means over images, so that the processes of one
            training may share the images among them; else each measures all of them.
        least_labels: of validation images, with fewer of which the last weights are kept, not the best.
    """

    augment: Transform | None = None
    measures_means: bool = False
    least_labels: int = 0

    @final
    def can_judge(self, images: ImageSet) -> bool:
        """Whether enough of the validation images have labels to choose weights by them."""
        known = 0 if images.labels is None else int((images.labels != UNKNOWN).sum())
        return known >= self.least_labels

    @property
    @abstractmethod
    def measures(self) -> tuple[Measure, ...]:
        """The table of its measures."""

    @property
    @abstractmethod
    def sheets(self) -> tuple[Sheet, ...]:
        """The table of its pictures."""

    @property
    @abstractmethod
    def transform(self) -> Transform | None:
        """What is done to the images before the network sees them."""

    @abstractmethod
    def loss(self) -> nn.Module:
        """A fresh module, called as `loss(network, batch, generator, progress)`.

        It answers with named terms, scalars; "loss" is minimized. Its own parameters are trained along.
        """

    @abstractmethod
    def measure(self, network: Any, loss: nn.Module, images: ImageSet) -> dict[str, float]:
        """After an epoch: numbers by the names of measures, with fixed noise.

        Args:
            network: in evaluation mode, on its device.
            loss: what `loss()` gave, with its weights.
            images: to measure on.
        """

    def prepare(self, images: ImageSet, options: Any, beside: Beside) -> ImageSet:
        """Before `evaluate`: fetch what it compares with; by default nothing.

        Args:
            images: to measure on.
            options: as for `evaluate`.
            beside: where to fetch it from.

        Returns:
            The images, as `evaluate` is to have them.
        """
        return images

    @abstractmethod
    def evaluate(self, network: Any, loss: nn.Module, images: ImageSet, options: Any) -> Evaluation:
        """At the end: everything that is worth knowing; arguments as for `measure`.

        Args:
            network: in evaluation mode, on its device.
            loss: what `loss()` gave, with its weights.
            images: to measure on.
            options: an instance of the task settings' `evaluation` class.
        """

    @abstractmethod
    def draw(self, network: Any, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """After an epoch: a picture for each sheet, by name.

        Args:
            network: in evaluation mode, on its device.
            shown: the same few images every time, of the validation set where there is one.
            train: the training images.
        """
