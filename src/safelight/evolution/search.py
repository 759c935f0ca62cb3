"""A search from its first trial to its winner, in a folder that any later process can go on from.

What the algorithm asked for, and its state then, are in the record before anything of it is trained, so a
search is continued by having the algorithm recall its questions and answering them from the record; only what
is not in the record is trained.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from safelight.config.run import RunConfig
from safelight.config.search import FINALISTS, FRESH_SEEDS, LONG_FINALISTS
from safelight.engines.executors import Engine
from safelight.engines.jobs import run_jobs
from safelight.errors import RunError
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genetic import Algorithm, Individual
from safelight.evolution.genome import Values
from safelight.evolution.ledger import Ledger, Trial
from safelight.evolution.ranking import order
from safelight.evolution.record import SearchRecord, make_algorithm, make_space, trial_config
from safelight.evolution.status import Pace, Status, status_of
from safelight.evolution.surrogate import features
from safelight.evolution.trial import DIVERGED, Job, Outcome, evaluate, told
from safelight.networks.table import cost, image_cost

__all__ = ["Finalist", "run_search"]

CHEAPER = 0.9  # than the finalist before it


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, trained again from fresh seeds, perhaps for longer.

    Attributes:
        number: of the trial.
        values: its genes' values.
        search_loss: the loss it had in the search.
        losses: validation losses of the fresh seeds; None where one failed.
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


def run_search(
    folder: SearchFolder,
    record: SearchRecord,
    engine: Engine,
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[Finalist]:
    """Begin or continue a search, to its end.

    Args:
        folder: a created folder, locked by the caller.
        record: what is searched; its config.json says the same.
        engine: where trials run.
        on_status: called after each trial.
        is_stopped: a true answer finishes the trials that run, and raises `Interrupted`.

    Returns:
        The finalists, the winner first; `best.json` holds its settings.

    Raises:
        Interrupted, RunError: the folder can be continued.
    """
    return _Run(folder, record, engine, on_status, is_stopped).run()


class _Run:
    """A search under way."""

    def __init__(
        self,
        folder: SearchFolder,
        record: SearchRecord,
        engine: Engine,
        on_status: Callable[[Status], object],
        is_stopped: Callable[[], bool],
    ) -> None:
        self.folder = folder
        self.record = record
        self.search = record.search
        self.engine = engine
        self.on_status = on_status
        self.is_stopped = is_stopped
        self.space = make_space(record)
        self.ledger = Ledger(folder.study, self.space, record.fingerprint(), len(self.search.objective))
        self.trials = {trial.number: trial for trial in self.ledger.trials()}
        self.pace = Pace()

    def run(self) -> list[Finalist]:
        self.engine.prepare()
        algorithm = make_algorithm(self.record, self.space)
        budget = self.search.population * self.search.generations
        generation = asked = 0
        while asked < budget:
            individuals = self._ask(algorithm, generation)[: budget - asked]
            if not individuals:
                break  # a small space is used up
            numbers = [self._enter(asked + i, individual) for i, individual in enumerate(individuals)]
            asked += len(numbers)
            self._evaluate(numbers)
            algorithm.tell([self._fitness(number) for number in numbers])
            self._write_best()
            generation += 1
        return self._final()

    def _ask(self, algorithm: Algorithm, generation: int) -> list[Individual]:
        known = self.ledger.generation(generation)
        if known:
            algorithm.recall(*known)
            return known[0]
        individuals = algorithm.ask()
        self.ledger.begin(generation, individuals, algorithm.state)
        return individuals

    def _enter(self, number: int, individual: Individual) -> int:
        values = self.space.decode(individual.genotype)
        if number in self.trials:
            if self.trials[number].values != values:
                raise RunError(
                    f"{self.folder.study}: expected trial {number} to have {values}, got "
                    f"{self.trials[number].values}; it is another search's: restore it"
                )
            return number
        entered = self.ledger.ask(values, individual.origin, individual.parents)
        self.trials[entered] = self.ledger.trial(entered)
        return entered

    def _fitness(self, number: int) -> tuple[float, ...]:
        failed = (math.inf,) * len(self.search.objective)
        return self.trials[number].fitness or failed

    def _evaluate(self, numbers: list[int]) -> None:
        """Train a generation, on each rung the best of those before."""
        generation = numbers[0] // self.search.population
        hopeless = self._hopeless(numbers[0])
        alive = numbers
        rungs = self.search.steps
        self._show(generation)
        for number in numbers:
            if self.trials[number].is_done:  # killed before the last of its files was gone
                self._forget(number)
        for rung, epochs in enumerate(rungs):
            is_last = rung == len(rungs) - 1
            for number in alive:  # killed between its loss and its end
                if is_last and epochs in self.trials[number].losses and not self.trials[number].is_done:
                    self._close(number, epochs)
            open_ = [n for n in alive if not self.trials[n].is_done and epochs not in self.trials[n].losses]
            jobs = {_name(n): n for n in open_}
            wanted = [self._job(n, rung, hopeless, keep=not is_last) for n in open_]
            for job, outcome in self._train(wanted):
                self._record(jobs[job.name], epochs, outcome, is_last)
                self._show(generation)
            measured = [n for n in alive if epochs in self.trials[n].losses]
            if not is_last and measured:
                kept = math.ceil(len(measured) * epochs / rungs[rung + 1])
                ranked = order([self._objectives(n, epochs) for n in measured])
                alive = [measured[i] for i in ranked[:kept]]
                for number in measured:
                    if number not in alive and not self.trials[number].is_done:
                        self._close(number, epochs)

    def _train(self, jobs: list[Job]) -> Iterator[tuple[Job, Outcome]]:
        """What came of jobs, each as it is done; a result of before is none any more."""
        if jobs:
            self.folder.forget_result()

        def cost_of(job: Job) -> float:
            return job.until * image_cost(job.config)

        again = f"safelight evolve --resume {self.folder.path}"
        for job, found in run_jobs(self.engine, evaluate, jobs, cost_of, self.is_stopped, again):
            if isinstance(found, TimeoutError):
                found = Outcome(failure=f"hung, longer than {job.seconds:g} s")
            elif isinstance(found, BaseException):  # a trial tells its own failures, so this is its worker's
                found = Outcome(failure=f"its worker died ({told(found)})", is_result=False)
            yield job, found

    def _job(self, number: int, rung: int, hopeless: tuple[float, ...], keep: bool) -> Job:
        config = trial_config(self.record, self.trials[number].values, f"trial {number}")
        packed = self.folder.read_checkpoint(_name(number, self.search.steps[rung - 1])) if rung else None
        until = config.training.epochs if self.search.equal_cost else self.search.steps[rung]
        seconds = self.search.trial_timeout
        return Job(_name(number), config, until, packed, hopeless, seconds, keep)

    def _objectives(self, number: int, epochs: int) -> tuple[float, ...]:
        trial = self.trials[number]
        config = trial_config(self.record, trial.values, "")
        parameters, flops = cost(config.network, config.image)
        whole = config.training.epochs * image_cost(config)
        sizes = {"parameters": float(parameters), "flops": float(flops), "cost": whole}
        return (trial.losses[epochs], *(sizes[name] for name in self.search.objective[1:]))

    def _record(self, number: int, epochs: int, outcome: Outcome, is_last: bool) -> None:
        seconds = self.trials[number].seconds + outcome.seconds
        self.ledger.note(number, seconds=seconds, curve=list(outcome.curve), parameters=outcome.parameters)
        if outcome.packed:
            # Apart from the rung's before, from which a trial killed here goes on.
            self.folder.write_checkpoint(_name(number, epochs), outcome.packed)
        if outcome.loss is not None:
            self.ledger.report(number, epochs, outcome.loss)
        if outcome.failure and not outcome.is_result:  # left open: the search tries again when it goes on
            self.ledger.note(number, failure=outcome.failure)
            self.pace.finished += 1
        self.trials[number] = self.ledger.trial(number)
        if outcome.loss is None and outcome.is_result:
            self.ledger.tell(number, None, outcome.failure)
            self._done(number)
        elif outcome.loss is not None and is_last:
            self._close(number, epochs)

    def _close(self, number: int, epochs: int) -> None:
        self.ledger.tell(number, self._objectives(number, epochs))
        self._done(number)

    def _done(self, number: int) -> None:
        self.trials[number] = self.ledger.trial(number)
        self._forget(number)
        self.pace.finished += 1

    def _forget(self, number: int) -> None:
        for epochs in self.search.steps:
            self.folder.checkpoint(_name(number, epochs)).unlink(missing_ok=True)

    def _hopeless(self, before: int) -> tuple[float, ...]:
        """At each checkpoint of a schedule the worst loss of those that survive, of finished generations."""
        if not self.search.stop_hopeless:
            return ()
        earlier = [t for t in self.trials.values() if t.number < before and t.fitness is not None]
        ranked = order([t.fitness or () for t in earlier])[: max(2, self.search.population // 2)]
        curves = [earlier[i].curve for i in ranked]
        if len(curves) < 2:
            return ()
        return tuple(max(losses) for losses in zip(*curves, strict=False))

    def _write_best(self) -> None:
        """The best so far as `safelight train --config` reads it."""
        ranked = self._ranked()
        if ranked and not self.folder.is_finished:  # else it is the winner's already
            self._write_settings(ranked[0].values)

    def _ranked(self) -> list[Trial]:
        done = [t for t in self.trials.values() if t.fitness is not None]
        return sorted(done, key=lambda t: (t.rank_by[0], t.number))

    def _write_settings(self, values: Values, epochs: int | None = None) -> None:
        config = trial_config(self.record, values, "", epochs)
        training = dataclasses.replace(config.training, seed=0, threads=None, device="auto")
        self.folder.write_best(dataclasses.replace(config, training=training))

    def _final(self) -> list[Finalist]:
        """Train the best again from fresh seeds: the best of many noisy losses flatters itself."""
        ranked = self._ranked()
        if not ranked:
            raise RunError(
                f"all {len(self.trials)} trials failed, the first for: {self.trials[0].failure}; "
                "change the space or the data"
            )
        best, seeds, epochs = ranked[:FINALISTS], FRESH_SEEDS, self.search.final_epochs
        if epochs:
            best, seeds = self._differing(ranked), 1
        configs = {
            trial.number: {
                f"final-{trial.number}-{fresh}": trial_config(
                    self.record, trial.values, f"final {fresh}", epochs
                )
                for fresh in range(seeds)
            }
            for trial in best
        }
        losses, failures = self.folder.read_finalists(), dict[str, str]()
        jobs = [
            Job(name, config, config.training.epochs, keep=True)
            for trainings in configs.values()
            for name, config in trainings.items()
            if name not in losses
        ]
        finals = sum(map(len, configs.values()))
        self._show(self.search.generations - 1, (finals - len(jobs), finals))
        for job, outcome in self._train(jobs):
            if outcome.packed:
                self.folder.write_checkpoint(job.name, outcome.packed)
            if outcome.is_result:
                losses[job.name] = outcome.loss
                self.folder.write_finalists(losses)
            if outcome.failure:
                failures[job.name] = outcome.failure
            self.pace.finished += self.search.final_work
            done = sum(name in losses or name in failures for names in configs.values() for name in names)
            self._show(self.search.generations - 1, (done, finals))
        failures |= {name: DIVERGED for name, loss in losses.items() if loss is None}
        finalists = [
            Finalist(
                trial.number,
                trial.values,
                trial.rank_by[0],
                [losses.get(name) for name in configs[trial.number]],
                configs[trial.number],
                tuple(failures[name] for name in configs[trial.number] if name in failures),
            )
            for trial in best
        ]
        finalists.sort(key=lambda finalist: finalist.rank)
        if finalists[0].rank[1] == math.inf:
            raise RunError(
                f"all {finals} trainings of the finalists failed, the first for: {finalists[0].failures[0]}; "
                f"try again with: safelight evolve --resume {self.folder.path}, or narrow the space"
            )
        self._write_settings(finalists[0].values, epochs)
        return finalists

    def _differing(self, ranked: list[Trial]) -> list[Trial]:
        """The best, then again and again the best that costs at least a tenth less than the one before.

        What small batches gain in few epochs they lose in many. Places that are left go to those furthest
        from all chosen (Gonzalez 1985), among as many of the best as a generation has.
        """
        costs = [image_cost(trial_config(self.record, trial.values, "")) for trial in ranked]
        chosen = [0]
        for i, flops in enumerate(costs):
            if flops <= CHEAPER * costs[chosen[-1]] and len(chosen) < LONG_FINALISTS:
                chosen.append(i)
        points = features(self.space, [self.space.encode(trial.values) for trial in ranked])
        others = [i for i in range(min(self.search.population, len(ranked))) if i not in chosen]
        while others and len(chosen) < LONG_FINALISTS:
            gaps = np.linalg.norm(points[others][:, None] - points[chosen], axis=2).min(1)
            chosen.append(others.pop(int(gaps.argmax())))
        return [ranked[i] for i in chosen]

    def _show(self, generation: int, finals: tuple[int, int] | None = None) -> None:
        self.on_status(status_of(self.search, self.trials.values(), generation, self.pace, finals))


def _name(number: int, *epochs: int) -> str:
    """What a trial's job is called, and its checkpoint after so many epochs."""
    return "-".join(map(str, ("trial", number, *epochs)))
