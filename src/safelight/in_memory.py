"""Training in memory alone, on rows of numbers: images or vectors; what the estimators are made of."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from safelight.config.data import DataConfig
from safelight.config.network import ClassifierConfig
from safelight.config.reading import whole
from safelight.config.run import RunConfig
from safelight.config.training import TrainingConfig
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, SafelightError
from safelight.labels.training import fit_on_labels
from safelight.machine import cpu_threads, pick_device
from safelight.networks.base import Autoencoder, Code, Network
from safelight.networks.dense import DenseClassifier, DenseVAE
from safelight.runs.assembly import Parts, assemble, describe_network, fresh_weights
from safelight.runs.choosing import choose
from safelight.runs.settings import read_settings
from safelight.runs.training import fit

__all__ = ["Exact", "RowEstimator", "Rows", "Scale", "as_value_errors", "train_classifier"]

LEAST = 3  # rows
NO_LABELS = "no_validation"  # as scikit-learn calls it
BATCHES, STEPS_AN_EPOCH = (16, 128), 16  # of a classifier, where rows allow
MARGIN = 0.5  # of a column's range, that new vectors may lie beyond it
OF_VECTORS = {"likelihood": "gaussian", "augment": "none", "lr": 4e-3}
Rows = NDArray[np.float64]


@final
class Exact(Autoencoder):
    """Computes in double precision, so that rounded results are the same whatever else is in a batch.

    Args:
        network: made double.
    """

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = network.double()

    def encode(self, x: Tensor) -> Code:
        """Images (N, C, H, W) in [0, 1] to codes (N, D)."""
        return self.network.encode(x.double())

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, C, H, W)."""
        return self.network.decode(z.double())


@final
@dataclass(frozen=True, eq=False)
class Scale:
    """How rows of numbers are images with values in [0, 1], and back.

    Attributes:
        image: (H, W) or (H, W, C) of each row; None for vectors.
        low: what becomes 0: one number for images, (F,) for vectors.
        high: likewise 1.
    """

    image: tuple[int, ...] | None
    low: Any
    high: Any

    @staticmethod
    def of(rows: Rows, image: tuple[int, ...] | None) -> Scale:
        """What suits training rows, (N, F).

        Raises:
            ConfigError: they are no images of that shape.

        Example:
            >>> scale = Scale.of(np.array([[0.0, 10], [1, 30]]), None)
            >>> scale.images(np.array([[1.0, 20]])).floats().flatten().tolist()
            [0.75, 0.5]
        """
        if image is None:
            low, high = rows.min(0), rows.max(0)
            return Scale(None, low - MARGIN * (high - low), high + MARGIN * (high - low))
        if len(image) not in (2, 3) or math.prod(image) != rows.shape[1]:
            raise ConfigError(
                "image_shape: expected (height, width) or (height, width, channels) of "
                f"{rows.shape[1]} values, as rows have, got {image}"
            )
        return Scale(image, rows.min(), rows.max())

    def images(self, rows: Rows) -> ImageSet:
        """Rows (N, F) as a set; what lies beyond what was seen in training counts as its end."""
        span = np.where(self.high > self.low, self.high - self.low, 1)
        x = ((rows - self.low) / span).clip(0, 1).astype(np.float32)
        if self.image is None:
            return ImageSet(x[:, None, None], (0, 1))
        height, width, channels = (*self.image, 1)[:3]
        return ImageSet(x.reshape(-1, height, width, channels).transpose(0, 3, 1, 2), (0, 1))

    def rows(self, images: Tensor) -> Rows:
        """Images (N, C, H, W) in [0, 1] as rows, (N, F)."""
        flat = images.permute(0, 2, 3, 1).flatten(1).numpy()
        return np.asarray(self.low + flat * (self.high - self.low), np.float64)


def train_autoencoder(images: ImageSet, settings: Mapping[str, Any]) -> Parts:
    """Train as `safelight.train` would, but on all images; vectors go through dense layers.

    Args:
        images: or vectors, (N, 1, 1, F).
        settings: as of `safelight.train`, seed and latent among them; None leaves one to the images.

    Raises:
        ConfigError, TrainingError: as in `safelight.train`.
    """
    named, own = {name: value for name, value in settings.items() if value is not None}, None
    if _is_vectors(images):
        latent, named = whole("latent", named.pop("latent"), 1), OF_VECTORS | named
        with fresh_weights(int(settings["seed"])):
            own = DenseVAE(images.shape, latent)
    given = "deep-conv-vae" if own is None else describe_network(own, images)
    chosen = choose(images, *read_settings(given, "autoencode", named), named)
    config = _config(images, chosen.network, chosen.task, chosen.training)
    parts = assemble(config, own, train=images)
    with cpu_threads(config.training.threads):
        fit(parts.network, parts.batches(config, images), parts.loss, config.training)
    return _finished(parts)


