"""A search's files, all read and written here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safelight.config.reading import from_dict, to_dict
from safelight.config.run import RunConfig
from safelight.errors import ConfigError, RunError
from safelight.evolution.genome import Values
from safelight.evolution.record import SearchRecord
from safelight.files import read_file, why, write_file
from safelight.runs.folder import MAX_TENSOR_BYTES
from safelight.runs.folders import OwnFolder, one_of, read_object

__all__ = ["CHARTS", "SearchFolder"]

BEST, FINALISTS, TESTED, RESULT = "best.json", "finalists.json", "tested.json", "result.json"
STUDY = "study.db"
CHARTS = ("population", "parallel", "importance", "family", "pareto", "forecast")  # of a report


@dataclass(frozen=True)
class _Finalist:
    """One of result.json's finalists."""

    trial: int
    values: dict[str, Any]
    search: float
    validation: tuple[float | None, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Result:
    """What result.json holds."""

    values: dict[str, Any]
    validation: tuple[float | None, ...]
    test: tuple[float, ...]
    finalists: tuple[_Finalist, ...]


@final
class SearchFolder(OwnFolder):
    """A search's files.

    Args:
        path: the folder; it need not exist before `create`.

    Example:
        >>> SearchFolder("runs/evo").study.name
        'study.db'
    """

    kind = "search"
    results = (STUDY,)

    @property
    def own_files(self) -> dict[str, str]:
        """What the project writes; see `OwnFolder`."""
        return {
            "": one_of((STUDY, f"{STUDY}-journal", BEST, FINALISTS, TESTED, RESULT, "report.html")),
            "figures": rf"{one_of(CHARTS)}(-dark)?\.png",
            "state": r"(trial|final)-\d+-\d+\.safetensors",
            "state/images": r"(train|validation)(-labels)?\.npy",
        }

    @property
    def study(self) -> Path:
        """The Optuna study."""
        return self.at(STUDY)

    @property
    def images(self) -> Path:
        """What its workers train on, while it runs."""
        return self.at("state/images")

    def read_config(self) -> SearchRecord:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not a search's.
        """
        return self._read_config(SearchRecord)

    def checkpoint(self, name: str) -> Path:
        """Where a trial's weights and training state are kept."""
        return self.at(f"state/{name}.safetensors")

    def read_checkpoint(self, name: str) -> bytes | None:
        """A trial's state, or None where there is none."""
        path = self.checkpoint(name)
        try:
            return read_file(path, MAX_TENSOR_BYTES) if path.exists() else None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {why(error)}") from None
        except ValueError as error:
            raise RunError(f"{path}: {error}") from None

    def write_checkpoint(self, name: str, packed: bytes) -> None:
        """Keep a trial's state."""
        path = self.checkpoint(name)
        path.parent.mkdir(exist_ok=True)
        write_file(path, packed)

    def write_best(self, config: RunConfig) -> None:
        """Write the settings of the best so far, as `safelight train --config` reads them."""
        parts = {"network": config.network, "task": config.task, "training": config.training}
        content = {name: to_dict(part) for name, part in parts.items()}
        write_file(self.path / BEST, json.dumps(content, indent=2) + "\n")

    def read_best(self) -> dict[str, Any]:
        """Read them back.

        Raises:
            RunError: there are none yet, or the file is damaged.
        """
        return self._read(BEST)

    def write_finalists(self, losses: dict[str, float | None]) -> None:
        """Write the losses of the finalists' trainings, by the names of their checkpoints."""
        write_file(self.path / FINALISTS, json.dumps(losses) + "\n")

    def read_finalists(self) -> dict[str, float | None]:
        """Read them back; empty before the first.

        Raises:
            RunError: the file is damaged.
        """
        return self._read_losses(FINALISTS)

    def write_tested(self, losses: dict[str, float | None]) -> None:
        """Write the test losses of all trainings that were ever measured so, by their checkpoints' names."""
        write_file(self.path / TESTED, json.dumps(losses) + "\n")

    def read_tested(self) -> dict[str, float | None]:
        """Read them back; empty before the first.

        Raises:
            RunError: the file is damaged.
        """
        return self._read_losses(TESTED)

    def _read_losses(self, name: str) -> dict[str, float | None]:
        if not self.at(name).exists():
            return {}
        losses = self._read(name)
        if not all(loss is None or isinstance(loss, float) for loss in losses.values()):
            raise RunError(f"{self.path / name}: expected losses by name; {self._again}")
        return losses

    @property
    def is_finished(self) -> bool:
        """Whether there is a result of all that was trained."""
        return self.at(RESULT).exists()

    def forget_result(self) -> None:
        """Before anything new is trained: a result must not outlive what it was made of."""
        self.at(RESULT).unlink(missing_ok=True)

    def write_result(self, values: Values, finalists: list[dict[str, Any]], test: list[float]) -> None:
        """Write what the search found: the winner's genes and losses, and the finalists, the winner first."""
        result = {
            "values": values,
            "validation": finalists[0]["validation"],
            "test": test,
            "finalists": finalists,
        }
        write_file(self.path / RESULT, json.dumps(result, indent=2) + "\n")

    def read_result(self) -> dict[str, Any]:
        """Read it back; empty while the search is not finished.

        Raises:
            RunError: the file is damaged.
        """
        if not self.at(RESULT).exists():
            return {}
        result = self._read(RESULT)
        try:
            found = from_dict(_Result, result, str(self.path / RESULT))
        except ConfigError as error:
            raise RunError(f"{error}; {self._again}") from None
        every = [found.values, *(finalist.values for finalist in found.finalists)]
        if not all(type(value) in (int, float, str) for values in every for value in values.values()):
            raise RunError(f"{self.path / RESULT}: expected genes' values; {self._again}")
        return result

    @property
    def _again(self) -> str:
        return f"write it again with safelight evolve --resume {self.path}"

    def _read(self, name: str) -> dict[str, Any]:
        return read_object(self.at(name), self._again)
