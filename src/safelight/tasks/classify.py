"""Training to tell classes apart."""

from __future__ import annotations

from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.run import RunConfig
from safelight.config.task import ClassifyConfig, Measure, NoOptions, Sheet
from safelight.data.augmentation import Augmentation
from safelight.data.batches import Batch
from safelight.data.components import fit_components, sample_of
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.data.pictures import captioned
from safelight.errors import DataError, TrainingError
from safelight.networks.base import Network, device_of
from safelight.tasks.base import Beside, Evaluation, Task, Transform
from safelight.tasks.calibration import calibration_error, interval, reliability, softmax, temperature

__all__ = ["Classify", "CrossEntropy", "Predictions", "logits_of", "temperature_of"]

MISTAKES = 24
COMPONENTS, MOST_LABELS = 50, 20_000  # of what a classifier is compared with


@final
class CrossEntropy(nn.Module):
    """Cross-entropy of the classes' probabilities with labels, in nats per image.

    Args:
        smoothing: share of each label that is spread over all classes (Szegedy et al. 2016, section 7).

    Attributes:
        temperature: what to divide logits by for honest probabilities, as found on validation images, or else
            on what labels were spread to; 1 before.

    Example:
        >>> import torch
        >>> from safelight.networks.classifier import Classifier
        >>> images = torch.rand(4, 1, 28, 28)
        >>> batch = Batch(images, images, torch.tensor([3, 1, 4, 1]), torch.arange(4))
        >>> sorted(CrossEntropy()(Classifier(), batch, torch.Generator(), 0.0))
        ['accuracy', 'loss']
    """

    temperature: Tensor

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("temperature", torch.ones(()))

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
            TrainingError: the network tells no classes.
        """
        logits = network(batch.inputs).float()
        if logits.ndim != 2:
            raise TrainingError(
                f"expected logits of classes, (N, K), got {tuple(logits.shape)}; use --model classifier"
            )
        if batch.labels is None:
            raise DataError(
                "expected images with labels, got none; classify a set that has them, or give --labels"
            )
        least, most = batch.label_range or (int(batch.labels.min()), int(batch.labels.max()))
        _check_labels(least, most, logits.shape[1])
        return {
            "loss": F.cross_entropy(logits, batch.labels, label_smoothing=self.smoothing),
            "accuracy": 100 * (logits.argmax(1) == batch.labels).float().mean(),
        }


class Predictions(NamedTuple):
    """Which classes images are of.

    Attributes:
        classes: the K classes' names.
        probabilities: (N, K).
        unlike: (N,) whether an image is unlike those that were trained on; None where that was not learned.

    Example:
        >>> found = Predictions(("cat", "dog"), np.array([[0.2, 0.8], [0.6, 0.4]]))
        >>> found.names(), found.names(min_probability=0.7)
        (['dog', 'cat'], ['dog', None])
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    unlike: NDArray[np.bool_] | None = None

    def names(self, min_probability: float = 0.0) -> list[str | None]:
        """The likeliest class of each image, or None where it is less probable than that."""
        likeliest = zip(self.probabilities.argmax(1), self.probabilities.max(1), strict=True)
        return [self.classes[k] if probability >= min_probability else None for k, probability in likeliest]


