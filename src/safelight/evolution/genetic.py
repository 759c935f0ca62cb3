"""Algorithms that ask which genotypes to try and are told what came of them.

They know a space of genes, and neither networks nor files. Asking and telling in the same order with the same
seed gives the same questions on one machine; a search that goes on, perhaps on another, recalls those that
were asked.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from scipy.stats import qmc

from safelight.errors import ConfigError, RunError
from safelight.evolution.genome import Genotype, Space, Values
from safelight.evolution.operators import Units, polynomial_mutation, simulated_binary_crossover
from safelight.evolution.ranking import Fitness, normal_scores, order
from safelight.evolution.surrogate import Surrogate

__all__ = [
    "Algorithm",
    "GeneticAlgorithm",
    "Individual",
    "PlainGenetic",
    "RandomSearch",
    "Truncation",
    "initial_design",
]

ATTEMPTS = 100  # at a genotype that was not tried yet


@dataclass(frozen=True)
class Individual:
    """A genotype to try, and where it came from.

    Attributes:
        genotype: one number in [0, 1] a gene, repaired.
        origin: known, latin-hypercube, offspring, immigrant, sampler, foretold or halving.
        parents: numbers of the individuals that it came from, counted from 0 as they were asked for.
    """

    genotype: Genotype
    origin: str
    parents: tuple[int, ...] = ()


class Algorithm(ABC):
    """Something to ask for individuals and to tell how they did; lower fitness is better.

    Ask, tell, ask, tell: a contract that one test holds all of them to.
    """

    @abstractmethod
    def ask(self) -> list[Individual]:
        """The next individuals, none of them asked for before; empty once a small space is used up."""

    @abstractmethod
    def tell(self, fitnesses: Sequence[Fitness]) -> None:
        """What came of those just asked for, in their order; infinite for one that failed.

        Fewer fitnesses than individuals say that the rest was not tried.
        """

    @property
    def state(self) -> dict[str, Any]:
        """Of the source of its random numbers, as JSON can hold it; empty where only asking again goes on."""
        return {}

    def recall(self, individuals: Sequence[Individual], state: dict[str, Any]) -> None:
        """Go on as if it had just asked for these.

        Args:
            individuals: what `ask` gave at this place.
            state: its state right after that.

        Raises:
            RunError: it asks for others.
        """
        if self.ask() != list(individuals):
            raise RunError(
                "expected the trials that its algorithm asks for here, got others: the record is another "
                "search's, or of another version of Optuna or NumPy; restore it, or search anew"
            )


def key_of(space: Space, genotype: Genotype) -> tuple[tuple[str, object], ...]:
    """What makes two genotypes the same: the values that act."""
    return tuple(space.decode(genotype).items())


def initial_design(space: Space, count: int, seed: int, known: Sequence[Values] = ()) -> list[Individual]:
    """Individuals to start from: known good ones, then a Latin hypercube (McKay et al. 1979).

    Args:
        space: the genes.
        count: number of individuals; fewer come back from a space that has fewer.
        seed: fixes the hypercube.
        known: values that have proved good; genes that they do not name take the middle of their range.

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> design = initial_design(Space({"training.lr": Gene("float", 0.0, 1.0)}), 4, seed=0)
        >>> sorted(int(4 * individual.genotype[0]) for individual in design)
        [0, 1, 2, 3]
    """
    rng = np.random.default_rng(seed)
    rest = max(0, count - len(known))
    hypercube = qmc.LatinHypercube(len(space), rng=rng).random(rest) if rest else []
    chosen = [
        *(Individual(space.repair(space.encode(values)), "known") for values in known),
        *(Individual(space.repair(tuple(map(float, units))), "latin-hypercube") for units in hypercube),
    ][:count]
    design: list[Individual] = []
    seen: set[object] = set()
    for individual in chosen:
        for _ in range(ATTEMPTS):
            key = key_of(space, individual.genotype)
            if key not in seen:
                seen.add(key)
                design.append(individual)
                break
            units = tuple(map(float, rng.random(len(space))))
            individual = Individual(space.repair(units), "immigrant")
    return design


class _Generational(Algorithm, ABC):
    """Generations of one size, of which the best ever seen survive with the fitness that they had.

    Args:
        space: the genes.
        population: individuals a generation.
        seed: fixes everything.
        start: the first generation.
        objectives: number of values that a fitness has; any number is the same to it.
    """

    candidates: ClassVar[int] = 1  # bred for each individual, of which one is chosen

    def __init__(
        self, space: Space, population: int, seed: int, start: Sequence[Individual], objectives: int = 1
    ) -> None:
        if population < 2:
            raise ConfigError(f"population: expected at least 2, got {population}")
        self.space = space
        self.population = population
        self.rng = np.random.default_rng((seed, 1))  # not the design's numbers again
        self.is_ordered = np.array([gene.is_ordered for gene in space.genes.values()])
        self._start = list(start)
        self._asked: list[Individual] = []
        self._told: list[Fitness] = []
        self._seen = {key_of(space, individual.genotype) for individual in start}

    def ask(self) -> list[Individual]:
        """The start, then generations of offspring and immigrants."""
        new = self._start
        if self._asked:
            new = []
            for elders in self._elders():
                child = self._child(elders)
                if child is None:
                    break
                new.append(child)
                self._seen.add(key_of(self.space, child.genotype))
        self._asked += new
        return new

    @property
    def state(self) -> dict[str, Any]:
        """Of NumPy's generator."""
        return dict(self.rng.bit_generator.state)

    def recall(self, individuals: Sequence[Individual], state: dict[str, Any]) -> None:
        """Take them as they are: breeding them again might differ in a last bit on another machine."""
        try:
            self.rng.bit_generator.state = state
        except (KeyError, TypeError, ValueError, OverflowError):
            raise RunError(
                f"expected the state of a {type(self.rng.bit_generator).__name__} generator, got {state}; "
                "restore the study, or search anew"
            ) from None
        self._asked += individuals
        self._seen |= {key_of(self.space, individual.genotype) for individual in individuals}

    def tell(self, fitnesses: Sequence[Fitness]) -> None:
        """Remember them; nothing is ever evaluated again."""
        self._told += fitnesses
        del self._asked[len(self._told) :]

    def _child(self, elders: list[int]) -> Individual | None:
        """One of many bred, repaired; None when all seems to be tried.

        The others are not repaired: to look up what a network costs takes longer than to breed it.
        """
        for attempt in range(ATTEMPTS):
            bred: list[Individual] = []
            parents = elders if attempt < ATTEMPTS // 2 else []
            while len(bred) < self.candidates and (one := self._unseen(parents)):
                bred.append(one)
            if not bred:
                return None
            chosen = self._choose(bred)
            genotype = self.space.repair(chosen.genotype)
            if key_of(self.space, genotype) not in self._seen:
                return dataclasses.replace(chosen, genotype=genotype)
        return None

    def _unseen(self, elders: list[int]) -> Individual | None:
        """As made: a child of the elders, if there are any, or a stranger; None when all seems tried."""
        for attempt in range(2 * ATTEMPTS):
            parents, units = self._made(elders if attempt < ATTEMPTS else [])
            genotype = tuple(map(float, units))
            if key_of(self.space, genotype) not in self._seen:
                return Individual(genotype, "offspring" if parents else "immigrant", parents)
        return None

    def _choose(self, candidates: list[Individual]) -> Individual:
        """The one to try."""
        return candidates[0]

    def _stranger(self) -> tuple[tuple[int, ...], Units]:
        return (), self.rng.random(len(self.space))

    @abstractmethod
    def _elders(self) -> list[list[int]]:
        """Whom the parents of each individual of a generation are chosen from; nobody for a stranger's."""

    @abstractmethod
    def _made(self, elders: list[int]) -> tuple[tuple[int, ...], Units]:
        """The parents of a genotype, and the genotype; a stranger's without elders."""


