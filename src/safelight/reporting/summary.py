"""A run in numbers: what its report and a comparison of runs both need to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch

from safelight.config.run import RunConfig
from safelight.errors import ConfigError, RunError
from safelight.networks.table import NETWORKS, build
from safelight.runs.folder import LAST, RunFolder

__all__ = ["Epoch", "Summary", "summarize"]


@dataclass(frozen=True)
class Epoch:
    """One line of history.jsonl; losses in nats per image.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch, while the weights changed, with the KL weighted by beta.
        val_loss: on the validation images after the epoch; None where there are none.
        reconstruction: its part, of the validation images if there are any.
        kl: its other part; None for a deterministic network.
        lr: the learning rate at the epoch's end.
        seconds: spent on training steps.
        images_per_second: trained on.
    """

    epoch: int
    train_loss: float | None
    val_loss: float | None
    reconstruction: float | None
    kl: float | None
    lr: float | None
    seconds: float | None
    images_per_second: float | None


@dataclass(frozen=True)
class Summary:
    """A run's settings and results.

    Attributes:
        name: of the folder.
        config: the run's settings.
        epochs: the finished ones, at least one.
        evaluation: by split, what `evaluate` measured.
        parameters: number of trained numbers in the network; None if that cannot be known.
        network: its layers, one a line.
    """

    name: str
    config: RunConfig
    epochs: tuple[Epoch, ...]
    evaluation: dict[str, dict[str, Any]]
    parameters: int | None
    network: str

    @property
    def source(self) -> str | None:
        """What the data is called: of a path, its last part."""
        source = self.config.data.source
        return source and (Path(source).name or source)

    @property
    def variational(self) -> bool:
        """Whether codes are distributions, so that the loss has a KL part."""
        return any(epoch.kl is not None for epoch in self.epochs)

    @property
    def validated(self) -> bool:
        """Whether there was a validation set."""
        return any(epoch.val_loss is not None for epoch in self.epochs)

    @property
    def best(self) -> Epoch | None:
        """The epoch of the lowest validation loss; None without validation."""
        measured = [epoch for epoch in self.epochs if epoch.val_loss is not None]
        return min(measured, key=lambda epoch: epoch.val_loss or 0.0, default=None)

    @property
    def seconds(self) -> float:
        """Spent on training steps."""
        return sum(epoch.seconds or 0.0 for epoch in self.epochs)

    @property
    def convention(self) -> str:
        """What the numbers called loss mean; only losses of one convention can be compared."""
        if self.config.likelihood == "gaussian":
            what = "Gaussian {}, one learned standard deviation"
        elif self.config.image.channels == 1:
            what = "grayscale Bernoulli {}"
        else:
            what = "Bernoulli {} of colour values"
        measure = what.format("−ELBO" if self.variational else "−log p(x | z)")
        return f"{measure}, {'one sample of z' if self.variational else 'z a point'}, nats per image"


def summarize(folder: RunFolder) -> Summary:
    """Read a run's numbers.

    Raises:
        RunError: it is no run, its files are damaged, or no epoch is finished yet.
    """
    config = folder.read_config()
    epochs = [_epoch(i, record) for i, record in enumerate(folder.read_history(), 1)]
    if not epochs:
        raise RunError(
            f"expected at least one finished epoch in {folder.path}, got none; "
            f"continue the training with safelight train --resume {folder.path}"
        )
    parameters, network = _network(folder, config)
    return Summary(
        name=folder.path.resolve().name,
        config=config,
        epochs=tuple(epochs),
        evaluation={split: _measures(values) for split, values in folder.read_evaluation().items()},
        parameters=parameters,
        network=network,
    )


def _epoch(index: int, record: dict[str, Any]) -> Epoch:
    numbers = {name: _finite(record.get(name)) for name in Epoch.__dataclass_fields__ if name != "epoch"}
    return Epoch(epoch=int(_finite(record.get("epoch")) or index), **numbers)


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond any float
        return None


def _measures(values: dict[str, Any]) -> dict[str, Any]:
    """The numbers among what was read, None for anything else."""
    numbers: dict[str, Any] = {name: _finite(value) for name, value in values.items()}
    per_dimension = values.get("kl_per_dimension")
    if isinstance(per_dimension, list) and per_dimension:
        numbers["kl_per_dimension"] = [_finite(value) or 0.0 for value in per_dimension]
    return numbers


def _network(folder: RunFolder, config: RunConfig) -> tuple[int | None, str]:
    if config.network.name in NETWORKS:
        try:
            with torch.device("meta"):  # shapes alone, no memory
                network = build(config)
        except ConfigError as error:
            raise RunError(f"{folder.path / 'config.json'}: {error}") from None
        return sum(parameter.numel() for parameter in network.parameters()), str(network)
    return _stored_weights(folder)


def _stored_weights(folder: RunFolder) -> tuple[int | None, str]:
    """Of a user's own class only the weights are known."""
    try:
        with safetensors.safe_open(folder.path / LAST, framework="np") as file:
            names = [name for name in file.keys() if not name.startswith("loss.")]  # noqa: SIM118
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, safetensors.SafetensorError):
        return None, ""
    lines = [f"{name}: {'×'.join(map(str, shape)) or '1'}" for name, shape in shapes.items()]
    return sum(math.prod(shape) for shape in shapes.values()), "\n".join(lines)
