"""Training to tell classes apart."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F  # noqa: N812
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.run import RunConfig
from safelight.config.task import ClassifyConfig, Measure, NoOptions, Sheet
from safelight.data.augmentation import Augmentation
from safelight.data.batches import Batch
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.networks.base import Network
from safelight.tasks.base import Evaluation, Task, Transform

__all__ = ["Classify", "CrossEntropy"]

CHUNK = 500


@final
class CrossEntropy(nn.Module):
    """Cross-entropy of the classes' probabilities with labels, in nats per image.

    Args:
        smoothing: share of each label that is spread over all classes (Szegedy et al. 2016, section 7).

    Example:
        >>> import torch
        >>> from safelight.networks.classifier import Classifier
        >>> images = torch.rand(4, 1, 28, 28)
        >>> batch = Batch(images, images, torch.tensor([3, 1, 4, 1]), torch.arange(4))
        >>> sorted(CrossEntropy()(Classifier(), batch, torch.Generator(), 0.0))
        ['accuracy', 'loss']
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(
        self, network: Network, batch: Batch, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """The terms of the loss.

        Args:
            network: gives logits, (N, K).
            batch: with labels.
            generator: not needed.
            progress: not needed.

        Returns:
            "loss" in nats, and "accuracy" in percent: means over the batch.

        Raises:
            DataError: the batch has no labels, or some beyond the network's classes.
        """
        logits = network(batch.inputs).float()
        labels = _labels(batch, classes=logits.shape[1])
        return {
            "loss": F.cross_entropy(logits, labels, label_smoothing=self.smoothing),
            "accuracy": 100 * (logits.argmax(1) == labels).float().mean(),
        }


@final
class Classify(Task):
    """Which class is it? Cross-entropy with label smoothing, on augmented images.

    Args:
        config: a run whose task is a `ClassifyConfig`.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.task, ClassifyConfig)
        self._settings = config.task

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Cross-entropy, which also judges how sure a classifier is, and accuracy."""
        return (
            Measure("loss", "loss", "cross-entropy; smoothed in training", "nats per image", 4),
            Measure("accuracy", "accuracy", "images given their own class", "%", 2, lower_is_better=False),
        )

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """None: nothing is drawn."""
        return ()

    @property
    def transform(self) -> Transform | None:
        """The augmentation."""
        return Augmentation() if self._settings.augment else None

    def loss(self) -> nn.Module:
        """Cross-entropy with label smoothing."""
        return CrossEntropy(self._settings.label_smoothing)

    @torch.no_grad()
    def measure(self, network: Network, loss: nn.Module, images: ImageSet) -> dict[str, float]:
        """Plain cross-entropy in nats per image, and accuracy in percent, of images as they are."""
        plain = CrossEntropy()
        device = next(network.parameters()).device
        totals = {"loss": 0.0, "accuracy": 0.0}
        for first in range(0, len(images), CHUNK):
            batch = Batch.of(images, slice(first, first + CHUNK), str(device))
            for name, term in plain(network, batch, torch.Generator(device), 1.0).items():
                totals[name] += term.item() * len(batch)
        return {name: total / len(images) for name, total in totals.items()}

    def evaluate(self, network: Network, loss: nn.Module, images: ImageSet, options: NoOptions) -> Evaluation:
        """The measures, and "n", the number of images."""
        return Evaluation({**self.measure(network, loss, images), "n": len(images)})

    def draw(self, network: Network, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """Nothing."""
        return {}


def _labels(batch: Batch, classes: int) -> Tensor:
    if batch.labels is None:
        raise DataError(
            "expected images with labels, got none; classify a set that has them, or give --labels"
        )
    least, most = int(batch.labels.min()), int(batch.labels.max())
    if least < 0 or most >= classes:
        raise DataError(
            f"expected labels from 0 to {classes - 1}, got {least} to {most}; set --network.classes"
        )
    return batch.labels
