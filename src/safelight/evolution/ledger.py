"""The record of a search: an Optuna study in SQLite, which one process writes.

A trial is there from the moment it was asked for, with all its values, so that a search that was killed finds
what it had begun. Trials are numbered as an algorithm asks for them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from safelight.config.reading import from_dict
from safelight.errors import ConfigError, RunError
from safelight.evolution.genetic import Individual
from safelight.evolution.genome import Space, Values
from safelight.evolution.samplers import distribution_of

__all__ = ["Ledger", "Trial", "table_hash", "trials_of"]

NAME = "safelight"
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One row of the record.

    Attributes:
        number: counted from 0.
        values: of the genes that act.
        origin: known, latin-hypercube, offspring, immigrant, sampler, foretold or halving.
        parents: numbers of the trials that it came from.
        fitness: its objectives, or None where it failed or is not done.
        failure: why it failed; of one that is not done, why the machine failed it.
        losses: validation loss by number of epochs, in the unit of the task's measure.
        parameters: of its network.
        seconds: it took.
        curve: training losses at the checkpoints of its schedule.
        is_done: whether it is finished, well or not.
        schedule: epochs of its whole schedule, where they are not those of every trial.
        forecast: of its loss at their end, where there was one: by all trials before it, the deviation of
            that, and by short trials alone.
    """

    number: int
    values: Values
    origin: str
    parents: tuple[int, ...]
    fitness: tuple[float, ...] | None
    failure: str | None
    losses: dict[int, float]
    parameters: int
    seconds: float
    curve: tuple[float, ...]
    is_done: bool
    schedule: int | None = None
    forecast: tuple[float, float, float] | None = None

    @property
    def rank_by(self) -> tuple[float, ...]:
        """What an algorithm is told: its objectives, infinite where it failed."""
        return self.fitness if self.fitness is not None else (math.inf,)


@dataclass(frozen=True)
class _Generation:
    """What an algorithm asked for at once, and its state after it, as the study holds them."""

    individuals: tuple[Individual, ...]
    state: dict[str, Any]


class Ledger:
    """The study of one search.

    Args:
        path: the SQLite file; made if missing.
        space: the genes.
        fingerprint: of everything that the losses follow from.
        objectives: number of values a trial has.

    Raises:
        RunError: the file is no study of ours, belongs to another search, or cannot be written.
    """

    def __init__(self, path: Path, space: Space, fingerprint: str, objectives: int = 1) -> None:
        self.space = space
        with _spoken(path):
            self._storage = _storage(path, is_new=True)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=NAME,
                directions=["minimize"] * objectives,
                load_if_exists=True,
            )
            found = self._study.user_attrs.setdefault("fingerprint", None)
            if found is None:
                self._study.set_user_attr("fingerprint", fingerprint)
            while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                self._study.ask()  # for one that was killed before it could
            study = self._storage.get_study_id_from_name(NAME)
            self._id_of = partial(self._storage.get_trial_id_from_study_id_trial_number, study)
            self._ids = {t.number: self._id_of(t.number) for t in self._study.get_trials(deepcopy=False)}
        self._path = path
        if found not in (None, fingerprint):
            raise RunError(
                f"{path}: expected trials of the same space, data, seed and versions, got another search's; "
                "use the versions in its config.json, or search anew"
            )

    def trials(self) -> list[Trial]:
        """All rows in the order of their numbers."""
        return [_row(trial) for trial in self._study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """One row."""
        return _row(self._storage.get_trial(self._ids[number]))

    def generation(self, number: int) -> tuple[list[Individual], dict[str, Any]] | None:
        """The individuals asked for together and the algorithm's state after it, or None before that.

        Raises:
            RunError: what is there is no generation.
        """
        found = self._study.user_attrs.get(f"generation-{number}")
        if found is None:
            return None
        try:
            read = from_dict(_Generation, found, f"generation {number}")
        except ConfigError as error:
            raise RunError(f"{self._path}: {error}; restore the file, or search anew") from None
        for genotype in (individual.genotype for individual in read.individuals):
            if len(genotype) != len(self.space) or not all(0 <= unit <= 1 for unit in genotype):
                raise RunError(
                    f"{self._path}: generation {number}: expected {len(self.space)} numbers from 0 to 1, got "
                    f"{genotype}; restore the file, or search anew"
                )
        return list(read.individuals), read.state

    def begin(self, number: int, individuals: Sequence[Individual], state: dict[str, Any]) -> None:
        """Enter a generation, in one write, before any of its trials."""
        entry = {"individuals": [dataclasses.asdict(i) for i in individuals], "state": state}
        with _spoken(self._path):
            self._study.set_user_attr(f"generation-{number}", entry)

    def ask(self, values: Values, origin: str, parents: Sequence[int], **about: Any) -> int:
        """Enter a trial that is about to run, with its schedule and forecast if it has any; its number."""
        with _spoken(self._path):
            self._study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=dict(values),
                    distributions={name: distribution_of(self.space.genes[name]) for name in values},
                    user_attrs={"origin": origin, "parents": list(parents), **about},
                )
            )
            trial = self._study.ask()  # all its values are there before it runs; a bare ask leaves a gap
            self._ids[trial.number] = self._id_of(trial.number)
        return trial.number

    def report(self, number: int, epochs: int, loss: float) -> None:
        """Enter a trial's validation loss after so many epochs."""
        with _spoken(self._path):
            self._storage.set_trial_intermediate_value(self._ids[number], epochs, loss)

    def note(self, number: int, **about: Any) -> None:
        """Keep something beside a trial that is not closed yet."""
        with _spoken(self._path):
            for name, value in about.items():
                self._storage.set_trial_user_attr(self._ids[number], name, value)

    def tell(self, number: int, fitness: Sequence[float] | None, failure: str | None = None) -> None:
        """Close a trial with its objectives, or with why it failed."""
        if fitness is None:
            self.note(number, failure=failure)
        with _spoken(self._path):
            if fitness is None:
                self._study.tell(number, state=TrialState.FAIL)
            else:
                self._study.tell(number, list(fitness))


