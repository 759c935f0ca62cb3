"""One trial: train a network by the given settings and measure it on validation images, in any process."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from safelight.config.run import RunConfig
from safelight.data.batches import Batches
from safelight.data.images import ImageSet
from safelight.errors import SafelightError, TrainingError
from safelight.machine import cpu_threads, derive_seed, pick_device, prepare_process
from safelight.networks.table import build
from safelight.runs.training import State, fit
from safelight.tasks import evaluation
from safelight.tasks.objective import objective

__all__ = ["CHECKPOINTS", "Material", "Outcome", "Task", "evaluate", "seed_of"]

CHECKPOINTS = 10  # of a run's planned steps, at which losses of several trials are compared


@dataclass(frozen=True)
class Material:
    """What a search trains and judges on; it holds no test images.

    Attributes:
        train: training images.
        validation: validation images.
    """

    train: ImageSet
    validation: ImageSet

    def save(self, folder: Path) -> None:
        """Write the pixels to files that other processes can map."""
        for name in ("train", "validation"):
            images: ImageSet = getattr(self, name)
            np.save(folder / f"{name}.npy", images.pixels)

    @staticmethod
    @lru_cache(maxsize=1)
    def mapped(folder: Path, value_range: tuple[float, float]) -> Material:
        """Open them without reading them: processes of one machine share the memory."""
        parts = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("train", "validation"))
        return Material(*(ImageSet(pixels, value_range) for pixels in parts))


@dataclass(frozen=True)
class Task:
    """What to train.

    Attributes:
        number: of the trial, to tell its outcome by.
        config: settings, resolved; its epochs are those of the whole schedule.
        until: stop after this many of them.
        packed: where to go on from: a state that an earlier outcome gave.
        hopeless: losses at the checkpoints of the schedule, above which to stop.
        seconds: stop after so many.
        keep: whether the outcome holds the state.
    """

    number: int
    config: RunConfig
    until: int
    packed: bytes | None = None
    hopeless: tuple[float, ...] = ()
    seconds: float | None = None
    keep: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        number: of the trial.
        loss: -ELBO of the validation images, nats per image; None where it failed.
        parameters: number of the network's weights.
        seconds: it took.
        curve: training loss since the checkpoint before, at each checkpoint passed.
        failure: why there is no loss.
        packed: the state at the end, where it was asked for.
    """

    number: int
    loss: float | None = None
    parameters: int = 0
    seconds: float = 0.0
    curve: list[float] = field(default_factory=list)
    failure: str | None = None
    packed: bytes | None = None


def seed_of(seed: int, purpose: str) -> int:
    """The training seed of a trial, apart from all others'."""
    return derive_seed(seed, purpose) % 2**32


def evaluate(material: Material | tuple[Path, tuple[float, float]], task: Task) -> Outcome:
    """Train and judge: a function of its arguments alone, to the bit.

    Args:
        material: the images, or what `Material.mapped` opens them by.
        task: what to train.

    Returns:
        The outcome; whatever went wrong in training is told there.
    """
    started = time.perf_counter()
    prepare_process()
    if isinstance(material, tuple):
        material = Material.mapped(*material)
    try:
        with cpu_threads(1):
            outcome = _train(material, task, started)
    except TrainingError:
        outcome = Outcome(task.number, failure="diverged")
    except (SafelightError, RuntimeError, MemoryError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        outcome = Outcome(task.number, failure=f"{type(error).__name__}: {what}")
    return dataclasses.replace(outcome, seconds=time.perf_counter() - started)


def _train(material: Material, task: Task, started: float) -> Outcome:
    training = task.config.training
    device = pick_device(training.device)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(training.seed, "weights"))
        network = build(task.config)
    loss = objective(task.config.likelihood, training)
    network.to(device)
    loss.to(device)
    batches = Batches(material.train, training.batch_size, training.seed, device)
    watch = _Watch(task, len(batches) * training.epochs, started)
    packed = unpack(task.packed) if task.packed else None
    if packed:
        watch.curve += packed[1]["curve"]
    state = fit(
        network,
        batches,
        loss,
        training,
        on_epoch=lambda result, state: result.epoch >= task.until,
        on_step=lambda state: watch.stops(state, len(batches)),
        packed=packed,
    )
    parameters = sum(p.numel() for p in network.parameters())
    if watch.failure:
        return Outcome(task.number, parameters=parameters, curve=watch.curve, failure=watch.failure)
    measured = evaluation.mean_loss(network, loss, material.validation)["loss"]
    if not math.isfinite(measured):
        return Outcome(task.number, parameters=parameters, curve=watch.curve, failure="diverged")
    kept = pack(state, watch.curve) if task.keep else None
    return Outcome(task.number, measured, parameters, curve=watch.curve, packed=kept)


class _Watch:
    """Follows a training step by step, and stops what takes too long or is hopeless."""

    def __init__(self, task: Task, steps: int, started: float) -> None:
        self.task = task
        self.steps = steps
        self.started = started
        self.curve: list[float] = []
        self.failure: str | None = None
        self._before = (0.0, 0)  # sum and number of images of this epoch up to the last checkpoint

    def stops(self, state: State, steps_an_epoch: int) -> bool:
        if state.step == 1:
            self._before = (0.0, 0)
        done = state.epoch * steps_an_epoch + state.step
        if done * CHECKPOINTS // self.steps > len(self.curve):
            total, images = state.totals["loss"], state.images
            self.curve.append((total - self._before[0]) / max(1, images - self._before[1]))
            self._before = (total, images)
            limits = self.task.hopeless[len(self.curve) - 1 : len(self.curve)]
            if limits and self.curve[-1] > limits[0]:
                self.failure = f"hopeless: {self.curve[-1]:.2f} after {done} steps, survivors {limits[0]:.2f}"
        if self.task.seconds is not None and time.perf_counter() - self.started > self.task.seconds:
            self.failure = f"took longer than {self.task.seconds:g} s"
        return self.failure is not None


def pack(state: State, curve: Sequence[float]) -> bytes:
    """A training state as the bytes of a safetensors file."""
    tensors, numbers = state.pack()
    on_cpu = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()
    }
    return safetensors.torch.save(on_cpu, {"numbers": json.dumps(numbers | {"curve": list(curve)})})


def unpack(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read it back."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.load(content), json.loads(header["__metadata__"]["numbers"])
