"""A run in numbers: what its report and a comparison of runs both need to know."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch

from safelight.config.network import CustomNetwork
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, ClassifyConfig, CustomTask, Measure, Sheet
from safelight.errors import ConfigError, RunError
from safelight.files import legible
from safelight.networks.table import build
from safelight.runs.folder import BEST, LAST, OF_LOSS, RunFolder
from safelight.tasks.table import make_task

__all__ = ["Epoch", "Summary", "condition", "counted", "summarize"]

Numbers = dict[str, float | None]
CONDITIONS = {"weights": "the file's SHA-256 begins so", "method": "how it was found"}


@dataclass(frozen=True)
class Epoch:
    """One line of history.jsonl; a number that cannot be read is None.

    Attributes:
        epoch: counted from 1.
        train: measures, means over the epoch while the weights changed.
        validation: measures after the epoch; empty where there is no validation set.
        lr: the learning rate at the epoch's end.
        seconds: spent on training steps.
        images_per_second: trained on.
    """

    epoch: int
    train: Numbers
    validation: Numbers
    lr: float | None
    seconds: float | None
    images_per_second: float | None

    def value(self, name: str) -> float | None:
        """A measure of the validation images if there are any, else of the training."""
        return (self.validation or self.train).get(name)


@dataclass(frozen=True)
class Summary:
    """A run's settings and results.

    Attributes:
        name: of the folder.
        config: the run's settings.
        measures: the table of its task; the first chose the best weights.
        sheets: the table of its task's pictures.
        epochs: the finished ones, at least one.
        evaluation: by split, what `evaluate` measured.
        parameters: number of trained numbers in the network; None if that cannot be known.
        network: its layers, one a line.
        is_judged: whether its best weights were chosen by validation images, if it has any.
    """

    name: str
    config: RunConfig
    measures: tuple[Measure, ...]
    sheets: tuple[Sheet, ...]
    epochs: tuple[Epoch, ...]
    evaluation: dict[str, dict[str, Any]]
    parameters: int | None
    network: str
    is_judged: bool = True

    @property
    def source(self) -> str | None:
        """What the data is called: of a path, its last part."""
        source = self.config.data.source
        return source and legible(Path(source).name or source)

    @property
    def judge(self) -> Measure:
        """The measure that the best weights were chosen by."""
        return self.measures[0]

    @property
    def headline(self) -> Measure:
        """The measure that says most to people."""
        return next((measure for measure in self.measures if measure.is_headline), self.judge)

    @property
    def others(self) -> tuple[Measure, ...]:
        """The other measures that epochs have."""
        return tuple(
            measure
            for measure in self.measures[1:]
            if any(epoch.value(measure.name) is not None for epoch in self.epochs)
            and any(epoch.value(measure.name) != epoch.value(self.judge.name) for epoch in self.epochs)
        )

    @property
    def validated(self) -> bool:
        """Whether there was a validation set."""
        return any(epoch.validation.get(self.judge.name) is not None for epoch in self.epochs)

    @property
    def best(self) -> Epoch | None:
        """The epoch of the best validation measure; None where that did not choose the weights."""
        if not self.is_judged:
            return None
        measured = [(self._judged(epoch), epoch) for epoch in self.epochs]
        known = [(value, epoch) for value, epoch in measured if value is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    @property
    def seconds(self) -> float:
        """Spent on training steps."""
        return sum(epoch.seconds or 0.0 for epoch in self.epochs)

    @property
    def convention(self) -> str:
        """What the judging measure means; only numbers of one convention can be compared."""
        return ", ".join(filter(None, (self.judge.meaning, self.judge.unit)))

    @property
    def prior(self) -> str | None:
        """What new codes are drawn from; None where there is no such thing."""
        task = self.config.task
        if not isinstance(task, AutoencodeConfig):
            return None
        is_there = self.config.network.is_variational or task.prior != "normal"
        return task.prior if is_there else None

    def conditions(self, split: str) -> list[str]:
        """What a split was evaluated on, such as what its images were corrupted with."""
        words = self.evaluation.get(split, {}).items()
        return [value for name, value in words if isinstance(value, str) and name not in ("split", "weights")]

    def _judged(self, epoch: Epoch) -> float | None:
        value = epoch.validation.get(self.judge.name)
        return None if value is None else self.judge.ordered(value)


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
    task = config.task if isinstance(config.task, CustomTask) else make_task(config)
    parameters, network = _network(folder, config)
    scalars = {"n", "images", *(measure.name for measure in task.measures)}
    return Summary(
        name=legible(folder.path.resolve().name),
        config=config,
        measures=task.measures,
        sheets=task.sheets,
        epochs=tuple(epochs),
        evaluation={split: _measures(values, scalars) for split, values in folder.read_evaluation().items()},
        parameters=parameters,
        network=network,
        is_judged=folder.trained == BEST or not isinstance(config.task, ClassifyConfig),
    )


def counted(measures: Mapping[str, Any]) -> str:
    """How many images an evaluation rests on.

    Example:
        >>> counted({"n": 6, "images": 325}), counted({"n": 180, "images": 180})
        ('6 labelled of 325', '180')
    """
    n, images = measures.get("n"), measures.get("images")
    if not isinstance(n, int | float):
        return "–"
    is_part = isinstance(images, int | float) and images != n
    return f"{n:,.0f} labelled of {images:,.0f}" if is_part else f"{n:,.0f}"


def condition(name: str) -> str:
    """What words in an evaluation say."""
    return CONDITIONS.get(name, "what was measured on")


def _epoch(index: int, record: dict[str, Any]) -> Epoch:
    return Epoch(
        epoch=int(_finite(record.get("epoch")) or index),
        train=_numbers(record["train"]),
        validation=_numbers(record["validation"]),
        lr=_finite(record.get("lr")),
        seconds=_finite(record.get("seconds")),
        images_per_second=_finite(record.get("images_per_second")),
    )


def _numbers(values: Mapping[str, Any]) -> Numbers:
    return {str(name): _finite(value) for name, value in values.items()}


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond any float
        return None


def _measures(values: dict[str, Any], scalars: Container[str]) -> dict[str, Any]:
    """Finite numbers; lists and tables for the charts that know how to read them; words on the conditions."""
    return {
        name: value if isinstance(value, list | dict | str) and name not in scalars else _finite(value)
        for name, value in values.items()
    }


def _network(folder: RunFolder, config: RunConfig) -> tuple[int | None, str]:
    if isinstance(config.network, CustomNetwork):
        return _stored_weights(folder)
    try:
        with torch.device("meta"):  # shapes alone, no memory
            network = build(config.network, config.image)
    except ConfigError as error:
        raise RunError(f"{folder.path / 'config.json'}: {error}") from None
    return sum(parameter.numel() for parameter in network.parameters()), str(network)


def _stored_weights(folder: RunFolder) -> tuple[int | None, str]:
    """Of a user's own class only the weights are known."""
    try:
        with safetensors.safe_open(folder.path / LAST, framework="np") as file:
            names = [name for name in file.keys() if not name.startswith(OF_LOSS)]  # noqa: SIM118
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, safetensors.SafetensorError):
        return None, ""
    lines = [f"{name}: {'×'.join(map(str, shape)) or '1'}" for name, shape in shapes.items()]
    return sum(math.prod(shape) for shape in shapes.values()), "\n".join(lines)