def trials_of(path: Path) -> list[Trial]:
    """The rows of a study's file, also while a search writes it; none of one that is only being made.

    Raises:
        RunError: it cannot be read.
    """
    if not path.exists() or not _is_made(path):
        return []
    with _spoken(path):
        study = optuna.load_study(study_name=NAME, storage=_storage(path, is_new=False))
        return [_row(trial) for trial in study.get_trials(deepcopy=False)]


def table_hash(trials: Sequence[Trial]) -> str:
    """SHA-256 over everything in the table that is not a time."""
    rows = [
        [
            *(
                t.number,
                t.values,
                t.origin,
                t.parents,
                t.fitness,
                t.failure,
                sorted(t.losses.items()),
                t.curve,
            ),
            *(t.schedule, t.forecast),
        ]
        for t in sorted(trials, key=lambda t: t.number)
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _is_made(path: Path) -> bool:
    """Whether a study is there whole, and not killed in its first second."""
    try:
        with contextlib.closing(_connect(path)) as connection:
            return bool(connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (NAME,)).fetchall())
    except sqlite3.OperationalError as error:
        return "no such table" not in str(error)
    except sqlite3.DatabaseError:
        return True  # which reading it will tell in words


def _connect(path: Path) -> sqlite3.Connection:
    """By its bytes: in a URL some names would mean something else."""
    return sqlite3.connect(os.fsencode(path), timeout=60, check_same_thread=False)


def _storage(path: Path, *, is_new: bool) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(
        "sqlite://",
        engine_kwargs={"creator": partial(_connect, path), "poolclass": sqlalchemy.pool.QueuePool},
        skip_table_creation=not is_new,
    )


@contextmanager
def _spoken(path: Path) -> Iterator[None]:
    """Whatever the database says, in one line."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError, KeyError) as error:
        detail = " ".join(str(error.__cause__ or error).split())[:160]
        raise RunError(
            f"{path} cannot be read or written as a study ({detail}); check its disk and permissions, or "
            "restore the file, then resume"
        ) from None


def _row(trial: FrozenTrial) -> Trial:
    about = trial.user_attrs
    is_complete = trial.state == TrialState.COMPLETE
    return Trial(
        number=trial.number,
        values=dict(trial.params),
        origin=about.get("origin", ""),
        parents=tuple(about.get("parents", ())),
        fitness=tuple(trial.values) if is_complete and trial.values else None,
        failure=None if is_complete else about.get("failure"),
        losses=dict(trial.intermediate_values),
        parameters=about.get("parameters", 0),
        seconds=about.get("seconds", 0.0),
        curve=tuple(about.get("curve", ())),
        is_done=trial.state.is_finished(),
        schedule=about.get("schedule"),
        forecast=tuple(about["forecast"]) if about.get("forecast") else None,
    )
