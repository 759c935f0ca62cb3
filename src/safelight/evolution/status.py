"""Where a search stands, for people to see."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from safelight.config.search import SearchConfig
from safelight.evolution.ledger import Trial

__all__ = ["Pace", "Status", "status_of"]


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

    @property
    def is_complete(self) -> bool:
        """Whether the generation's trials are all finished."""
        return self.done * self.generations == self.generation * self.planned


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
) -> Status:
    """Where a search stands.

    Args:
        search: its settings.
        trials: all there are.
        generation: the one under way, counted from 0.
        pace: of this process.
        finals: how many of the finalists' trainings are done, and how many there are; None before them.
    """
    done = [t for t in trials if t.is_done or t.failure]
    losses = [t.rank_by[0] for t in done if t.fitness is not None]
    first = generation * search.population
    here = [t.rank_by[0] for t in done if t.fitness and first <= t.number < first + search.population]
    planned = search.population * search.generations
    open_finals = search.finals if finals is None else finals[1] - finals[0]
    left = (planned - len(done) if finals is None else 0) + open_finals * search.final_work
    quartiles = statistics.quantiles(here, n=4) if len(here) > 1 else None
    return Status(
        generation=generation + 1,
        generations=search.generations,
        done=len(done),
        planned=planned,
        best=min(losses, default=None),
        median=statistics.median(here) if here else None,
        spread=quartiles[2] - quartiles[0] if quartiles else None,
        failures=len(done) - len(losses),
        trials_an_hour=pace.an_hour,
        seconds_left=3600 * left / pace.an_hour if pace.an_hour else None,
        finals=finals,
    )