class _Breeding(_Generational, ABC):
    """The best of all so far have children, beside strangers."""

    survivors: ClassVar[float]  # how many of all so far are parents, as a share of the population
    immigrants: ClassVar[float]  # share of a generation drawn afresh

    def _elders(self) -> list[list[int]]:
        count = max(2, round(self.population * self.survivors))
        elders = [i for i in order(self._told)[:count] if self._told[i][0] < math.inf]
        drawn = round(self.population * self.immigrants) if len(elders) > 1 else self.population
        return [elders if i >= drawn else [] for i in range(self.population)]

    def _made(self, elders: list[int]) -> tuple[tuple[int, ...], Units]:
        if not elders:
            return self._stranger()
        parents = self._couple(elders)
        return parents, self._breed(*(np.array(self._asked[i].genotype) for i in parents))

    @abstractmethod
    def _couple(self, elders: list[int]) -> tuple[int, int]:
        """Two parents out of the survivors' numbers, which come best first."""

    @abstractmethod
    def _breed(self, a: Units, b: Units) -> Units:
        """A child of two genotypes."""


class _Crossing(_Breeding, ABC):
    """Tournaments, simulated binary crossover, polynomial mutation; categories cross uniformly."""

    survivors = 0.5
    immigrants = 0.0
    tournament: ClassVar[int] = 2
    crossover_rate: ClassVar[float] = 0.9
    crossover_index: ClassVar[float] = 5.0
    mutation_index: ClassVar[float] = 10.0

    def _couple(self, elders: list[int]) -> tuple[int, int]:
        first = self._winner(elders)
        return first, self._winner([i for i in elders if i != first])

    def _winner(self, elders: list[int]) -> int:
        return elders[int(self.rng.integers(len(elders), size=self.tournament).min())]

    def _breed(self, a: Units, b: Units) -> Units:
        child = a
        if self.rng.random() < self.crossover_rate:
            from_a = self.rng.random(len(a)) < 0.5
            crossed = simulated_binary_crossover(a, b, self.crossover_index, self.rng)
            child = np.where(self.is_ordered, crossed, np.where(from_a, a, b))
        hit = self.rng.random(len(child)) < 1 / len(child)
        moved = polynomial_mutation(child, self.mutation_index, self.rng)
        other = self.rng.random(len(child))
        return np.where(hit, np.where(self.is_ordered, moved, other), child)


