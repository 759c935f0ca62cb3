"""Optuna's samplers behind the same questions and answers, to be compared with and to choose from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import final

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.samplers.nsgaii import PolynomialMutation, SBXCrossover

from safelight.evolution.genetic import ATTEMPTS, Algorithm, Individual, key_of
from safelight.evolution.genome import Gene, Space, Value, Values
from safelight.evolution.ranking import Fitness

__all__ = ["OptunaSampler", "distribution_of", "nsga2", "tpe"]


def distribution_of(gene: Gene) -> optuna.distributions.BaseDistribution:
    """A gene's range as Optuna writes it."""
    if gene.kind == "categorical":
        return optuna.distributions.CategoricalDistribution(gene.choices)
    is_log = gene.kind.startswith("log")
    if gene.kind.endswith("integer"):
        return optuna.distributions.IntDistribution(int(gene.low), int(gene.high), log=is_log)
    return optuna.distributions.FloatDistribution(gene.low, gene.high, log=is_log)


@final
class OptunaSampler(Algorithm):
    """A sampler of Optuna over a study in memory.

    What it proposes twice is answered from memory and costs nothing. Values are rounded, and repaired where
    the space has bounds, before they are tried; the sampler learns of the loss under the values it proposed.

    Args:
        space: the genes.
        batch: individuals asked for at once, after the start; a number of workers would not do, as the
            questions depend on it.
        start: what to try first.
        sampler: Optuna's.
        objectives: number of values to minimize.
    """

    def __init__(
        self, space: Space, batch: int, start: Sequence[Individual], sampler: BaseSampler, objectives: int = 1
    ) -> None:
        self.space = space
        self.batch = batch
        self._start = list(start)
        self._study = optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)
        self._open: list[tuple[optuna.Trial, Individual]] = []
        self._known: dict[object, Fitness] = {}

    def ask(self) -> list[Individual]:
        """The start, then batches of what the sampler proposes."""
        if self._start:
            for individual in self._start:
                self._study.enqueue_trial(self.space.decode(individual.genotype))
            self._open = [(self._propose()[0], individual) for individual in self._start]
            self._start = []
        else:
            self._open = []
            while len(self._open) < self.batch and (found := self._unseen()):
                self._open.append(found)
        return [individual for _, individual in self._open]

    def tell(self, fitnesses: Sequence[Fitness]) -> None:
        """Hand the fitnesses on; one that failed, or was not tried, is told as such."""
        untried = [(math.inf,)] * (len(self._open) - len(fitnesses))
        for (trial, individual), fitness in zip(self._open, [*fitnesses, *untried], strict=True):
            self._known[key_of(self.space, individual.genotype)] = fitness
            self._answer(trial, fitness)

    def _unseen(self) -> tuple[optuna.Trial, Individual] | None:
        """Something new; None when all seems to be tried."""
        waiting = {key_of(self.space, individual.genotype) for _, individual in self._open}
        for _ in range(ATTEMPTS):
            trial, values = self._propose()
            individual = Individual(self.space.repair(self.space.encode(values)), "sampler")
            key = key_of(self.space, individual.genotype)
            if key not in self._known and key not in waiting:
                return trial, individual
            self._answer(trial, self._known.get(key, (math.inf,)))
        return None

    def _answer(self, trial: optuna.Trial, fitness: Fitness) -> None:
        if math.isfinite(fitness[0]):
            self._study.tell(trial, fitness)
        else:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _propose(self) -> tuple[optuna.Trial, Values]:
        trial = self._study.ask()
        values: Values = {}
        for name, gene in self.space.genes.items():
            if all(values.get(other) in allowed for other, allowed in gene.when.items()):
                values[name] = _suggest(trial, name, gene)
        return trial, values


def _suggest(trial: optuna.Trial, name: str, gene: Gene) -> Value:
    if gene.kind == "categorical":
        chosen: Value = trial.suggest_categorical(name, gene.choices)
        return chosen
    is_log = gene.kind.startswith("log")
    if gene.kind.endswith("integer"):
        return trial.suggest_int(name, int(gene.low), int(gene.high), log=is_log)
    return trial.suggest_float(name, gene.low, gene.high, log=is_log)


def tpe(
    space: Space, batch: int, seed: int, start: Sequence[Individual], objectives: int = 1
) -> OptunaSampler:
    """The tree-structured Parzen estimator (Bergstra et al. 2011), with Optuna's defaults."""
    return OptunaSampler(space, batch, start, TPESampler(seed=seed), objectives)


def nsga2(
    space: Space, population: int, seed: int, start: Sequence[Individual], objectives: int = 1
) -> OptunaSampler:
    """NSGA-II (Deb et al. 2002) with simulated binary crossover and polynomial mutation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the lock pins what it is
        sampler = NSGAIISampler(
            population_size=population,
            mutation=PolynomialMutation(),
            crossover=SBXCrossover(),
            seed=seed,
        )
    return OptunaSampler(space, population, start, sampler, objectives)
