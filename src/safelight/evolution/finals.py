"""The finalists of a search: the best trained again from other seeds, and the least mean wins."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from safelight.config.run import RunConfig
from safelight.errors import RunError
from safelight.evolution.genome import Values
from safelight.evolution.trial import DIVERGED, Job
from safelight.evolution.trials import Trials

__all__ = ["Finalist", "train_finalists"]


@dataclass(frozen=True)
class Finalist:
    """A trial whose trainings from several seeds are compared with others'.

    Attributes:
        number: of the trial.
        values: its genes' values.
        search_loss: the loss it had in the search.
        losses: validation losses of its trainings that count; None where one failed.
        trainings: the checkpoint of each, by name, and the settings that it was trained by.
        failures: why those failed that did.
    """

    number: int
    values: Values
    search_loss: float
    losses: list[float | None]
    trainings: dict[str, RunConfig]
    failures: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[int, float]:
        """Least is best: how many failed, then the mean of the others, infinite where there is none."""
        known = [loss for loss in self.losses if loss is not None]
        return len(self.losses) - len(known), statistics.fmean(known) if known else math.inf


def train_finalists(
    trials: Trials,
    wanted: Mapping[int, Mapping[str, RunConfig]],
    show: Callable[[int, int], object],
    known: Mapping[str, float] | None = None,
) -> list[Finalist]:
    """Train finalists again.

    Args:
        trials: of the search.
        wanted: of each finalist's number, its trainings by the names of their checkpoints.
        show: called with how many of them are done, and how many there are.
        known: losses of those that the search itself has trained.

    Returns:
        The finalists, the best first; `best.json` holds its settings.

    Raises:
        Interrupted, RunError: all failed, or the workers are lost; the folder can be continued.
    """
    folder, given = trials.folder, dict(known or {})
    losses: dict[str, float | None] = {**folder.read_finalists(), **given}
    failures: dict[str, str] = {}
    fresh = {name: c for named in wanted.values() for name, c in named.items() if name not in given}
    jobs = [Job(name, c, c.training.epochs, keep=True) for name, c in fresh.items() if name not in losses]
    show(len(fresh) - len(jobs), len(fresh))
    for job, outcome in trials.run(jobs):
        if outcome.packed:
            folder.write_checkpoint(job.name, outcome.packed)
        if outcome.is_result:
            losses[job.name] = outcome.loss
            folder.write_finalists({name: loss for name, loss in losses.items() if name not in given})
        if outcome.failure:
            failures[job.name] = outcome.failure
        trials.pace.finished += job.until / trials.record.search.steps[-1]
        show(sum(name in losses or name in failures for name in fresh), len(fresh))
    failures |= {name: DIVERGED for name, loss in losses.items() if loss is None}
    finalists = []
    for number, named in wanted.items():
        row = trials.rows[number]
        why = tuple(failures[name] for name in named if name in failures)
        found = [losses.get(name) for name in named]
        finalists.append(Finalist(number, row.values, row.rank_by[0], found, dict(named), why))
    finalists.sort(key=lambda finalist: finalist.rank)
    if finalists[0].rank[1] == math.inf:
        raise RunError(
            f"all {len(fresh)} trainings of the finalists failed, the first for: {finalists[0].failures[0]}; "
            f"try again with: safelight evolve --resume {folder.path}, or narrow the space"
        )
    trials.write_settings(finalists[0].values)
    return finalists
