"""The run folder: the only thing that passes from one command to the next.

It holds open formats only: `config.json`, `model.safetensors` (last epoch), `best.safetensors` (best on
validation), `history.jsonl`, `figures/`, `report.html`, `evaluation.json`, and `state/` for continuing. Every
write is atomic. `state/training.safetensors` alone decides where a run stands: what a killed command wrote
after it is written again, to the same bits, by the one that continues.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from safelight.config import FORMAT_VERSION, RunConfig, from_dict, to_dict
from safelight.errors import ConfigError, RunError
from safelight.files import write_atomically

__all__ = ["BEST", "INITIAL", "LAST", "RunFolder", "write_file"]

CONFIG, LAST, BEST, LOCK = "config.json", "model.safetensors", "best.safetensors", ".lock"
# The config goes last, so that a clearing that was killed can be repeated.
OURS = (
    LAST,
    BEST,
    "history.jsonl",
    "evaluation.json",
    "report.html",
    "figures",
    "state",
    "tensorboard",
    CONFIG,
)
INITIAL = "state/initial.safetensors"  # apart from LAST, which is written before an epoch counts
MAX_JSON_BYTES = 1 << 24


class RunFolder:
    """A run's files.

    Args:
        path: the folder; it need not exist before `create`.

    Example:
        >>> RunFolder("runs/first").path.name
        'first'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.path / "figures"

    @contextmanager
    def create(self, overwrite: bool = False) -> Iterator[None]:
        """Make the folder, locked and with nothing of ours in it; its config makes it a run.

        Args:
            overwrite: delete a run that is there; files that are not ours stay.

        Raises:
            RunError: something else is there, or the folder cannot be written.
        """
        self._refuse_occupied(overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot make the folder {self.path}: {error.strerror}; choose another --out"
            ) from None
        with self.locked():
            self._refuse_occupied(overwrite)  # another process may have been quicker
            for name in OURS:
                path = self.path / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            yield

    def _refuse_occupied(self, overwrite: bool) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise RunError(
                f"expected a new folder, but {self.path} is a link or a file; choose another --out"
            )
        if not self.path.exists():
            return
        started = {LOCK, "state"}  # what is there before the config
        others = {p.name for p in self.path.iterdir() if not p.name.endswith(".partial")} - started
        if not others:
            return
        if CONFIG not in others:
            raise RunError(
                f"expected a new or empty folder, but {self.path} holds other files; choose another --out"
            )
        if not overwrite:
            raise RunError(
                f"{self.path} already holds a run; continue it with --resume {self.path}, replace it with "
                "--overwrite, or choose another --out"
            )
        self.read_config()  # only what is surely ours is deleted
        here = self.path.resolve()
        if here in (Path.cwd(), *Path.cwd().parents, Path.home(), *Path.home().parents):
            raise RunError(
                f"{self.path} holds the current or the home folder and is not deleted; choose another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from training in the same folder; a killed one leaves no lock behind.

        Raises:
            RunError: another process is at it, or the folder cannot be written.
        """
        lock = filelock.FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RunError(f"another process is working on {self.path}; wait for it, or stop it") from None
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror}; choose another --out") from None
        try:
            for left_over in self.path.rglob(".*.partial"):  # by a command that was killed while writing
                left_over.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def write_config(self, config: RunConfig) -> None:
        """Write config.json."""
        write_file(self.path / CONFIG, json.dumps(to_dict(config), indent=2) + "\n")

    def read_config(self) -> RunConfig:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not one of ours.
        """
        path = self.path / CONFIG
        if not self.path.is_dir():
            raise RunError(
                f"expected a run folder, but {self.path} is not a folder; see safelight train --help"
            )
        if not path.is_file():
            raise RunError(
                f"expected a run folder, but {self.path} has no config.json; see safelight train --help"
            )
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError("it is too large")
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values.get("format_version")
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
        except (ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"{path} cannot be read as a run's settings: {error}; train again") from None
        if version != FORMAT_VERSION:
            raise RunError(
                f"{path}: expected format_version {FORMAT_VERSION}, got {version!r}; "
                "use the version of safelight that wrote it"
            )
        try:
            return from_dict(RunConfig, values, str(path))
        except ConfigError as error:
            raise RunError(str(error)) from None

    def write_weights(self, name: str, network: nn.Module, loss: nn.Module) -> None:
        """Write a network's weights, and its loss's under "loss."."""
        tensors = dict(network.state_dict()) | {f"loss.{k}": t for k, t in loss.state_dict().items()}
        self._make_state_folder()
        self._write_tensors(self.path / name, tensors, {})

    def read_weights(self, name: str, network: nn.Module, loss: nn.Module) -> None:
        """Load what `write_weights` wrote into modules of the same form.

        Raises:
            RunError: the file is missing, truncated, or holds another network's weights.
        """
        tensors, _ = self._read_tensors(self.path / name)
        own = {k.removeprefix("loss."): t for k, t in tensors.items() if k.startswith("loss.")}
        try:
            network.load_state_dict({k: t for k, t in tensors.items() if not k.startswith("loss.")})
            loss.load_state_dict(own)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise RunError(
                f"{self.path / name} does not fit the network that was asked for ({detail}); "
                "use the settings it was trained with"
            ) from None

    def write_state(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Write the one file that a run continues from."""
        self._make_state_folder()
        self._write_tensors(
            self.path / "state" / "training.safetensors", tensors, {"numbers": json.dumps(numbers)}
        )

    def read_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read it back; None before the first epoch ended.

        Raises:
            RunError: it is truncated or not ours.
        """
        path = self.path / "state" / "training.safetensors"
        if not path.exists():
            return None
        tensors, metadata = self._read_tensors(path)
        try:
            return tensors, dict(json.loads(metadata["numbers"]))
        except (KeyError, ValueError, TypeError):
            raise RunError(f"{path} is not a training state; delete it to start the run anew") from None

    def _make_state_folder(self) -> None:
        try:
            (self.path / "state").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror}; free some space") from None

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Write history.jsonl, one JSON object an epoch."""
        write_file(self.path / "history.jsonl", "".join(json.dumps(r) + "\n" for r in records))

    def read_history(self) -> list[dict[str, Any]]:
        """The records of the epochs so far.

        Raises:
            RunError: a line is not JSON.
        """
        path = self.path / "history.jsonl"
        if not path.exists():
            return []
        try:
            records = [dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
            for record in records:
                int(record["epoch"]), float(record["train_loss"]), float(record["val_loss"] or 0)
            return records
        except (OSError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise RunError(f"{path} cannot be read as one JSON object a line: {error}; restore it") from None

    def write_evaluation(self, evaluation: dict[str, dict[str, Any]]) -> None:
        """Write evaluation.json: the measures of each split."""
        write_file(self.path / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")

    def read_evaluation(self) -> dict[str, dict[str, Any]]:
        """Read it back; empty when the run was not evaluated since it was last trained.

        Raises:
            RunError: it is no object of objects.
        """
        path = self.path / "evaluation.json"
        if not path.exists():
            return {}
        again = "delete it and evaluate again"
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError("it is too large")
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read as JSON: {error}; {again}") from None
        if not isinstance(values, dict) or not all(isinstance(m, dict) for m in values.values()):
            raise RunError(f"{path}: expected an object with the measures of each split; {again}")
        return values

    def forget_evaluation(self) -> None:
        """Delete evaluation.json: it speaks of weights that are about to change."""
        (self.path / "evaluation.json").unlink(missing_ok=True)

    def _write_tensors(self, path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        on_cpu = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()
        }
        write_file(path, safetensors.torch.save(on_cpu, metadata))

    def _read_tensors(self, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except FileNotFoundError:
            if path.exists():
                raise RunError(f"{path} cannot be read; check its permissions") from None
            raise RunError(
                f"expected weights in {path}, but there are none; finish training, or train again"
            ) from None
        except (safetensors.SafetensorError, OSError) as error:
            raise RunError(f"{path} is truncated or no safetensors file ({error}); train again") from None


def write_file(path: Path, content: str | bytes) -> None:
    """Write a run's file atomically.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}; free some space or choose another folder"
        ) from None
