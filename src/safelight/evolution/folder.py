"""A search's files, all read and written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from safelight.config.reading import to_dict
from safelight.config.run import RunConfig
from safelight.errors import RunError
from safelight.evolution.genome import Values
from safelight.evolution.record import SearchRecord
from safelight.files import write_file
from safelight.runs.folders import CONFIG, OwnFolder, read_object

__all__ = ["SearchFolder"]

BEST, FINALISTS, RESULT = "best.json", "finalists.json", "result.json"


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
    files = (
        "study.db",
        "study.db-journal",
        BEST,
        FINALISTS,
        RESULT,
        "report.html",
        "figures",
        "state",
        CONFIG,
    )

    @property
    def study(self) -> Path:
        """The Optuna study."""
        return self.path / "study.db"

    @property
    def images(self) -> Path:
        """What its workers train on, while it runs."""
        return self.path / "state" / "images"

    def read_config(self) -> SearchRecord:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not a search's.
        """
        return self._read_config(SearchRecord)

    def checkpoint(self, name: str) -> Path:
        """Where a trial's weights and training state are kept."""
        return self.path / "state" / f"{name}.safetensors"

    def read_checkpoint(self, name: str) -> bytes | None:
        """A trial's state, or None where there is none."""
        path = self.checkpoint(name)
        return path.read_bytes() if path.exists() else None

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
        if not (self.path / FINALISTS).exists():
            return {}
        losses = self._read(FINALISTS)
        if not all(loss is None or isinstance(loss, float) for loss in losses.values()):
            raise RunError(f"{self.path / FINALISTS}: expected losses by name; {self._again}")
        return losses

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
        if not (self.path / RESULT).exists():
            return {}
        result = self._read(RESULT)
        try:
            for finalist in result["finalists"]:
                int(finalist["trial"]), dict(finalist["values"]), float(finalist["search"])
                [float(loss or 0) for loss in finalist["validation"]]
            [float(loss or 0) for part in ("validation", "test") for loss in result[part]]
            dict(result["values"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"cannot be read as a search's result ({error})"
            raise RunError(f"{self.path / RESULT} {what}; {self._again}") from None
        return result

    @property
    def _again(self) -> str:
        return f"write it again with safelight evolve --resume {self.path}"

    def _read(self, name: str) -> dict[str, Any]:
        return read_object(self.path / name, self._again)
