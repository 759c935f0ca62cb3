"""The long part of a search: settings for long trainings, found by a law that short ones teach.

After the generations of short trials come six of middle length, each bred on one law of an ensemble that fits
all trials so far, then a few whole ones, each bred on the ensemble's mean; the best two are trained again
from a second seed, and the least mean wins. What the law of short trials foretold of the middle ones is
compared with what they came to (later laws have learned from some of them): where that is poor, the rest of
the budget goes into successive halving (Jamieson & Talwalkar 2016) on the long schedule. One trial is chosen
at a time, and is in the record before it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.config.run import RunConfig
from safelight.config.search import LONG, MIDDLE, RETRAINED
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError, RunError
from safelight.evolution.finals import Finalist, train_finalists
from safelight.evolution.foresight import KNOWN, POOR, Foresight, relative_cost
from safelight.evolution.genetic import Individual, PlainGenetic
from safelight.evolution.genome import Genotype, Values
from safelight.evolution.law import Law, Observed
from safelight.evolution.ledger import Trial
from safelight.evolution.record import trial_config
from safelight.evolution.status import Status, status_of
from safelight.evolution.trial import seed_of
from safelight.evolution.trials import Trials, name_of

__all__ = ["Protocol"]

POPULATION, GENERATIONS = 40, 15  # of the search on a law, whose answers cost nothing
INDIFFERENT = 0.5  # deviations of a difference within which the cheaper of two is taken
DIFFERENT = 0.1  # in cost, relative: finalists that differ by as much are not all of one kind

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Child:
    """Something to train, and what the laws foretell of the whole training by it."""

    genotype: Genotype
    values: Values
    parents: tuple[int, ...]  # numbers of trials
    cost: float  # relative
    forecasts: Array  # (members,)


class Protocol:
    """The long part of a search under way.

    Args:
        trials: of the search, its generations of short ones done.
        whole: epochs of a long training.
        on_status: called after each trial.
    """

    def __init__(self, trials: Trials, whole: int, on_status: Callable[[Status], object]) -> None:
        self.trials = trials
        self.record = trials.record
        self.search = trials.search
        self.whole = whole
        self.on_status = on_status
        self.short = [n for n, row in trials.rows.items() if row.schedule is None]
        self._next = len(self.short)
        self._generation = self.search.rounds  # of the record
        self._first: Law | None = None
        self._stage: list[int] = []
        self._stages = 0

    def run(self) -> list[Finalist]:
        """To the end: the finalists, the winner first.

        Raises:
            Interrupted, RunError: the folder can be continued.
        """
        if all(name in KNOWN for name in self.record.genes) and self._check():
            self._train_long()
        else:
            self._halve()
        return self._decide()

    def _check(self) -> bool:
        """Train those of middle length; whether the law foretold their order."""
        self._begin_stage()
        middle = self.search.middle_epochs
        for i in range(MIDDLE):
            limit = self._left / (middle * (MIDDLE - i) + self.whole * (LONG[0] + RETRAINED))
            try:
                if not self._step(middle, limit, self._thompson):
                    break
            except ConfigError:  # too few trials have learned
                return False
        return self._foresight.correlation >= POOR

    def _train_long(self) -> None:
        """Whole trainings, as many as the budget allows."""
        self._begin_stage()
        for i in range(LONG[0]):
            self._step(self.whole, self._left / (self.whole * (LONG[0] - i + RETRAINED)), self._mean)
        for _ in range(*LONG):
            costs = [relative_cost(self.record, self.trials.rows[n].values) for n in self._stage]
            limit = self._left / self.whole - RETRAINED * max(costs)
            if not self._step(self.whole, limit, self._mean, is_needed=False):
                break

    def _thompson(self, law: Law, rng: np.random.Generator, limit: float) -> _Child | None:
        """The best by one law of the ensemble, or a cheaper one that is as good for all it knows."""
        member = int(rng.integers(len(law)))
        children = self._bred(law, rng, limit, self.search.middle_epochs, lambda found: found[member])
        if not children:
            return None
        forecasts = np.stack([child.forecasts for child in children], axis=1)  # (members, N)
        behind = forecasts - forecasts[:, [int(forecasts[member].argmin())]]
        as_good = np.flatnonzero(behind[member] <= INDIFFERENT * behind.std(0))
        return min((children[i] for i in as_good), key=lambda child: (child.cost, child.forecasts[member]))

    def _mean(self, law: Law, rng: np.random.Generator, limit: float) -> _Child | None:
        """The best by the ensemble; the last that there is sure to be differs from those before it."""
        children = self._bred(law, rng, limit, self.whole, lambda found: found.mean(0))
        if len(self._stage) == LONG[0] - 1:
            before = [self.trials.rows[n].values for n in self._stage]
            if not any(self._differ(one, before[0]) for one in before[1:]):
                others = [c for c in children if all(self._differ(c.values, one) for one in before)]
                children = others or children
        return min(children, key=lambda child: float(child.forecasts.mean()), default=None)

    def _differ(self, one: Values, other: Values) -> bool:
        costs = relative_cost(self.record, one), relative_cost(self.record, other)
        decays = [trial_config(self.record, values, "").training.decay for values in (one, other)]
        return abs(costs[0] / costs[1] - 1) >= DIFFERENT or decays[0] != decays[1]

    def _step(
        self,
        epochs: int,
        limit: float,
        choose: Callable[[Law, np.random.Generator, float], _Child | None],
        is_needed: bool = True,
    ) -> bool:
        """Choose one, enter it, train it.

        Args:
            epochs: of its schedule.
            limit: what one of its epochs may cost.
            choose: takes a law, a source of numbers and that limit.
            is_needed: whether the cheapest is trained where none is as cheap.

        Returns:
            Whether there was one to train.
        """
        known = self.trials.ledger.generation(self._generation)
        if known:
            (individual,), state = known
        else:
            law = Law(self._observed(self.trials.rows), seed_of(self.search.seed, f"law {self._next}"))
            child = choose(law, np.random.default_rng((self.search.seed, 4, self._next)), limit)
            if child is None or (child.cost > limit and not is_needed):
                return False
            training = self._training(child.values, epochs)
            foretold, by_short = (one.predict([training])[:, 0] for one in (law, self._law_of_short()))
            individual = Individual(child.genotype, "foretold", child.parents)
            state = {"forecast": [float(n) for n in (foretold.mean(), foretold.std(), by_short.mean())]}
            self.trials.ledger.begin(self._generation, [individual], state)
        self._train([individual], epochs, (epochs,), state["forecast"])
        return True

    def _train(
        self, individuals: list[Individual], epochs: int, rungs: tuple[int, ...], forecast: list[float] | None
    ) -> None:
        numbers = [
            self.trials.enter(self._next + i, individual, epochs, forecast)
            for i, individual in enumerate(individuals)
        ]
        self._next += len(numbers)
        self._generation += 1
        self._stage += numbers
        self._show()
        self.trials.train(numbers, rungs, least=RETRAINED)
        self.trials.write_best()

    def _bred(
        self,
        law: Law,
        rng: np.random.Generator,
        limit: float,
        epochs: int,
        judge: Callable[[Array], Array],
    ) -> list[_Child]:
        """All that a genetic algorithm meets on a law, from the best trials on, but for what was trained."""
        tried: dict[str, Trial] = {}
        for row in self.trials.rows.values():
            if row.fitness is not None:
                tried.setdefault(str(row.values), row)
        encoded = [self.trials.space.encode(row.values) for row in tried.values()]
        first = self._children(law, encoded, [()] * len(encoded))
        numbers = [row.number for row in tried.values()]
        ranked = np.argsort(judge(np.stack([c.forecasts for c in first], axis=1)), kind="stable")
        origins = [numbers[i] for i in ranked[:POPULATION]]
        start = [Individual(first[i].genotype, "known") for i in ranked[:POPULATION]]
        algorithm = PlainGenetic(self.trials.space, POPULATION, int(rng.integers(2**32)), start)
        lines: list[tuple[int, ...]] = []  # of each individual, the trials at the ends of its parents' lines
        children: list[_Child] = []
        for _ in range(GENERATIONS):
            asked = algorithm.ask()
            if not asked:
                break  # a small space is used up
            for individual in asked:
                first_one = len(lines) < len(start)
                lines.append((origins[len(lines)],) if first_one else self._ends(lines, individual.parents))
            here = self._children(law, [i.genotype for i in asked], lines[-len(asked) :])
            children += here
            scores = judge(np.stack([child.forecasts for child in here], axis=1))
            algorithm.tell(
                [(float(s) if c.cost <= limit else math.inf,) for s, c in zip(scores, here, strict=True)]
            )
        done = {str(t.values) for t in self.trials.rows.values() if t.schedule == epochs}
        new = [child for child in children if str(child.values) not in done]
        affordable = [child for child in new if child.cost <= limit]
        return affordable or sorted(new, key=lambda child: child.cost)[:1]

    @staticmethod
    def _ends(lines: list[tuple[int, ...]], parents: tuple[int, ...]) -> tuple[int, ...]:
        """One trial for each parent, so that a family stays a family of two."""
        return tuple(dict.fromkeys(lines[parent][0] for parent in parents if lines[parent]))

    def _children(self, law: Law, genotypes: list[Genotype], parents: list[tuple[int, ...]]) -> list[_Child]:
        values = [self.trials.space.decode(genotype) for genotype in genotypes]
        forecasts = law.predict([self._training(one, self.whole) for one in values]).T
        costs = [relative_cost(self.record, one) for one in values]
        return [_Child(*parts) for parts in zip(genotypes, values, parents, costs, forecasts, strict=True)]

    def _training(self, values: Values, epochs: int) -> TrainingConfig:
        return trial_config(self.record, values, "", epochs).training

    def _law_of_short(self) -> Law:
        if self._first is None:
            self._first = Law(self._observed(self.short), seed_of(self.search.seed, "law of short trials"))
        return self._first

    def _observed(self, numbers: Iterable[int]) -> list[Observed]:
        found = []
        for row in (self.trials.rows[number] for number in numbers):
            epochs = row.schedule or self.search.steps[-1]
            if row.is_done and (row.fitness is None or epochs in row.losses):
                loss = row.losses.get(epochs, math.inf) if row.fitness else math.inf
                found.append(Observed(self._training(row.values, epochs), loss))
        return found

    def _halve(self) -> None:
        """The best so far on the long schedule, at each doubling of the epochs the better half of them."""
        self._begin_stage()
        rungs = [self.whole]
        while rungs[0] > self.search.steps[-1]:
            rungs.insert(0, math.ceil(rungs[0] / 2))
        known = self.trials.ledger.generation(self._generation)
        if known:
            individuals = known[0]
        else:
            individuals = self._to_halve(rungs)
            self.trials.ledger.begin(self._generation, individuals, {})
        self._train(individuals, self.whole, tuple(rungs), None)

    def _to_halve(self, rungs: list[int]) -> list[Individual]:
        """As many of the best as the budget allows."""
        best: dict[str, Trial] = {}
        for row in self.trials.ranked():
            best.setdefault(str(row.values), row)
        left = self._left
        chosen: list[Trial] = []
        for row in best.values():
            costs = [relative_cost(self.record, one.values) for one in [*chosen, row]]
            alive, before, price = len(costs), 0, RETRAINED * self.whole
            for rung, following in zip(rungs, [*rungs[1:], None], strict=True):
                price += alive * (rung - before)
                if following:
                    alive, before = max(min(RETRAINED, alive), math.ceil(alive * rung / following)), rung
            if len(chosen) >= RETRAINED and price * max(costs) > left:
                break
            chosen.append(row)
        encode = self.trials.space.encode
        return [Individual(encode(row.values), "halving", (row.number,)) for row in chosen]

    def _decide(self) -> list[Finalist]:
        """The best two again from a second seed: the least mean wins."""
        ranked = [t for t in self.trials.ranked() if self.whole in t.losses and t.schedule == self.whole]
        if not ranked:
            first = next(t for t in self.trials.rows.values() if t.schedule == self.whole)
            raise RunError(
                f"all trainings of {self.whole} epochs failed, the first for: {first.failure}; "
                "narrow the space"
            )

        def named(trial: Trial, count: int) -> dict[str, RunConfig]:
            configs = {name_of(trial.number, self.whole): self.trials.config_of(trial.number)}
            for fresh in range(1, count):
                config = trial_config(self.record, trial.values, f"final {fresh}", self.whole)
                configs[f"final-{trial.number}-{fresh}"] = config
            return configs

        def show(done: int, planned: int) -> None:
            self._show((done, planned))

        best = {trial.number: named(trial, 2) for trial in ranked[:RETRAINED]}
        known = {name_of(t.number, self.whole): t.losses[self.whole] for t in ranked}
        found = train_finalists(self.trials, best, show, known)
        others = [
            Finalist(t.number, t.values, t.rank_by[0], [t.losses[self.whole]], named(t, 1))
            for t in ranked[RETRAINED:]
        ]
        return [*found, *others]

    @property
    def _foresight(self) -> Foresight:
        return Foresight.of(self.record, self.trials.rows.values())

    @property
    def _left(self) -> float:
        """Of the budget."""
        return self.search.budget - self._foresight.spent

    def _begin_stage(self) -> None:
        self._stage = []
        self._stages += 1
        self.trials.on_change = self._show

    def _show(self, finals: tuple[int, int] | None = None) -> None:
        generation = self.search.rounds + self._stages - 1
        rows = self.trials.rows.values()
        spent = self._foresight.spent
        if finals:
            spent += finals[0] * self.whole
        self.on_status(status_of(self.search, rows, generation, self.trials.pace, finals, self._stage, spent))
