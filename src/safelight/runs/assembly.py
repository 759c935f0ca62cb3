"""A run's parts, put together one way for training, for continuing and for the trials of a search."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from safelight.config.network import CustomNetwork
from safelight.config.run import RunConfig
from safelight.config.task import CustomTask
from safelight.data.batches import Batch, Batches
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, RunError, TrainingError
from safelight.machine import derive_seed, pick_device
from safelight.networks.base import Autoencoder, Network
from safelight.networks.table import build
from safelight.tasks.base import Task
from safelight.tasks.table import make_task

__all__ = ["Parts", "assemble", "describe_network", "describe_task", "device_of", "try_out"]


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
        training = config.training
        device = device_of(self.network)
        return Batches(images, training.batch_size, training.seed, device, self.task.transform)


def assemble(
    config: RunConfig, network: type[Network] | Network | None = None, task: type[Task] | Task | None = None
) -> Parts:
    """Make a run's parts from its settings.

    Args:
        config: the run's settings.
        network: for a network of a user's own, its class (called without arguments) or an instance.
        task: likewise for a task.

    Raises:
        ConfigError: a setting does not fit.
        RunError: the run holds a user's own class, and it is not given.
    """
    device = pick_device(config.training.device)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.training.seed, "weights"))
        made = _own(config.network, CustomNetwork, network, "network") or build(config.network, config.image)
        own_task = _own(config.task, CustomTask, task, "task") or make_task(config)
        loss = own_task.loss()
    return Parts(made.to(device), own_task, loss.to(device))


def _own(settings: Any, custom: type[Any], given: Any, what: str) -> Any:
    if given is not None:
        return given() if isinstance(given, type) else given
    if isinstance(settings, custom):
        raise RunError(
            f"the run holds a {what} of your own, {settings.class_name!r}; open it from Python with "
            f"safelight.Run(path, {what}=its class)"
        )
    return None


@torch.no_grad()
def describe_network(network: Network, images: ImageSet) -> CustomNetwork:
    """What a config keeps of a user's own network."""
    is_variational = False
    if isinstance(network, Autoencoder):
        with contextlib.suppress(RuntimeError):  # which `try_out` will tell in words
            was_training = network.training
            code = network.eval().encode(images.floats(slice(2), device_of(network)))
            is_variational = code.logvar is not None
            network.train(was_training)
    return CustomNetwork("custom", type(network).__name__, is_variational)


def describe_task(task: Task) -> CustomTask:
    """What a config keeps of a user's own task, so that anything can report it."""
    return CustomTask("custom", type(task).__name__, tuple(task.measures), tuple(task.sheets))


@torch.no_grad()
def try_out(parts: Parts, images: ImageSet) -> None:
    """Make sure, before anything is written, that network, task and images fit.

    Raises:
        ConfigError: they do not.
    """
    network, device = parts.network, device_of(parts.network)
    was_training = network.training
    network.eval()
    batch = Batch.of(images, slice(2), device)
    generator = torch.Generator(device).manual_seed(0)
    try:
        if parts.task.transform is not None:
            inputs = parts.task.transform(batch.images, generator)
            batch = Batch(batch.images, inputs, batch.labels, batch.indices)
        parts.loss(network, batch, generator, progress=0.0)
    except TrainingError as error:
        raise ConfigError(str(error)) from None
    except RuntimeError as error:
        raise ConfigError(f"the network does not take images of {images.shape} (C, H, W): {error}") from None
    finally:
        network.train(was_training)


def device_of(network: nn.Module) -> str:
    """Where a network is."""
    return str(next(network.parameters()).device)
