"""The run folder: the only thing that passes from one command to the next.

It holds open formats only: `config.json`, `model.safetensors` (last epoch), `best.safetensors` (best on
validation), `pictures.parquet` (which it was trained on), `history.jsonl`, `preview.png` (renewed while it
trains), `figures/`, `report.html`, `evaluation.json`, and `state/` for continuing. Every write is atomic.
`state/training.safetensors` alone decides where a run stands: what a killed command wrote after it is written
again, to the same bits, by the one that continues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, final

import safetensors.torch
from PIL.Image import Image
from torch import nn

from safelight.config.reading import MAX_JSON_BYTES
from safelight.config.run import RunConfig
from safelight.config.task import PLAIN_NAME, CustomTask
from safelight.data.changes import PICTURES, table_of
from safelight.data.images import ImageSet
from safelight.data.pictures import make_folder, png
from safelight.errors import RunError
from safelight.files import read_file, why, write_file
from safelight.runs.folders import INITIAL, OwnFolder, one_of, read_object
from safelight.runs.labels import RunLabels
from safelight.runs.state import PackedState, to_bytes
from safelight.runs.typical import Typical
from safelight.tasks.table import make_task

__all__ = ["BEST", "CHARTS", "CROSS_VALIDATED", "INITIAL", "LAST", "MAX_TENSOR_BYTES", "OF_LOSS", "RunFolder"]

LAST, BEST = "model.safetensors", "best.safetensors"
LABELS, TYPICAL = "labels.safetensors", "typical.safetensors"
PAGE = "page.html"
CROSS_VALIDATED = "cross-validated"  # in an evaluation, in place of a part of the images
HISTORY, EVALUATION, REPORT = "history.jsonl", "evaluation.json", "report.html"
PREVIEW = "preview.png"
STATE, EVALUATING = "state/training.safetensors", "state/evaluation.lock"
EPOCHS, EVALUATED = "figures/epochs", "figures/evaluation"
CHARTS = (  # of a report; a test holds it together with what reporting and latent draw
    *("loss", "parts", "kl_per_dimension", "confusion", "reliability", "severity_curves"),
    *("latent-2d", "latent-2d-sampled", "latent-3d", "latent-3d-sampled"),
)
MAX_TENSOR_BYTES = 1 << 33  # of a file of weights or of a state
DIGITS = 16  # of a SHA-256 that tells weights from others
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

    @property
    def own_files(self) -> dict[str, str]:
        """What the project writes; see `OwnFolder`."""
        config = self.read_config()
        task = config.task if isinstance(config.task, CustomTask) else make_task(config)
        sheets, charts = one_of(sheet.name for sheet in task.sheets), one_of(CHARTS)
        return {
            "": one_of((LAST, BEST, HISTORY, EVALUATION, REPORT, PREVIEW, PAGE, LABELS, TYPICAL, PICTURES)),
            "figures": rf"examples\.png|{sheets}\.(png|gif)|{charts}(-dark)?\.png",
            EPOCHS: rf"{sheets}-\d{{4,9}}\.png",
            EVALUATED: rf"{one_of(_pictures_of(self._evaluations()))}\.png",
            "state": one_of(Path(name).name for name in (INITIAL, STATE, EVALUATING)),
            "tensorboard": r"events\.out\.tfevents\..*",
        }

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

    def read_weights(self, name: str, network: nn.Module, loss: nn.Module) -> str:
        """Load what `write_weights` wrote into modules of the same form.

        Returns:
            What tells these weights from others: the first 16 digits of their file's SHA-256.

        Raises:
            RunError: the file is missing, truncated, or holds another network's weights.
        """
        path = self.at(name)
        try:
            content = read_file(path, MAX_TENSOR_BYTES)
            tensors = safetensors.torch.load(content)
        except FileNotFoundError:
            raise RunError(
                f"expected weights in {path}, but there are none; finish training, or train again"
            ) from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {why(error)}") from None
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise RunError(f"{path} is truncated or no safetensors file ({error}); train again") from None
        own = {k.removeprefix(OF_LOSS): t for k, t in tensors.items() if k.startswith(OF_LOSS)}
        try:
            network.load_state_dict({k: t for k, t in tensors.items() if not k.startswith(OF_LOSS)})
            loss.load_state_dict(own)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise RunError(
                f"{path} does not fit the network that was asked for ({detail}); "
                "use the settings it was trained with"
            ) from None
        return _digest(content)

    @property
    def trained(self) -> str:
        """The weights to use: the best on validation, or the last where there was none."""
        return BEST if self.at(BEST).exists() else LAST

    def digest(self) -> str:
        """Which weights `trained` are; "" where they cannot be read, as whatever reads them says."""
        try:
            return _digest(read_file(self.at(self.trained), MAX_TENSOR_BYTES))
        except (OSError, ValueError):
            return ""

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

    def write_pictures(self, images: ImageSet) -> None:
        """Write which pictures a run is trained on, if they lie in files."""
        table = table_of(images)
        if table is not None:
            write_file(self.at(PICTURES), table)

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
            return parse(read_file(path, MAX_TENSOR_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {why(error)}") from None
        except ValueError as error:
            raise RunError(f"{path}: {error}; {advice}") from None

    def _make_state_folder(self) -> None:
        try:
            self.at("state").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {why(error)}") from None

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Write history.jsonl, one JSON object an epoch."""
        write_file(self.at(HISTORY), "".join(json.dumps(r) + "\n" for r in records))

    def write_preview(self, picture: Image) -> Path:
        """Write preview.png, which may be looked at while it is replaced; its path."""
        path = self.at(PREVIEW)
        write_file(path, png(picture))
        return path

    def read_history(self) -> list[dict[str, Any]]:
        """The records of the epochs so far.

        Raises:
            RunError: a line is not JSON.
        """
        path = self.at(HISTORY)
        if not path.exists():
            return []
        try:
            text = read_file(path, MAX_JSON_BYTES).decode()
            records = [dict(json.loads(line)) for line in text.splitlines()]
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
            measures: by name; "weights" says what was measured, as `read_weights` does.
            pictures: by name, in place of those that an evaluation before drew; None leaves these, and the
                split's other measures of the same weights.
        """
        with self._alone(EVALUATING, wait=60):
            known = self._evaluations()
            if pictures is None:
                same = known.get(split, {})
                measures = (same if same.get("weights") == measures["weights"] else {}) | measures
            else:
                for path in self._own(EVALUATED, rf"{one_of(_pictures_of(known))}\.png"):
                    path.unlink(missing_ok=True)
                for values in known.values():
                    values.pop("pictures", None)
                measures = {**measures, **({"pictures": sorted(pictures)} if pictures else {})}
            self.write_evaluation(known | {split: measures})
            for name, picture in (pictures or {}).items():
                path = self.at(f"{EVALUATED}/{name}.png")
                write_file(make_folder(path.parent) / path.name, png(picture))

    def write_evaluation(self, evaluation: dict[str, dict[str, Any]]) -> None:
        """Write evaluation.json: the measures of each split, and which weights they are of."""
        write_file(self.path / EVALUATION, json.dumps(evaluation, indent=2) + "\n")

    def claim_evaluation(self) -> None:
        """Let what was measured before training count as of the weights that it ended with."""
        if known := self._evaluations():
            weights = self.digest()
            self.write_evaluation(
                {k: v if v.get("weights") else {**v, "weights": weights} for k, v in known.items()}
            )

    def read_evaluation(self) -> dict[str, dict[str, Any]]:
        """Read it back, but not what was measured of other weights than those that are `trained` now.

        Raises:
            RunError: it is no object of objects.
        """
        if not (found := self._evaluations()):
            return {}
        weights = self.digest()
        return {split: values for split, values in found.items() if values.get("weights") == weights}

    def _evaluations(self) -> dict[str, dict[str, Any]]:
        path = self.at(EVALUATION)
        if not path.exists():
            return {}
        again = "delete it and evaluate again"
        values = read_object(path, again)
        if not all(isinstance(measures, dict) for measures in values.values()):
            raise RunError(f"{path}: expected an object with the measures of each split; {again}")
        names = [name for measures in values.values() for name in _listed(measures.get("pictures", []))]
        if not all(isinstance(name, str) and PLAIN_NAME.fullmatch(name) for name in names):
            raise RunError(f"{path}: expected names of letters, digits, - and _ in pictures; {again}")
        return values


def _digest(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()[:DIGITS]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _pictures_of(evaluations: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """What they drew, by name."""
    return {name for measures in evaluations.values() for name in measures.get("pictures", [])}


def _counted_state(content: bytes) -> PackedState:
    state = PackedState.from_bytes(content)
    if type(epoch := state.numbers.get("epoch")) is not int or epoch < 0:
        raise ValueError(f"expected a number of epochs, got {epoch!r}")
    return state
