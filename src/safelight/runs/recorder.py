"""Training into a run folder: after every epoch its record, weights, pictures and state are on disk."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from safelight.config.run import RunConfig
from safelight.data.batches import Batches
from safelight.data.images import Splits
from safelight.data.pictures import write_examples, write_snapshot
from safelight.errors import Interrupted, RunError, TrainingError
from safelight.machine import cpu_threads
from safelight.networks import sampling
from safelight.networks.base import Autoencoder
from safelight.runs.folder import BEST, LAST, RunFolder
from safelight.runs.training import EpochResult, State, fit
from safelight.tasks import evaluation
from safelight.tasks.objective import NegativeELBO

__all__ = ["Progress", "fit_in_folder"]

SNAPSHOT_SAMPLES = 64
SNAPSHOT_PAIRS = 20


class Progress(NamedTuple):
    """Where training stands after a batch; `loss` is the mean of the epoch so far, in nats per image."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


def fit_in_folder(
    folder: RunFolder,
    config: RunConfig,
    network: Autoencoder,
    loss: NegativeELBO,
    batches: Batches,
    splits: Splits,
    on_epoch: Callable[[dict[str, Any]], object] | None,
    on_step: Callable[[Progress], object] | None,
    packed: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None,
) -> None:
    """Run `fit`, and keep all that it makes.

    Args:
        folder: a created run folder, locked by the caller.
        config: its settings, resolved.
        network: moved to the settings' device and trained in place.
        loss: likewise.
        batches: the training images.
        splits: to validate on and to draw pictures from.
        on_epoch: called with each epoch's record; a true answer ends the training.
        on_step: called after each batch; a true answer saves and raises `Interrupted`.
        packed: the state to continue from.

    Raises:
        Interrupted, TrainingError, RunError: the folder can be continued.
    """
    training = config.training
    network.to(training.device)
    loss.to(training.device)
    shown = splits.validation or splits.train
    pictures = shown.subset(slice(SNAPSHOT_PAIRS))
    history = folder.read_history()[: packed[1]["epoch"] if packed else 0]

    def is_stale() -> bool:
        values = [record["val_loss"] for record in history]
        if training.patience is None or not values or None in values:
            return False
        return len(values) - 1 - values.index(min(values)) >= training.patience

    def finish_epoch(result: EpochResult, state: State) -> bool:
        network.eval()
        measured = evaluation.mean_loss(network, loss, splits.validation) if splits.validation else None
        refuse_spoilt(measured["loss"] if measured else 0.0)
        terms = measured or result.terms
        record = {
            "epoch": result.epoch,
            "train_loss": result.terms["loss"],
            "val_loss": measured["loss"] if measured else None,
            "reconstruction": terms["reconstruction"],
            "kl": terms.get("kl"),
            "lr": result.lr,
            "seconds": round(result.seconds, 3),
            "images_per_second": round(result.images / max(result.seconds, 1e-9), 1),
        }
        if measured and all(measured["loss"] < earlier["val_loss"] for earlier in history):
            folder.write_weights(BEST, network, loss)
        history.append(record)
        folder.write_weights(LAST, network, loss)
        folder.write_history(history)
        points = sampling.latent_points(network, SNAPSHOT_SAMPLES, splits.train)
        x = pictures.floats(device=training.device)
        with torch.no_grad():
            drawn, seen = sampling.sample(network, points), network.reconstruct(x)
        write_snapshot(folder.figures, result.epoch, *(t.float().cpu().numpy() for t in (drawn, x, seen)))
        log_to_tensorboard(record)
        folder.write_state(*state.pack())  # last: from here on the epoch counts
        return bool(on_epoch and on_epoch(record)) or is_stale()

    def refuse_spoilt(val_loss: float) -> None:
        finite = all(bool(parameter.isfinite().all()) for parameter in network.parameters())
        if not (finite and math.isfinite(val_loss)):
            raise TrainingError(
                "the weights are no longer finite after the last step; finished epochs are kept: lower --lr, "
                "or use float32"
            )

    interrupted = False

    def finish_step(state: State) -> bool:
        nonlocal interrupted
        if on_step is None:
            return False
        mean = state.totals["loss"] / state.images
        where = Progress(state.epoch + 1, training.epochs, state.step, len(batches), mean)
        if on_step(where):
            refuse_spoilt(0.0)
            interrupted = True
            folder.write_state(*state.pack())
        return interrupted

    if packed and len(history) < packed[1]["epoch"]:
        raise RunError(
            f"{folder.path / 'history.jsonl'}: expected {packed[1]['epoch']} epochs, as in the saved state, "
            f"got {len(history)}; restore the file, or train a new run"
        )
    write_examples(folder.figures, shown.subset(slice(SNAPSHOT_SAMPLES)).floats().numpy())
    if is_stale() or len(history) >= training.epochs:
        return
    folder.forget_evaluation()
    with (
        cpu_threads(training.threads),
        _tensorboard(folder, len(history) + 1) as log_to_tensorboard,
    ):
        fit(network, batches, loss, training, finish_epoch, finish_step, packed)
    if interrupted:
        raise Interrupted(f"stopped and saved; continue with: safelight train --resume {folder.path}")


@contextmanager
def _tensorboard(folder: RunFolder, epoch: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A place for records that TensorBoard reads, when it is installed; `epoch` is the first to come."""
    if importlib.util.find_spec("tensorboard") is None:
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    # Purging hides what a killed run wrote of an epoch before its state was saved.
    with SummaryWriter(str(folder.path / "tensorboard"), purge_step=epoch) as writer:

        def log(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, record["epoch"])
            writer.flush()

        yield log