@final
class GeneticAlgorithm(_Crossing):
    """A (μ+λ) genetic algorithm: tournaments, simulated binary crossover, polynomial mutation.

    Categories cross uniformly and mutate to any other. For each child that is tried many are bred, and a
    Gaussian process of what came of the others chooses. It learns from ranks, as quantiles of the normal
    distribution, so that it matters neither how far losses are apart nor how badly a trial failed.

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({name: Gene("float", 0.0, 1.0) for name in ("training.gamma", "training.warmup")})
        >>> algorithm = GeneticAlgorithm(space, 10, seed=0, start=initial_design(space, 10, seed=0))
        >>> best = []
        >>> for generation in range(12):
        ...     points = [space.decode(i.genotype) for i in algorithm.ask()]
        ...     fitnesses = [sum((v - 0.3) ** 2 for v in point.values()) for point in points]
        ...     algorithm.tell([(f,) for f in fitnesses])
        ...     best.append(min(fitnesses))
        >>> min(best) < 1e-3 < best[0]
        True
    """

    candidates = 24  # a process trusted further, with a hundred, does no better
    remembered: ClassVar[int] = 300  # that the process learns from: its time grows with their cube

    def ask(self) -> list[Individual]:
        """The start, then generations of chosen offspring and immigrants."""
        if self._told:
            tried = [individual.genotype for individual in self._asked[-self.remembered :]]
            self._surrogate = Surrogate(self.space, tried, normal_scores(self._told[-self.remembered :]))
        return super().ask()

    def _choose(self, candidates: list[Individual]) -> Individual:
        return candidates[self._surrogate.choose([individual.genotype for individual in candidates])]


@final
class PlainGenetic(_Crossing):
    """The same without a process that chooses: for a fitness that costs less than to think about it.

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"training.gamma": Gene("float", 0.0, 1.0)})
        >>> algorithm = PlainGenetic(space, 10, seed=0, start=initial_design(space, 10, seed=0))
        >>> for generation in range(12):
        ...     asked = [individual.genotype[0] for individual in algorithm.ask()]
        ...     algorithm.tell([((unit - 0.3) ** 2,) for unit in asked])
        >>> min(abs(unit - 0.3) for unit in asked) < 0.01
        True
    """


@final
class Truncation(_Breeding):
    """The original report's operators, kept for comparison.

    The best 30% survive, random couples of them cross uniformly, and a gene mutates with probability 0.2 by a
    normal step as wide as its parents differ; unlike there, the step never falls below a floor and nothing
    that survives is evaluated again.

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"training.gamma": Gene("float", 0.0, 1.0)})
        >>> algorithm = Truncation(space, 4, seed=0, start=initial_design(space, 4, seed=0))
        >>> algorithm.tell([(i.genotype[0],) for i in algorithm.ask()])
        >>> [individual.origin for individual in algorithm.ask()]
        ['offspring', 'offspring', 'offspring', 'offspring']
    """

    survivors = 0.3
    immigrants = 0.1
    mutation_rate: ClassVar[float] = 0.2
    least_step: ClassVar[float] = 0.05

    def _couple(self, elders: list[int]) -> tuple[int, int]:
        first, second = self.rng.choice(elders, 2, replace=False)
        return int(first), int(second)

    def _breed(self, a: Units, b: Units) -> Units:
        child = np.where(self.rng.random(len(a)) < 0.5, a, b)
        hit = self.rng.random(len(child)) < self.mutation_rate
        step = self.rng.normal(size=len(child)) * np.maximum(np.abs(a - b), self.least_step)
        other = self.rng.random(len(child))
        moved = np.clip(child + step, 0, 1)
        return np.where(hit, np.where(self.is_ordered, moved, other), child)


@final
class RandomSearch(_Generational):
    """Every individual drawn afresh from the whole space (Bergstra & Bengio 2012).

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"training.gamma": Gene("float", 0.0, 1.0)})
        >>> algorithm = RandomSearch(space, 3, seed=0, start=initial_design(space, 3, seed=0))
        >>> algorithm.tell([(1.0,) for _ in algorithm.ask()])
        >>> [individual.origin for individual in algorithm.ask()]
        ['immigrant', 'immigrant', 'immigrant']
    """

    def _elders(self) -> list[list[int]]:
        return [[]] * self.population

    def _made(self, elders: list[int]) -> tuple[tuple[int, ...], Units]:
        return self._stranger()
