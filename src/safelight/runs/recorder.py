"""Training into a run folder: after every epoch its record, weights, pictures and state are on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL.Image import Image

from safelight.config.reading import to_dict
from safelight.config.run import RunConfig
from safelight.data.images import Divided
from safelight.data.pictures import make_folder, png, write_examples
from safelight.engines.ranks import ALONE, Ranks
from safelight.errors import Interrupted, RunError, TrainingError
from safelight.files import legible, write_file
from safelight.machine import cpu_threads
from safelight.runs.assembly import Parts
from safelight.runs.folder import BEST, INITIAL, LAST, RunFolder
from safelight.runs.state import PackedState, State, to_bytes
from safelight.runs.training import EpochResult, diverged, fit

__all__ = ["OnEpoch", "OnStep", "Progress", "Recorder"]

WORSE = 0.5  # above the loss before training: times that loss, of densities at least nats for every value
SHOWN, EXAMPLES = 20, 64  # images in the pictures of an epoch, and in examples.png
PREVIEW_STEP = 50  # of the whole training that is shown first; then at twice as many, and so on


@final
class Progress:
    """Where training stands after a batch.

    Attributes:
        epoch: counted from 1.
        epochs: that there will be.
        step: batches done in this epoch.
        steps: that it has.
        preview: the picture that is renewed while it trains; None before the first.
    """

    def __init__(self, state: State, epochs: int, steps: int, preview: Path | None = None) -> None:
        self.epoch, self.epochs, self.step, self.steps = state.epoch + 1, epochs, state.step, steps
        self.preview = preview
        self._state = state

    @property
    def loss(self) -> float:
        """The mean of the epoch so far; read it now and then, as that waits for the device."""
        return self._state.totals["loss"] / self._state.images


OnEpoch = Callable[[dict[str, Any]], object]
OnStep = Callable[[Progress], object]


@final
class Recorder:
    """Runs `fit` and keeps all that it makes.

    Args:
        folder: a created run folder, locked by the caller.
        config: its settings, resolved.
        parts: what is trained, in place.
        splits: to train on, to validate on and to draw pictures from.
        on_epoch: called with each epoch's record; a true answer ends the training.
        on_step: called after each batch; a true answer saves and raises `Interrupted`.
        ranks: the processes that train together; the first keeps what they make.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        parts: Parts,
        splits: Divided,
        on_epoch: OnEpoch | None = None,
        on_step: OnStep | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.folder = folder
        self.config = config
        self.ranks = ranks
        self.training = config.training
        self.parts = parts
        self.splits = splits
        self.batches = parts.batches(config, splits.train)
        self.on_epoch = on_epoch
        self.on_step = on_step
        self.judge = parts.task.measures[0]
        self.history: list[dict[str, Any]] = []
        self.interrupted = False
        self.preview: Path | None = None

    def run(self, packed: PackedState | None = None) -> None:
        """Train to the end.

        Args:
            packed: the state to continue from.

        Raises:
            ConfigError: the processes differ in settings, versions or data.
            Interrupted, TrainingError, RunError: the folder can be continued.
        """
        self.ranks.compare(lambda: self._facts(packed))
        if self.ranks.is_first:
            self._lead(packed)
        else:
            self._follow(packed)

    def _lead(self, packed: PackedState | None) -> None:
        done = packed.numbers["epoch"] if packed else 0
        self.history = self.folder.read_history()[:done]
        if len(self.history) < done:
            raise RunError(
                f"{self.folder.path / 'history.jsonl'}: expected {done} epochs, as in the saved state, "
                f"got {len(self.history)}; restore the file, or train a new run"
            )
        if packed is None:  # a run killed in its first epoch starts from these again
            self.folder.write_weights(INITIAL, self.parts.network, self.parts.loss)
        self.folder.write_config(self.config)
        write_examples(self.folder.figures, self._shown.subset(slice(EXAMPLES)).floats().numpy())
        if self.ranks.agree(self._is_stale() or done >= self.training.epochs):
            return
        with _tensorboard(self.folder, done + 1) as self._log:
            state = self._fit(packed, self._end_epoch, self._end_step)
        if state.epoch == self.training.epochs or self._is_stale():
            self._tell_divergence(state.untrained)

    def _follow(self, packed: PackedState | None) -> None:
        """Train along; the first process says when to end."""
        if not self.ranks.agree(False):
            self._fit(packed, lambda result, state: self._validate(), self._watch_step)

    def _fit(
        self,
        packed: PackedState | None,
        on_epoch: Callable[[EpochResult, State], object],
        on_step: Callable[[State], object],
    ) -> State:
        network, loss, training = self.parts.network, self.parts.loss, self.training
        with cpu_threads(training.threads):
            state = fit(network, self.batches, loss, training, on_epoch, on_step, packed, self.ranks)
        if self.ranks.agree(self.interrupted):
            verb = "finetune" if self.folder.read_labels() else "train"
            place = shlex.quote(str(self.folder.path))
            raise Interrupted(f"stopped and saved; continue with: safelight {verb} --resume {place}")
        return state

    def _facts(self, packed: PackedState | None) -> dict[str, Any]:
        """What all processes must have the same of."""
        modules = {"network": self.parts.network, "loss": self.parts.loss}
        weights = {f"{m}.{name}": t for m, part in modules.items() for name, t in part.state_dict().items()}
        start = packed.to_bytes() if packed else to_bytes(weights)
        return {**to_dict(self.config), "weights to start from": hashlib.sha256(start).hexdigest()[:16]}

    def has_stopped(self, done: int) -> bool:
        """Whether patience had ended the run after so many epochs."""
        self.history = self.folder.read_history()[:done]
        return self._is_stale()

    def _end_epoch(self, result: EpochResult, state: State) -> bool:
        record = self._record(result, self._validate())
        self._refuse_spoilt(state.epoch - 1, record["validation"])
        if self._is_best(record):
            self.folder.write_weights(BEST, self.parts.network, self.parts.loss)
        self.history.append(record)
        self.folder.write_weights(LAST, self.parts.network, self.parts.loss)
        self.folder.write_history(self.history)
        self._draw(result.epoch)
        self._log(record)
        self.folder.write_state(state.pack())  # last: from here on the epoch counts
        return bool(self.on_epoch and self.on_epoch(record)) or self._is_stale()

    def _watch_step(self, state: State) -> bool:
        if self.on_step is None:
            return False
        return bool(self.on_step(Progress(state, self.training.epochs, len(self.batches), self.preview)))

    def _end_step(self, state: State) -> bool:
        if self._is_to_show(state):
            self.parts.network.eval()
            self._show(self._pictures())
            self.parts.network.train()
        if self._watch_step(state):
            self._refuse_spoilt(state.epoch, state.totals)
            self.interrupted = True
            self.folder.write_state(state.pack())
        return self.interrupted

    @property
    def _shown(self) -> Any:
        return self.splits.validation or self.splits.train

    def _validate(self) -> dict[str, float]:
        """What the task says of the validation images; where a batch has parts, they have as many."""
        task, network, loss = self.parts.task, self.parts.network, self.parts.loss
        images, found = self.splits.validation, dict[str, float]()
        network.eval()
        if images is None:
            return {}
        count = min(self.training.micro_batches or 1, len(images))
        if count == 1 or not task.measures_means:
            return task.measure(network, loss, images)  # all the same, and so are buffers that it sets
        parts = np.array_split(np.arange(len(images)), count)

        def leaf(number: int) -> torch.Tensor:
            part = images.subset(slice(parts[number][0], parts[number][-1] + 1))
            found.update(task.measure(network, loss, part))
            return torch.tensor(list(found.values()), dtype=torch.float64) * len(part) / len(images)

        total = self.ranks.sum(leaf, count)
        return {} if total is None else dict(zip(found, total.tolist(), strict=True))

    def _record(self, result: EpochResult, measured: dict[str, float]) -> dict[str, Any]:
        """One line of history.jsonl."""
        names = [measure.name for measure in self.parts.task.measures]
        return {
            "epoch": result.epoch,
            "train": result.terms,
            "validation": {name: measured[name] for name in names if name in measured},
            "lr": result.lr,
            "seconds": round(result.seconds, 3),
            "images_per_second": round(result.images / max(result.seconds, 1e-9), 1),
        }

    def _is_to_show(self, state: State) -> bool:
        """Whether to draw after this step: by its number alone, and not at an epoch's end, which is drawn.

        Weights that are not finite are left to `fit`, which tells of them.
        """
        done = state.epoch * len(self.batches) + state.step
        doublings, rest = divmod(done, PREVIEW_STEP)
        is_due = not rest and doublings.bit_count() == 1 and state.step < len(self.batches)
        return is_due and bool(self.parts.task.sheets) and self._is_finite()

    def _pictures(self) -> dict[str, Image]:
        shown = self._shown.subset(slice(SHOWN))
        return self.parts.task.draw(self.parts.network, shown, self.splits.train)

    def _show(self, pictures: dict[str, Image]) -> None:
        """Renew the preview: the last of the task's sheets."""
        sheets = self.parts.task.sheets
        if sheets and sheets[-1].name in pictures:
            self.preview = self.folder.write_preview(pictures[sheets[-1].name])

    def _draw(self, epoch: int) -> None:
        pictures = self._pictures()
        self._show(pictures)
        folder = make_folder(self.folder.figures / "epochs")
        for name, picture in pictures.items():
            write_file(folder / f"{name}-{epoch:04d}.png", png(picture))

    @property
    def _can_judge(self) -> bool:
        return self.splits.validation is not None and self.parts.task.can_judge(self.splits.validation)

    def _values(self) -> list[float]:
        """What each epoch's weights are judged by, least is best; empty without validation."""
        name = self.judge.name
        if not self._can_judge or not all(name in record["validation"] for record in self.history):
            return []
        return [self.judge.ordered(record["validation"][name]) for record in self.history]

    def _is_best(self, record: dict[str, Any]) -> bool:
        if not self._can_judge or self.judge.name not in record["validation"]:
            return False
        value = self.judge.ordered(record["validation"][self.judge.name])
        return all(value < earlier for earlier in self._values())

    def _is_stale(self) -> bool:
        values = self._values()
        if self.training.patience is None or not values:
            return False
        return len(values) - 1 - values.index(min(values)) >= self.training.patience

    def _tell_divergence(self, untrained: float | None) -> None:
        """Finite, and far worse than nothing: that is no success."""
        last = self.history[-1]
        loss = min(last[part].get("loss", math.inf) for part in ("train", "validation"))
        likelihood = getattr(self.parts.loss, "likelihood", None)
        values = math.prod(self.config.image.shape) if likelihood and likelihood.is_density else 1
        if untrained is not None and loss - untrained > WORSE * max(values, abs(untrained)):
            raise TrainingError(
                f"the training diverged: the loss is {loss:.3g}, and was {untrained:.3g} before; what it "
                "made is kept; train again with a lower --lr, and --overwrite"
            )

    def _refuse_spoilt(self, finished: int, measured: dict[str, float]) -> None:
        if not (self._is_finite() and math.isfinite(measured.get("loss", 0.0))):
            raise diverged("the weights are no longer finite after the last step", finished, self.training)

    def _is_finite(self) -> bool:
        trained = (*self.parts.network.parameters(), *self.parts.loss.parameters())
        return all(bool(parameter.isfinite().all()) for parameter in trained)


@contextmanager
def _tensorboard(folder: RunFolder, epoch: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A place for records that TensorBoard reads, when it is installed; `epoch` is the first to come."""
    place = str(folder.at("tensorboard"))
    if importlib.util.find_spec("tensorboard") is None or place != legible(place):  # which it cannot write
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    # Purging hides what a killed run wrote of an epoch before its state was saved.
    with SummaryWriter(place, purge_step=epoch) as writer:

        def log(record: dict[str, Any]) -> None:
            numbers = {f"{part}/{k}": v for part in ("train", "validation") for k, v in record[part].items()}
            numbers |= {name: record[name] for name in ("lr", "seconds", "images_per_second")}
            for name, value in numbers.items():
                writer.add_scalar(name, value, record["epoch"])
            writer.flush()

        yield log
