"""The run folder: the only thing that passes from one command to the next.

It holds open formats only: `config.json`, `model.safetensors` (last epoch), `best.safetensors` (best on
validation), `history.jsonl`, `figures/`, `report.html`, `evaluation.json`, and `state/` for continuing. Every
write is atomic. `state/training.safetensors` alone decides where a run stands: what a killed command wrote
after it is written again, to the same bits, by the one that continues.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, final

import safetensors
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.reading import MAX_JSON_BYTES
from safelight.config.run import RunConfig
from safelight.data.pictures import make_folder, png
from safelight.errors import RunError
from safelight.files import write_file
from safelight.runs.folders import CONFIG, INITIAL, OwnFolder, read_object
from safelight.runs.labels import RunLabels
from safelight.runs.state import PackedState, to_bytes
from safelight.runs.typical import Typical

__all__ = ["BEST", "INITIAL", "LAST", "OF_LOSS", "RunFolder"]

LAST, BEST = "model.safetensors", "best.safetensors"
LABELS, TYPICAL = "labels.safetensors", "typical.safetensors"
PAGE = "page.html"
STATE = "state/training.safetensors"
EVALUATED = "figures/evaluation"
OF_LOSS = ".loss."  # as no part of a network can be called


T = TypeVar("T")


@final
class RunFolder(OwnFolder):
    """A run's files.

    Args:
        path: the folder; it need not exist before `create`.

    Example:
        >>> RunFolder("runs/first").path.name
        'first'
    """

    kind = "run"
    results = (LAST, STATE)
    files = (
        LAST,
        BEST,
        "history.jsonl",
        "evaluation.json",
        "report.html",
        PAGE,
        "figures/*.png",
        "figures/*.gif",
        "figures/epochs/*-[0-9][0-9][0-9][0-9]*.png",
        f"{EVALUATED}/*.png",
        INITIAL,
        STATE,
        LABELS,
        TYPICAL,
        "state/evaluation.lock",
        "tensorboard/events.out.tfevents.*",
        CONFIG,
    )

    def read_config(self) -> RunConfig:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not one of ours.
        """
        return self._read_config(RunConfig)

    def write_weights(self, name: str, network: nn.Module, loss: nn.Module) -> None:
        """Write a network's weights by their names, and its loss's after `OF_LOSS`."""
        tensors = dict(network.state_dict()) | {OF_LOSS + k: t for k, t in loss.state_dict().items()}
        self._make_state_folder()
        write_file(self.at(name), to_bytes(tensors))

    def read_weights(self, name: str, network: nn.Module, loss: nn.Module) -> None:
        """Load what `write_weights` wrote into modules of the same form.

        Raises:
            RunError: the file is missing, truncated, or holds another network's weights.
        """
        tensors = self._read_tensors(self.at(name))
        own = {k.removeprefix(OF_LOSS): t for k, t in tensors.items() if k.startswith(OF_LOSS)}
        try:
            network.load_state_dict({k: t for k, t in tensors.items() if not k.startswith(OF_LOSS)})
            loss.load_state_dict(own)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise RunError(
                f"{self.path / name} does not fit the network that was asked for ({detail}); "
                "use the settings it was trained with"
            ) from None

    @property
    def trained(self) -> str:
        """The weights to use: the best on validation, or the last where there was none."""
        return BEST if self.at(BEST).exists() else LAST

    @property
    def page(self) -> Path:
        """The page to walk through the latent space with."""
        return self.at(PAGE)

    def write_state(self, state: PackedState) -> None:
        """Write the one file that a run continues from."""
        self._make_state_folder()
        write_file(self.at(STATE), state.to_bytes())

    def read_state(self) -> PackedState | None:
        """Read it back; None before the first epoch ended.

        Raises:
            RunError: it is truncated or not ours.
        """
        return self._read(STATE, _counted_state, "delete it to start the run anew")

    def write_labels(self, labels: RunLabels) -> None:
        """Write what the training images are taken for."""
        write_file(self.at(LABELS), labels.to_bytes())

    def read_labels(self) -> RunLabels | None:
        """Read it back; None where the images' own labels hold, or none are needed.

        Raises:
            RunError: the file is truncated or not ours.
        """
        return self._read(LABELS, RunLabels.from_bytes, "train a new run")

    def write_typical(self, typical: Typical) -> None:
        """Write what a classifier's training images look like to it."""
        write_file(self.at(TYPICAL), typical.to_bytes())

    def read_typical(self) -> Typical | None:
        """Read it back; None where it was not learned.

        Raises:
            RunError: the file is truncated or not ours.
        """
        return self._read(TYPICAL, Typical.from_bytes, "delete it to do without")

    def _read(self, name: str, parse: Callable[[bytes], T], advice: str) -> T | None:
        path = self.at(name)
        try:
            return parse(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
        except ValueError as error:
            raise RunError(f"{path}: {error}; {advice}") from None

    def _make_state_folder(self) -> None:
        try:
            self.at("state").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror}; free some space") from None

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Write history.jsonl, one JSON object an epoch."""
        write_file(self.at("history.jsonl"), "".join(json.dumps(r) + "\n" for r in records))

    def read_history(self) -> list[dict[str, Any]]:
        """The records of the epochs so far.

        Raises:
            RunError: a line is not JSON.
        """
        path = self.at("history.jsonl")
        if not path.exists():
            return []
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"more than {MAX_JSON_BYTES >> 20} MiB")
            records = [dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
            for record in records:
                int(record["epoch"])
                for part in ("train", "validation"):
                    [float(value) for value in dict(record[part]).values()]
            return records
        except (OSError, KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise RunError(f"{path} cannot be read as one JSON object a line: {error}; restore it") from None

    def add_evaluation(
        self, split: str, measures: dict[str, Any], pictures: Mapping[str, Image] | None = None
    ) -> None:
        """Put one split's measures beside those of the others, which another process may be writing.

        Args:
            split: train, validation or test.
            measures: by name.
            pictures: by name, in place of those that an evaluation before drew; None leaves these.
        """
        with self._alone("state/evaluation.lock", wait=60):
            if pictures is not None:
                self._forget_pictures()
                for name, picture in pictures.items():
                    path = self.at(f"{EVALUATED}/{name}.png")
                    write_file(make_folder(path.parent) / path.name, png(picture))
            self.write_evaluation(self.read_evaluation() | {split: measures})

    def write_evaluation(self, evaluation: dict[str, dict[str, Any]]) -> None:
        """Write evaluation.json: the measures of each split."""
        write_file(self.path / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")

    def read_evaluation(self) -> dict[str, dict[str, Any]]:
        """Read it back; empty when the run was not evaluated since it was last trained.

        Raises:
            RunError: it is no object of objects.
        """
        path = self.at("evaluation.json")
        if not path.exists():
            return {}
        again = "delete it and evaluate again"
        values = read_object(path, again)
        if not all(isinstance(measures, dict) for measures in values.values()):
            raise RunError(f"{path}: expected an object with the measures of each split; {again}")
        return values

    def forget_evaluation(self) -> None:
        """Delete what evaluations wrote: it speaks of weights that are about to change."""
        (self.path / "evaluation.json").unlink(missing_ok=True)
        self._forget_pictures()

    def _forget_pictures(self) -> None:
        for path in self._own(f"{EVALUATED}/*.png"):
            path.unlink(missing_ok=True)

    def _read_tensors(self, path: Path) -> dict[str, Tensor]:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            if path.exists():
                raise RunError(f"{path} cannot be read; check its permissions") from None
            raise RunError(
                f"expected weights in {path}, but there are none; finish training, or train again"
            ) from None
        except (safetensors.SafetensorError, OSError) as error:
            raise RunError(f"{path} is truncated or no safetensors file ({error}); train again") from None


def _counted_state(content: bytes) -> PackedState:
    state = PackedState.from_bytes(content)
    if type(epoch := state.numbers.get("epoch")) is not int or epoch < 0:
        raise ValueError(f"expected a number of epochs, got {epoch!r}")
    return state
