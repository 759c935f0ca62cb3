"""Training on labels: those that were given, and, epoch by epoch, what they are spread to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.config.run import RunConfig
from safelight.config.task import ClassifyConfig
from safelight.data.images import ANYWHERE, Divided, ImageSet
from safelight.data.label_files import UNKNOWN, Labels
from safelight.errors import RunError
from safelight.labels.spreading import certainty, spread
from safelight.machine import cpu_threads
from safelight.networks.base import Autoencoder, Network, device_of
from safelight.networks.classifier import ClassNetwork
from safelight.runs.assembly import Parts
from safelight.runs.folder import RunFolder
from safelight.runs.labels import RunLabels
from safelight.runs.recorder import OnEpoch, OnStep, Recorder
from safelight.runs.state import PackedState, State
from safelight.runs.training import EpochResult, fit
from safelight.runs.typical import Typical
from safelight.tasks.calibration import temperature
from safelight.tasks.classify import logits_of

__all__ = ["codes_of", "conclude", "features_of", "first_labels", "fit_on_labels", "train_on_labels"]

GIVEN_SHARE = 0.2  # of the images drawn, those whose label was given


def first_labels(
    images: Divided, given: Labels, config: RunConfig, codes: NDArray[np.float32] | None
) -> RunLabels:
    """What the training images are taken for in the first epoch.

    Args:
        images: the run's images.
        given: their labels, before they are divided.
        config: the run's settings.
        codes: (n, D) of the training images, to spread the labels over; without, only the given ones count.
    """
    train = images.labelled(given.numbers).train
    parts = np.full(len(given.numbers), ANYWHERE, np.int8) if given.parts is None else given.parts
    return RunLabels(given.numbers, parts, *_spread(cast(Any, train.labels), config, codes), epoch=0)


def train_on_labels(
    folder: RunFolder,
    config: RunConfig,
    parts: Parts,
    images: Divided,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train to the end, from where the folder stands.

    Where the task says so, the labels are spread anew before each epoch after the first, over the features
    that the network has learned by then (Iscen et al. 2019, Label Propagation for Deep Semi-supervised
    Learning); `Recorder` then trains for that one epoch. What stands in the folder decides how to go on.

    Args:
        folder: a created run folder, locked by the caller, with its first labels.
        config: its settings.
        parts: what is trained; without a state in the folder, with the first weights.
        images: the run's images.
        on_epoch: as in `Recorder`.
        on_step: likewise.

    Raises:
        Interrupted, TrainingError, RunError: as in `Recorder.run`.
    """
    is_spread = cast(ClassifyConfig, config.task).spread
    is_stopped = False

    def end_epoch(record: dict[str, Any]) -> bool:
        nonlocal is_stopped
        is_stopped = bool(on_epoch and on_epoch(record))
        return is_spread or is_stopped

    done = -1
    while not is_stopped:
        packed, labels = folder.read_state(), folder.read_labels()
        if labels is None:
            raise RunError(f"{folder.path} has lost its labels.safetensors; restore it, or train a new run")
        before, done = done, packed.numbers["epoch"] if packed else 0
        if done == before or done >= config.training.epochs:  # out of patience, or finished
            return
        if packed and is_spread and labels.epoch < done:
            packed.load_weights(parts.network, parts.loss)
            train = labels.given_to(images).train
            with cpu_threads(config.training.threads):
                features = codes_of(parts.network, train)
            found = _spread(cast(Any, train.labels), config, features)
            labels = RunLabels(labels.given, labels.parts, *found, epoch=done)
            folder.write_labels(labels)
        splits = labels.taken_for(images)
        Recorder(folder, config, parts, splits, end_epoch, on_step).run(packed)


