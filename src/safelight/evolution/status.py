"""Where a search stands, for people to see."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safelight.config.search import LONG, MIDDLE, SearchConfig
from safelight.evolution.ledger import Trial

__all__ = ["LONGER", "Pace", "Status", "status_of"]

LONGER = 2  # generations of longer trainings, with a budget: of middle length, and whole ones


@dataclass(frozen=True)
class Status:
    """Where a search stands.

    Attributes:
        generation: counted from 1.
        generations: planned.
        done: trials finished.
        planned: trials in all.
        best: least validation loss so far.
        median: of this generation's finished trials.
        spread: between the quartiles of the same.
        failures: trials that failed, in all.
        trials_an_hour: finished in this process; None before the first.
        seconds_left: at that pace, the finalists' trainings among it.
        finals: how many of the finalists' trainings are done, and how many there are; None before them.
        is_complete: whether the generation's trials are all finished.
        spent: epochs of the starting settings that trainings have cost, of a search that has a budget of
        them.
    """

    generation: int
    generations: int
    done: int
    planned: int
    best: float | None
    median: float | None
    spread: float | None
    failures: int
    trials_an_hour: float | None
    seconds_left: float | None
    finals: tuple[int, int] | None = None
    is_complete: bool = False
    spent: float | None = None


class Pace:
    """How much work this process has finished, in trials, and since when."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.finished = 0.0

    @property
    def an_hour(self) -> float | None:
        """Trials an hour; None before the first."""
        hours = (time.monotonic() - self.started) / 3600
        return self.finished / hours if self.finished else None


def status_of(
    search: SearchConfig,
    trials: Iterable[Trial],
    generation: int,
    pace: Pace,
    finals: tuple[int, int] | None = None,
    longer: Sequence[int] = (),
    spent: float | None = None,
) -> Status:
    """Where a search stands; with a budget, what longer trainings there are count as a generation.

    Args:
        search: its settings.
        trials: all there are.
        generation: the one under way, counted from 0.
        pace: of this process.
        finals: how many of the finalists' trainings are done, and how many there are; None before them.
        longer: numbers of this generation's trials, if it is one of longer trainings.
        spent: epochs that the longer ones and those before them have cost.
    """
    done = [t for t in trials if t.is_done or t.failure]
    losses = [t.rank_by[0] for t in done if t.fitness is not None]
    first = generation * search.population
    numbers = longer or range(first, first + search.population)
    here = [t.rank_by[0] for t in done if t.fitness and t.number in numbers]
    planned = search.population * search.rounds
    if search.for_epochs:  # at most; what is left of the budget may not do for another training
        planned += MIDDLE + LONG[1]
        used = len(done) if spent is None else spent / search.steps[-1]
        left = search.budget / search.steps[-1] - used if finals is None or finals[0] < finals[1] else 0.0
    else:
        left = float(planned - len(done) + search.finals if finals is None else finals[1] - finals[0])
    quartiles = statistics.quantiles(here, n=4) if len(here) > 1 else None
    return Status(
        generation=generation + 1,
        generations=search.rounds + LONGER * bool(search.for_epochs),
        done=len(done),
        planned=planned,
        best=min(losses, default=None),
        median=statistics.median(here) if here else None,
        spread=quartiles[2] - quartiles[0] if quartiles else None,
        failures=len(done) - len(losses),
        trials_an_hour=pace.an_hour,
        seconds_left=3600 * max(0.0, left) / pace.an_hour if pace.an_hour else None,
        finals=finals,
        is_complete=sum(t.number in numbers for t in done) == len(numbers),
        spent=spent,
    )
