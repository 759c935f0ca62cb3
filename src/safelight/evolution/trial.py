"""One trial: train a network by the given settings and measure it on validation images, in any process."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from safelight.config.run import RunConfig
from safelight.data.images import ImageSet
from safelight.errors import RunError, TrainingError
from safelight.files import why
from safelight.machine import cpu_threads, derive_seed, prepare_process
from safelight.runs.assembly import assemble
from safelight.runs.state import PackedState, State
from safelight.runs.training import fit

__all__ = ["CHECKPOINTS", "DIVERGED", "Job", "Material", "Outcome", "evaluate", "seed_of", "told"]

CHECKPOINTS = 10  # of a run's planned steps, at which losses of several trials are compared
DIVERGED = "diverged"


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
        """Write the pixels to files of a new folder that other processes can map.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        try:
            self.forget(folder)  # what a kill has left, and links, which would be written through
            folder.mkdir(exist_ok=True)
            self._save(folder)
        except OSError as error:
            raise RunError(f"cannot write the images to {folder}: {why(error)}") from None

    def opener(self, folder: Path) -> tuple[Path, tuple[float, float]]:
        """What `mapped` opens it by, once it is saved."""
        return folder, self.train.value_range

    @staticmethod
    def forget(folder: Path) -> None:
        """Delete what `save` wrote, and the folder if it holds nothing else."""
        for name in ("train", "validation"):
            for file in (f"{name}.npy", f"{name}-labels.npy"):
                (folder / file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _save(self, folder: Path) -> None:
        for name in ("train", "validation"):
            images: ImageSet = getattr(self, name)
            np.save(folder / f"{name}.npy", images.pixels)
            if images.labels is not None:
                np.save(folder / f"{name}-labels.npy", images.labels)

    @staticmethod
    @lru_cache(maxsize=1)
    def mapped(folder: Path, value_range: tuple[float, float]) -> Material:
        """Open them without reading them: processes of one machine share the memory."""

        def part(name: str) -> ImageSet:
            pixels, labels = np.load(folder / f"{name}.npy", mmap_mode="c"), folder / f"{name}-labels.npy"
            return ImageSet(pixels, value_range, np.load(labels) if labels.exists() else None)

        return Material(part("train"), part("validation"))


@dataclass(frozen=True)
class Job:
    """What to train.

    Attributes:
        name: of what it is for.
        config: settings, resolved; its epochs are those of the whole schedule.
        until: stop after this many of them.
        packed: where to go on from: a state that an earlier outcome gave.
        hopeless: losses at the checkpoints of the schedule, above which to stop.
        seconds: stop after so many.
        keep: whether the outcome holds the state.
    """

    name: str
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
        loss: the task's first measure of the validation images, least is best; None where it failed.
        parameters: number of the network's weights.
        seconds: it took.
        curve: training loss since the checkpoint before, at each checkpoint passed.
        failure: why there is no loss.
        packed: the state at the end, where it was asked for.
        is_result: False where the machine failed, such as for want of memory: the same settings may do well.
    """

    loss: float | None = None
    parameters: int = 0
    seconds: float = 0.0
    curve: tuple[float, ...] = ()
    failure: str | None = None
    packed: bytes | None = None
    is_result: bool = True


def told(error: BaseException) -> str:
    """What went wrong, in a line.

    Example:
        >>> told(KeyError("lr"))
        "KeyError: 'lr'"
    """
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split())[:200])))


def seed_of(seed: int, purpose: str) -> int:
    """The training seed of a trial, apart from all others'."""
    return derive_seed(seed, purpose) % 2**32


def evaluate(material: Material | tuple[Path, tuple[float, float]], job: Job) -> Outcome:
    """Train and judge: a function of its arguments alone, to the bit.

    Args:
        material: the images, or what `Material.mapped` opens them by.
        job: what to train.

    Returns:
        The outcome; whatever went wrong in training is told there.
    """
    started = time.perf_counter()
    prepare_process()
    if isinstance(material, tuple):
        material = Material.mapped(*material)
    try:
        with cpu_threads(1):
            outcome = _train(material, job, started)
    except TrainingError:
        outcome = Outcome(failure=DIVERGED)
    except Exception as error:
        outcome = Outcome(failure=told(error), is_result=False)
    return dataclasses.replace(outcome, seconds=time.perf_counter() - started)


def _train(material: Material, job: Job, started: float) -> Outcome:
    parts = assemble(job.config, train=None if job.packed else material.train)
    network, loss, training = parts.network, parts.loss, job.config.training
    batches = parts.batches(job.config, material.train)
    watch = _Watch(job, len(batches) * training.epochs, started)
    packed = PackedState.from_bytes(job.packed) if job.packed else None
    if packed:
        watch.curve += packed.numbers["curve"]
    state = fit(
        network,
        batches,
        loss,
        training,
        on_epoch=lambda result, state: result.epoch >= job.until,
        on_step=lambda state: watch.stops(state, len(batches)),
        packed=packed,
    )
    found = Outcome(parameters=sum(p.numel() for p in network.parameters()), curve=tuple(watch.curve))
    if watch.failure:
        return dataclasses.replace(found, failure=watch.failure)
    measure = parts.task.measures[0]
    network.eval()
    value = measure.ordered(parts.task.measure(network, loss, material.validation)[measure.name])
    if not math.isfinite(value):
        return dataclasses.replace(found, failure=DIVERGED)
    kept = None
    if job.keep:
        state_packed = state.pack()
        numbers = state_packed.numbers | {"curve": watch.curve}
        kept = PackedState(state_packed.tensors, numbers).to_bytes()
    return dataclasses.replace(found, loss=value, packed=kept)


class _Watch:
    """Follows a training step by step, and stops what takes too long or is hopeless."""

    def __init__(self, job: Job, steps: int, started: float) -> None:
        self.job = job
        self.steps = steps
        self.started = started
        self.curve: list[float] = []
        self.failure: str | None = None
        self._before = (0.0, 0)  # sum and number of images of this epoch up to the last checkpoint

    def stops(self, state: State, steps_an_epoch: int) -> bool:
        if state.step == 1:
            self._before = (0.0, 0)
        done = state.epoch * steps_an_epoch + state.step
        passed = done * CHECKPOINTS // self.steps - len(self.curve)
        if passed:
            total, images = state.totals["loss"], state.images
            self.curve += [(total - self._before[0]) / max(1, images - self._before[1])] * passed
            self._before = (total, images)
            limits = self.job.hopeless[len(self.curve) - 1 : len(self.curve)]
            # Losses lie behind the weights by a step, which is much of a run of few steps.
            if self.steps >= CHECKPOINTS and limits and self.curve[-1] > limits[0]:
                self.failure = f"hopeless: {self.curve[-1]:.2f} after {done} steps, survivors {limits[0]:.2f}"
        if self.job.seconds is not None and time.perf_counter() - self.started > self.job.seconds:
            self.failure = f"took longer than {self.job.seconds:g} s"
        return self.failure is not None