def fit_on_labels(
    config: RunConfig, parts: Parts, images: ImageSet, codes: NDArray[np.float32] | None
) -> None:
    """Train in memory alone, as `train_on_labels` does in a folder, with the temperature of `conclude`.

    Args:
        config: its settings.
        parts: what is trained.
        images: with the labels that were given, -1 where unknown.
        codes: (N, D) of the images, to spread the labels over before the first epoch.
    """
    given, is_spread = cast(Any, images.labels), cast(ClassifyConfig, config.task).spread
    packed: PackedState | None = None

    def end_epoch(result: EpochResult, state: State) -> bool:
        nonlocal packed
        packed = state.pack()
        return is_spread

    for _ in range(config.training.epochs if is_spread else 1):
        labels, weights = _spread(given, config, codes)
        taken = replace(images, labels=labels, weights=weights)
        fit(
            parts.network, parts.batches(config, taken), parts.loss, config.training, end_epoch, packed=packed
        )
        codes = codes_of(parts.network, images)
    if is_spread:
        cast(Tensor, parts.loss.temperature).fill_(temperature(logits_of(parts.network, images), labels))


def conclude(folder: RunFolder, config: RunConfig, parts: Parts, images: Divided) -> None:
    """After training, learn how sure the network may be, and what it was trained on looks like to it.

    Where too few validation images have a label, the temperature is the one that suits what the labels were
    last spread to: not quite the truth, but far nearer to it than none.

    Args:
        folder: of the run; its weights and `typical.safetensors` are written.
        config: its settings.
        parts: given the weights to use.
        images: the run's images.
    """
    folder.read_weights(folder.trained, parts.network, parts.loss)
    labels = cast(RunLabels, folder.read_labels())
    splits = labels.taken_for(images)
    with cpu_threads(config.training.threads):
        features, logits = features_of(parts.network, splits.train), logits_of(parts.network, splits.train)
    folder.write_typical(Typical.of(features, logits.argmax(1)))
    is_told = splits.validation is not None and parts.task.can_judge(splits.validation)
    if cast(ClassifyConfig, config.task).spread and not is_told and (labels.labels != UNKNOWN).all():
        cast(Tensor, parts.loss.temperature).fill_(temperature(logits, labels.labels))
        folder.write_weights(folder.trained, parts.network, parts.loss)
    folder.claim_evaluation()


@torch.no_grad()
def features_of(network: Network, images: ImageSet) -> NDArray[np.float32]:
    """A classifier's features or an autoencoder's mean codes, (N, D).

    Args:
        network: left in evaluation mode.
        images: to encode.

    Raises:
        RunError: the network has neither.
    """
    network.eval()
    device = device_of(network)

    def encode(x: Tensor) -> Tensor:
        if isinstance(network, ClassNetwork):
            return network.features(x)
        if isinstance(network, Autoencoder):
            return network.encode(x).mu
        raise RunError(
            f"a {type(network).__name__} has no codes; use a run of an autoencoder or a classifier"
        )

    return images.mapped(encode, device)


def codes_of(network: Network, images: ImageSet) -> NDArray[np.float32]:
    """What labels are spread over: the same, but a classifier's features each of length 1; (N, D).

    Args:
        network: left in evaluation mode.
        images: to encode.

    Raises:
        RunError: the network has neither.
    """
    features = features_of(network, images)
    if isinstance(network, ClassNetwork):
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return features


def _spread(
    given: NDArray[np.int64], config: RunConfig, codes: NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels of all training images, and how often to draw each: the surer, the more often."""
    task, classes = cast(ClassifyConfig, config.task), cast(Any, config.network).classes
    known = given != UNKNOWN
    labels, weights = given, np.zeros(len(given))
    if codes is not None and task.spread:
        probabilities = spread(codes, given, classes)
        labels, weights = probabilities.argmax(1), certainty(probabilities).astype(float)
        weights[known] = 0
    shares = [(known.astype(float), GIVEN_SHARE), (weights, 1 - GIVEN_SHARE)]
    total = np.zeros(len(given))
    for part, share in shares:
        if task.balance:
            part = part / np.maximum(np.bincount(np.maximum(labels, 0), part, classes), 1e-12)[labels]
        total += share * part / max(part.sum(), 1e-12)
    return labels, total.astype(np.float32)
