"""The trials of a search: entered, trained wherever there is a worker, and recorded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from safelight.config.run import RunConfig
from safelight.engines.executors import Engine
from safelight.engines.jobs import run_jobs
from safelight.errors import RunError
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genetic import Algorithm, Individual
from safelight.evolution.genome import Values
from safelight.evolution.ledger import Ledger, Trial
from safelight.evolution.ranking import order
from safelight.evolution.record import SearchRecord, make_space, trial_config
from safelight.evolution.status import Pace
from safelight.evolution.trial import Job, Outcome, evaluate, told
from safelight.networks.table import cost, image_cost

__all__ = ["Trials", "name_of"]


class Trials:
    """What a search has tried, and the way to try more.

    Args:
        folder: a created folder, locked by the caller.
        record: what is searched; its config.json says the same.
        engine: where trials run.
        is_stopped: a true answer finishes the trials that run, and raises `Interrupted`.

    Attributes:
        rows: every trial by its number.
        space: the genes.
        on_change: called whenever one has been trained.
    """

    def __init__(
        self, folder: SearchFolder, record: SearchRecord, engine: Engine, is_stopped: Callable[[], bool]
    ) -> None:
        self.folder = folder
        self.record = record
        self.search = record.search
        self.engine = engine
        self.is_stopped = is_stopped
        self.space = make_space(record)
        self.ledger = Ledger(folder.study, self.space, record.fingerprint(), len(self.search.objective))
        self.rows = {trial.number: trial for trial in self.ledger.trials()}
        self.pace = Pace()
        self.on_change: Callable[[], object] = lambda: None

    def ask(self, algorithm: Algorithm, generation: int) -> list[Individual]:
        """What the algorithm asked for, as the record has it, or what it asks for now."""
        known = self.ledger.generation(generation)
        if known:
            algorithm.recall(*known)
            return known[0]
        individuals = algorithm.ask()
        self.ledger.begin(generation, individuals, algorithm.state)
        return individuals

    def enter(
        self,
        number: int,
        individual: Individual,
        schedule: int | None = None,
        forecast: Sequence[float] | None = None,
    ) -> int:
        """Enter an individual as the trial of this number, unless it is there.

        Raises:
            RunError: another is there.
        """
        values = self.space.decode(individual.genotype)
        if number in self.rows:
            if self.rows[number].values != values:
                raise RunError(
                    f"{self.folder.study}: expected trial {number} to have {values}, got "
                    f"{self.rows[number].values}; it is another search's: restore it"
                )
            return number
        about = {"schedule": schedule, "forecast": None if forecast is None else list(forecast)}
        given = {name: value for name, value in about.items() if value is not None}
        entered = self.ledger.ask(values, individual.origin, individual.parents, **given)
        self.rows[entered] = self.ledger.trial(entered)
        return entered

    def fitness(self, number: int) -> tuple[float, ...]:
        """What a trial came to; infinite where it failed or is not done."""
        return self.rows[number].fitness or (math.inf,) * len(self.search.objective)

    def config_of(self, number: int) -> RunConfig:
        """The settings that a trial is trained by."""
        row = self.rows[number]
        return trial_config(self.record, row.values, f"trial {number}", row.schedule)

    def train(
        self, numbers: list[int], rungs: Sequence[int], hopeless: tuple[float, ...] = (), least: int = 1
    ) -> None:
        """Train trials, on each rung the best of those before.

        Args:
            numbers: of the trials, all of one schedule.
            rungs: numbers of epochs after which they are measured; the last is a whole one's.
            hopeless: losses at the checkpoints of the schedule, above which to stop.
            least: number of trials that go on at each rung.
        """
        alive = numbers
        for number in numbers:
            if self.rows[number].is_done:  # killed before the last of its files was gone
                self._forget(number)
        for rung, epochs in enumerate(rungs):
            is_last = rung == len(rungs) - 1
            for number in alive:  # killed between its loss and its end
                if is_last and epochs in self.rows[number].losses and not self.rows[number].is_done:
                    self._close(number, epochs)
            open_ = [n for n in alive if not self.rows[n].is_done and epochs not in self.rows[n].losses]
            jobs = {name_of(n): n for n in open_}
            before = rungs[rung - 1] if rung else None
            wanted = [self._job(n, before, epochs, hopeless, is_last) for n in open_]
            for job, outcome in self.run(wanted):
                self._note(jobs[job.name], epochs, outcome, is_last)
                self.on_change()
            measured = [n for n in alive if epochs in self.rows[n].losses]
            if not is_last and measured:
                kept = max(least, math.ceil(len(measured) * epochs / rungs[rung + 1]))
                ranked = order([self._objectives(n, epochs) for n in measured])
                alive = [measured[i] for i in ranked[:kept]]
                for number in measured:
                    if number not in alive and not self.rows[number].is_done:
                        self._close(number, epochs)

    def run(self, jobs: list[Job]) -> Iterator[tuple[Job, Outcome]]:
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

    def ranked(self) -> list[Trial]:
        """Those that did not fail, the best first; those trained for longest before all others."""
        done = [t for t in self.rows.values() if t.fitness is not None]
        longest = (lambda t: -max(t.losses)) if self.search.for_epochs else (lambda t: 0)
        return sorted(done, key=lambda t: (longest(t), t.rank_by[0], t.number))

    def write_best(self) -> None:
        """The best so far as `safelight train --config` reads it."""
        ranked = self.ranked()
        if ranked and not self.folder.is_finished:  # else it is the winner's already
            self.write_settings(ranked[0].values)

    def write_settings(self, values: Values) -> None:
        """The settings of one, to be trained by."""
        config = trial_config(self.record, values, "", self.search.for_epochs)
        training = dataclasses.replace(config.training, seed=0, threads=None, device="auto")
        self.folder.write_best(dataclasses.replace(config, training=training))

    def refuse_failures(self) -> None:
        """Raises RunError where none has succeeded."""
        if all(trial.fitness is None for trial in self.rows.values()):
            raise RunError(
                f"all {len(self.rows)} trials failed, the first for: {self.rows[0].failure}; "
                "change the space or the data"
            )

    def _job(
        self, number: int, before: int | None, until: int, hopeless: tuple[float, ...], last: bool
    ) -> Job:
        config = self.config_of(number)
        packed = self.folder.read_checkpoint(name_of(number, before)) if before else None
        if self.search.equal_cost:
            until = config.training.epochs
        keep = not last or self._is_kept(number)
        return Job(name_of(number), config, until, packed, hopeless, self.search.trial_timeout, keep)

    def _is_kept(self, number: int) -> bool:
        """Whether its weights are, as it may be measured on test images."""
        return self.rows[number].schedule is not None and self.rows[number].schedule == self.search.for_epochs

    def _objectives(self, number: int, epochs: int) -> tuple[float, ...]:
        trial, config = self.rows[number], self.config_of(number)
        parameters, flops = cost(config.network, config.image)
        whole = config.training.epochs * image_cost(config)
        sizes = {"parameters": float(parameters), "flops": float(flops), "cost": whole}
        return (trial.losses[epochs], *(sizes[name] for name in self.search.objective[1:]))

    def _note(self, number: int, epochs: int, outcome: Outcome, is_last: bool) -> None:
        seconds = self.rows[number].seconds + outcome.seconds
        self.ledger.note(number, seconds=seconds, curve=list(outcome.curve), parameters=outcome.parameters)
        if outcome.packed:
            # Apart from the rung's before, from which a trial killed here goes on.
            self.folder.write_checkpoint(name_of(number, epochs), outcome.packed)
        if outcome.loss is not None:
            self.ledger.report(number, epochs, outcome.loss)
        if outcome.failure and not outcome.is_result:  # left open: the search tries again when it goes on
            self.ledger.note(number, failure=outcome.failure)
            self.pace.finished += 1
        self.rows[number] = self.ledger.trial(number)
        if outcome.loss is None and outcome.is_result:
            self.ledger.tell(number, None, outcome.failure)
            self._done(number)
        elif outcome.loss is not None and is_last:
            self._close(number, epochs)

    def _close(self, number: int, epochs: int) -> None:
        self.ledger.tell(number, self._objectives(number, epochs))
        self._done(number)

    def _done(self, number: int) -> None:
        self.rows[number] = self.ledger.trial(number)
        self._forget(number)
        self.pace.finished += (self.rows[number].schedule or self.search.steps[-1]) / self.search.steps[-1]

    def _forget(self, number: int) -> None:
        """Delete its states, but for one that is kept."""
        kept = self.search.for_epochs if self._is_kept(number) else None
        for epochs in {*self.search.steps, *self.rows[number].losses} - {kept}:
            self.folder.checkpoint(name_of(number, epochs)).unlink(missing_ok=True)


def name_of(number: int, *epochs: int) -> str:
    """What a trial's job is called, and its checkpoint after so many epochs."""
    return "-".join(map(str, ("trial", number, *epochs)))