def train_classifier(
    images: ImageSet, classes: int, codes: NDArray[np.float32] | None, settings: Mapping[str, Any]
) -> Parts:
    """Train as `safelight.finetune` would, but on all images.

    Args:
        images: or vectors, with labels of 0 to K - 1, or -1 where unknown.
        classes: K.
        codes: (N, D), to spread labels over; None where all are known.
        settings: of training, and of `ClassifyConfig`; None leaves one open.

    Raises:
        ConfigError, TrainingError: as in `safelight.finetune`.
    """
    size = min(BATCHES[1], max(BATCHES[0], len(images) // STEPS_AN_EPOCH), len(images))
    fixed = {"batch_size": size, "spread": codes is not None, "no_augmentation": _is_vectors(images)}
    named = fixed | {name: value for name, value in settings.items() if value is not None}
    config = _config(images, *read_settings(ClassifierConfig(classes=classes), "classify", named))
    own: Network | None = None
    if _is_vectors(images):
        with fresh_weights(config.training.seed):
            own = DenseClassifier(images.shape, classes)
    parts = assemble(config, own)
    with cpu_threads(config.training.threads):
        fit_on_labels(config, parts, images, codes)
    return _finished(parts)


def _is_vectors(images: ImageSet) -> bool:
    """Whether a set's rows are no images."""
    return images.shape[:2] == (1, 1)


def _config(images: ImageSet, network: Any, task: Any, training: TrainingConfig) -> RunConfig:
    size = min(training.images_a_step(len(images)), len(images))
    training = replace(training, device=pick_device(training.device), batch_size=size)
    return RunConfig(network, images.image, DataConfig(), training, task)


def _finished(parts: Parts) -> Parts:
    parts.network.cpu().eval(), parts.loss.cpu().eval()
    return parts


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Errors as scikit-learn's users expect them."""
    try:
        yield
    except SafelightError as error:
        raise ValueError(str(error)) from error


class RowEstimator(BaseEstimator, ABC):  # type: ignore[misc,unused-ignore]
    """What the estimators share: rows as scikit-learn checks them become images."""

    def __init__(
        self,
        latent: int = 16,
        image_shape: tuple[int, ...] | None = None,
        epochs: int | None = 20,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.latent = latent
        self.image_shape = image_shape
        self.epochs = epochs
        self.settings = settings
        self.random_state = random_state

    def _learned(self, X: Any, y: Any = NO_LABELS) -> tuple[ImageSet, Any]:  # noqa: N803
        """Training rows as images, and labels; from now on other rows become images as these did."""
        X, shape, y = self._valid(X, y, LEAST)  # noqa: N806
        asked = None if self.image_shape is None else tuple(map(int, self.image_shape))
        with as_value_errors():
            self._row_shape, self._scale = shape, Scale.of(X, shape if len(shape) > 1 else asked)
            return self._scale.images(X), y

    def _images(self, X: Any) -> ImageSet:  # noqa: N803
        check_is_fitted(self)
        return self._scale.images(self._valid(X)[0])

    def _valid(self, X: Any, y: Any = NO_LABELS, first: int = 0) -> tuple[Rows, tuple[int, ...], Any]:  # noqa: N803
        """Rows (N, F), their own shape, and labels; the first, at least so many, fix F for others."""
        shape = tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
        if len(shape) > 2:
            X = np.asarray(X).reshape(shape[0], -1)  # noqa: N806
        least = {"reset": first > 0, "ensure_min_samples": max(1, first)}
        found = validate_data(self, X, y, dtype=np.float64, **least)
        return (found[0], shape[1:], found[1]) if isinstance(found, tuple) else (found, shape[1:], None)

    def _settings(self, seed: int) -> dict[str, Any]:
        return {"seed": seed, "epochs": self.epochs} | dict(self.settings or {})

    def _autoencoder(self, images: ImageSet, seed: int) -> Parts:
        with as_value_errors():
            return train_autoencoder(images, {"latent": self.latent} | self._settings(seed))

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))
