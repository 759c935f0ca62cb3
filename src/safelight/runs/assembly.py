"""A run's parts, put together one way for training, for continuing and for the trials of a search."""

from __future__ import annotations

import contextlib
import copy
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import safelight
from safelight.config.data import DataConfig
from safelight.config.network import CustomNetwork
from safelight.config.run import RunConfig
from safelight.config.task import ClassifyConfig, CustomTask
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batch, Batches
from safelight.data.components import fit_components, sample_of
from safelight.data.images import Divided, ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.errors import ConfigError, RunError, TrainingError
from safelight.machine import derive_seed, pick_device
from safelight.networks.base import Autoencoder, Code, Network, device_of
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.networks.dense import DenseVAE
from safelight.networks.linear_path import coarse
from safelight.networks.table import build
from safelight.runs.state import GlobalRandomness
from safelight.tasks.base import Task
from safelight.tasks.classify import Classify
from safelight.tasks.table import make_task

__all__ = [
    "Parts",
    "assemble",
    "describe_network",
    "describe_run",
    "describe_task",
    "fresh_weights",
    "try_out",
]


LEAST_VARIANCE = 1e-6  # along a direction, of pixels from 0 to 1
ENOUGH = 4_000  # images to begin with the components of


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        network: with fresh weights, on the device of the settings.
        task: what it is trained for.
        loss: the task's, likewise.
    """

    network: Network
    task: Task
    loss: nn.Module

    def batches(self, config: RunConfig, images: ImageSet) -> Batches:
        """The training images as the task wants them served."""
        training, device = config.training, device_of(self.network)
        is_to_balance = isinstance(config.task, ClassifyConfig) and config.task.balance
        if is_to_balance and images.weights is None and images.labels is not None:
            counts = np.bincount(np.maximum(images.labels, 0))
            images = replace(images, weights=(1 / counts[images.labels]).astype(np.float32))
        count = training.images_a_step(len(images))
        return Batches(images, count, training.seed, device, self.task.transform, self.task.augment)


def assemble(
    config: RunConfig,
    network: type[Network] | Network | None = None,
    task: type[Task] | Task | None = None,
    train: ImageSet | None = None,
) -> Parts:
    """Make a run's parts from its settings.

    Args:
        config: the run's settings.
        network: for a network of a user's own, its class (called without arguments) or an instance.
        task: likewise for a task.
        train: the training images, where training begins: weights that follow from them do.

    Raises:
        ConfigError: a setting does not fit.
        RunError: the run holds a user's own class, and it is not given.
    """
    device = pick_device(config.training.device)
    with fresh_weights(config.training.seed, device):
        made = _own(config.network, CustomNetwork, network, "network") or build(config.network, config.image)
        own_task = _own(config.task, CustomTask, task, "task") or make_task(config)
        loss = own_task.loss()
    own = made if isinstance(made, DenseVAE) else None
    stages = made.stages if isinstance(made, DeepConvAE | DeepConvVAE) else own
    if train is not None and stages is not None and stages.linear is not None:
        stages.start(*_principal(train, len(stages.linear.scale)))
    return Parts(made.to(device), own_task, loss.to(device))


def _principal(train: ImageSet, latent: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """The training images' mean, directions, variances along them, and that of the rest, a pixel."""
    found = fit_components(sample_of(train, ENOUGH), latent, coarse(train.shape[1:]))
    variances = torch.from_numpy(found.variances).float().clamp(min=LEAST_VARIANCE)
    return found.mean, found.directions, variances, max(found.noise, LEAST_VARIANCE)


@contextlib.contextmanager
def fresh_weights(seed: int, device: str = "cpu") -> Iterator[None]:
    """Modules made in the block have weights that follow from a seed, whatever torch is set to."""
    before = torch.get_default_dtype()
    randomness = GlobalRandomness(derive_seed(seed, "weights"), device)
    with torch.inference_mode(False), torch.enable_grad(), randomness.drawn():
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _own(settings: Any, custom: type[Any], given: Any, what: str) -> Any:
    """A user's own network or task; a copy of an instance, so that no two runs share its weights."""
    if isinstance(given, type):
        return given()
    if given is not None:
        try:
            return copy.deepcopy(given)
        except RuntimeError as error:
            raise ConfigError(f"the {what} cannot be copied ({error}); hand over its class") from None
    if isinstance(settings, custom):
        raise RunError(
            f"the run holds a {what} of your own, {settings.class_name!r}; open it from Python with "
            f"safelight.Run(path, {what}=its class)"
        )
    return None