@final
class Classify(Task):
    """Which class is it? Cross-entropy with label smoothing, on augmented images.

    Images whose label is -1 are left out of all measures.

    Args:
        config: a run whose task is a `ClassifyConfig`.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.task, ClassifyConfig)
        self._settings = config.task
        self.train: ImageSet | None = None

    least_labels = 100  # a handful is told right by luck

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Cross-entropy, which also judges how sure a classifier is, accuracy and calibration."""
        return (
            Measure("loss", "loss", "cross-entropy; smoothed in training", "nats per image", 4),
            Measure("accuracy", "accuracy", "images given their own class", "%", 2, False, is_headline=True),
            Measure(
                "accuracy_low", "from", "where it lies with 95% confidence", "%", 2, lower_is_better=False
            ),
            Measure("accuracy_high", "to", "Wilson's interval", "%", 2, lower_is_better=False),
            Measure("pca_accuracy", "accuracy, PCA", "by logistic regression on PCA", "%", 2, False),
            Measure("calibration_error", "calibration error", "expected, of probabilities, 15 bins", "%", 2),
        )

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """None: nothing is drawn."""
        return ()

    @property
    def transform(self) -> Transform | None:
        """The augmentation."""
        return None if self._settings.no_augmentation else Augmentation()

    def loss(self) -> nn.Module:
        """Cross-entropy with label smoothing."""
        return CrossEntropy(self._settings.label_smoothing)

    def measure(self, network: Network, loss: Any, images: ImageSet) -> dict[str, float]:
        """Plain cross-entropy in nats per image, and accuracy in percent, of images as they are.

        It also sets the loss's temperature to what suits these images best, if there are enough with labels.
        Without a label there is nothing to measure.
        """
        if images.labels is None or not (images.labels != UNKNOWN).any():
            return {}
        logits, labels = _scored(network, images)
        if self.can_judge(images):
            loss.temperature.fill_(temperature(logits, labels))
        return _measures(logits, labels, temperature_of(loss))

    def prepare(self, images: ImageSet, options: NoOptions, beside: Beside) -> ImageSet:
        """Fetch the images that logistic regression learns from."""
        self.train = beside.train()
        return images

    def evaluate(self, network: Network, loss: nn.Module, images: ImageSet, options: NoOptions) -> Evaluation:
        """All that tells how far to trust the classifier.

        Returns:
            loss, accuracy: as in `measure`, logits taken as they are.
            accuracy_low, accuracy_high: in percent, where it lies with 95% confidence (Wilson 1927).
            pca_accuracy: of logistic regression on at most 50 principal components of the training images, by
                at most 20,000 of the same labels: what any classifier should be ahead of.
            temperature: what logits are divided by for the following.
            calibration_error: expected calibration error, in percent.
            reliability: rows of "confidence", "accuracy" and "n".
            confusion: "classes", their names, and "counts", (K, K): of each class (row), how many images were
                given each class (column).
            n: number of images.

            The picture "mistakes" shows those that it was most sure of.
        """
        logits, labels = _scored(network, images)
        divisor = temperature_of(loss)
        probabilities = softmax(logits, divisor)
        found = logits.argmax(1)
        classes = self._settings.class_names or tuple(map(str, range(logits.shape[1])))
        counts = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(counts, (labels, found), 1)
        low, high = interval(int((found == labels).sum()), len(labels))
        values: dict[str, Any] = {
            **_measures(logits, labels, divisor),
            "accuracy_low": 100 * low,
            "accuracy_high": 100 * high,
            "temperature": divisor,
            "reliability": reliability(probabilities, labels),
            "confusion": {"classes": list(classes), "counts": counts.tolist()},
            "n": len(labels),
        }
        if self.train is not None:
            values |= _linear(self.train, _known(images))
        confidence = probabilities.max(1)
        wrong = np.flatnonzero(found != labels)
        surest = wrong[np.argsort(-confidence[wrong], kind="stable")[:MISTAKES]]
        if not len(surest):
            return Evaluation(values)
        captions = [f"{classes[found[i]]}: {confidence[i]:.0%}\nis {classes[labels[i]]}" for i in surest]
        shown = _known(images).floats(surest).numpy()
        return Evaluation(values, {"mistakes": captioned(shown, captions, columns=8)})

    def draw(self, network: Network, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """Nothing."""
        return {}


@torch.no_grad()
def logits_of(network: Network, images: ImageSet) -> NDArray[np.float32]:
    """What a classifier makes of images, (N, K), in evaluation mode."""
    return images.mapped(lambda x: network(x), device_of(network))


def temperature_of(loss: nn.Module) -> float:
    """What to divide logits by for honest probabilities."""
    return float(cast(Tensor, loss.temperature))


def _measures(logits: NDArray[np.float32], labels: NDArray[np.int64], divisor: float) -> dict[str, float]:
    """The loss by logits as they are; how sure they are by probabilities, as they are told."""
    probabilities = softmax(logits)
    likelihoods = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30)
    return {
        "loss": float(-np.log(likelihoods).mean()),
        "accuracy": 100 * float((logits.argmax(1) == labels).mean()),
        "calibration_error": 100 * calibration_error(softmax(logits, divisor), labels),
    }


def _scored(network: Network, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The logits of the images with a label, and these labels."""
    known = _known(images)
    assert known.labels is not None
    logits = logits_of(network, known)
    _check_labels(int(known.labels.min()), int(known.labels.max()), logits.shape[1])
    return logits, known.labels


def _linear(train: ImageSet, images: ImageSet) -> dict[str, float]:
    """How often logistic regression on PCA of the training images tells the labels of others, in percent."""
    from sklearn.linear_model import LogisticRegression  # scikit-learn takes half a second to import

    known = np.flatnonzero([] if train.labels is None else train.labels != UNKNOWN)
    labelled = sample_of(train.subset(known), MOST_LABELS)
    if labelled.labels is None or len(np.unique(labelled.labels)) < 2:
        return {}
    components = fit_components(train, COMPONENTS)
    codes, others = labelled.mapped(components.encode), images.mapped(components.encode)
    scale = max(float(codes.std()), 1e-12)
    regression = LogisticRegression(max_iter=1000).fit(codes / scale, labelled.labels)
    return {"pca_accuracy": 100 * float(regression.score(others / scale, images.labels))}


def _known(images: ImageSet) -> ImageSet:
    known = np.flatnonzero([] if images.labels is None else images.labels != UNKNOWN)
    if not len(known):
        raise DataError(
            "expected images with labels to measure on, got none; label some, and write test beside them in "
            "a column part of the file of labels"
        )
    return images.subset(known)


def _check_labels(least: int, most: int, classes: int) -> None:
    if least < 0:
        raise DataError(
            "expected a label for every image to train on, got images without; train on them with safelight "
            "finetune, which takes such images too"
        )
    if most >= classes:
        raise DataError(
            f"expected labels from 0 to {classes - 1}, got {least} to {most}; set --network.classes"
        )