@torch.no_grad()
def describe_network(network: Network, images: ImageSet) -> CustomNetwork:
    """What a config keeps of a user's own network."""
    is_variational, latent = False, 0
    if isinstance(network, Autoencoder):
        was_training, code = network.training, None
        with contextlib.suppress(RuntimeError):  # which `try_out` will tell in words
            code = network.eval().encode(images.floats(slice(2), device_of(network)))
        network.train(was_training)
        if not isinstance(code, Code | None):
            raise ConfigError(
                f"expected encode to give safelight.Code(mu, logvar or None), got {type(code).__name__}"
            )
        if code is not None:
            is_variational, latent = code.logvar is not None, code.mu.shape[-1]
    return CustomNetwork("custom", type(network).__name__, is_variational, latent)


def describe_task(task: Task) -> CustomTask:
    """What a config keeps of a user's own task, so that anything can report it."""
    return CustomTask("custom", type(task).__name__, tuple(task.measures), tuple(task.sheets))


@torch.no_grad()
def try_out(parts: Parts, config: RunConfig, images: ImageSet) -> None:
    """Make sure, before anything is written, that network, task, training images and batches fit.

    Raises:
        ConfigError: they do not.
    """
    device = device_of(parts.network)
    labels = np.zeros(len(images)) if images.labels is None else images.labels
    farthest = np.array([labels.argmin(), labels.argmax()])
    if not any(parameter.requires_grad for parameter in parts.network.parameters()):
        kind = type(parts.network).__name__
        raise ConfigError(f"expected a network with weights to train, got {kind} with none")
    network, loss = copy.deepcopy((parts.network, parts.loss))  # training changes running statistics
    generator = torch.Generator(device).manual_seed(0)
    most = parts.batches(config, images).batch_size
    for is_training, count in ((False, 2), (True, min(2, most))):
        network.train(is_training)
        batch = Batch.of(images, farthest[:count], device)  # whose labels stand for all
        try:
            with GlobalRandomness(0, device).drawn():
                if parts.task.transform is not None:
                    inputs = parts.task.transform(batch.images, generator)
                    batch = replace(batch, inputs=inputs)
                loss(network, batch, generator, progress=0.0)
        except TrainingError as error:
            raise ConfigError(str(error)) from None
        except (RuntimeError, ValueError) as error:
            what = (
                f"cannot be trained on {len(batch)} images at a time"
                if is_training
                else f"does not take images of {images.shape} (C, H, W)"
            )
            detail = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"the network {what}: {detail}; change the network, the images or the batch size"
            ) from None


def describe_run(
    images: ImageSet,
    splits: Divided,
    data: DataConfig,
    network: Any,
    task: Any,
    training: TrainingConfig,
    command: str,
    notes: tuple[str, ...] = (),
) -> RunConfig:
    """All that a new run is.

    Args:
        images: of the run.
        splits: their parts.
        data: how they were labelled and limited.
        network: its settings.
        task: likewise.
        training: likewise.
        command: that made it.
        notes: on the images, and on why settings are what they are.

    Raises:
        ConfigError: patience, where no epoch can be judged.
    """
    held_out = splits.validation
    if training.patience is not None:
        _refuse_patience(task, held_out)
    return RunConfig(
        network=network,
        image=images.image,
        data=replace(
            data,
            source=images.source,
            fingerprint=images.fingerprint(),
            validation=splits.held_out,
        ),
        training=replace(
            training,  # what was left open in numbers, so that it can be repeated
            batch_size=training.images_a_step(len(splits.train)),
            device=pick_device(training.device),
            threads=training.threads or torch.get_num_threads(),
        ),
        task=task,
        notes=notes,
        versions={
            "safelight": safelight.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        command=command,
    )


def _refuse_patience(task: Any, validation: ImageSet | None) -> None:
    """Refuse patience where no epoch can be judged."""
    if validation is None:
        raise ConfigError(
            "patience: expected validation images to judge epochs by, got none; ask for some with "
            "--validation, or drop --patience"
        )
    known = 0 if validation.labels is None else int((validation.labels != UNKNOWN).sum())
    if isinstance(task, ClassifyConfig) and known < Classify.least_labels:
        raise ConfigError(
            f"patience: expected at least {Classify.least_labels} validation images with labels to judge "
            f"epochs by, got {known}; label more of them, or drop --patience"
        )
