"""A search from its first trial to its winner, in a folder that any later process can go on from.

An algorithm's questions follow from its seed and the answers so far, so a search is continued by asking it
again and answering from the record; only what is not in the record is trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from safelight.config.network import NETWORK_CONFIGS
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.errors import ConfigError, Interrupted, RunError
from safelight.evolution.executors import Engine
from safelight.evolution.genetic import (
    Algorithm,
    GeneticAlgorithm,
    Individual,
    RandomSearch,
    Truncation,
    initial_design,
    order,
)
from safelight.evolution.genome import Gene, Space, Values, from_settings, to_settings
from safelight.evolution.ledger import Ledger
from safelight.evolution.samplers import nsga2, tpe
from safelight.evolution.trial import Outcome, Task, seed_of
from safelight.files import write_file
from safelight.networks.table import cost
from safelight.runs.folders import CONFIG, OwnFolder

__all__ = ["Finalist", "SearchFolder", "SearchRecord", "Status", "make_space", "run_search"]

RESULT = "result.json"
FINALISTS = 3
FRESH_SEEDS = 3
ALGORITHMS: dict[str, Callable[[Space, int, int, Sequence[Individual], int], Algorithm]] = {
    "ga": GeneticAlgorithm,
    "truncation": Truncation,
    "random": RandomSearch,
    "nsga2": nsga2,
    "tpe": tpe,
}
ROOM = 4  # times the network that a search starts from, where no bound is given
POLL = 0.2  # seconds between looks at whether to stop


@dataclass(frozen=True)
class SearchRecord:
    """All that a search is, as its config.json holds it.

    Attributes:
        search: its settings.
        genes: what it may choose.
        base: settings of every trial where no gene decides.
        versions: of safelight and torch: other code gives other losses.
        command: the command that made it.
        kind: what the folder holds.
        format_version: of the folder.
    """

    search: SearchConfig
    genes: dict[str, Gene]
    base: RunConfig
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    kind: str = "search"
    format_version: int = 1

    def fingerprint(self) -> str:
        """What must be the same for trials to belong together; it may have more generations."""
        search = dataclasses.replace(self.search, generations=1, trial_timeout=None)
        same = dataclasses.asdict(dataclasses.replace(self, search=search, command=""))
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


@final
class SearchFolder(OwnFolder):
    """A search's files.

    Args:
        path: the folder; it need not exist before `create`.

    Example:
        >>> SearchFolder("runs/evo").study.name
        'study.db'
    """

    files = (
        "study.db",
        "study.db-journal",
        "best.json",
        "finalists.json",
        RESULT,
        "report.html",
        "figures",
        "state",
        CONFIG,
    )

    @property
    def study(self) -> Path:
        """The Optuna study."""
        return self.path / "study.db"

    @property
    def figures(self) -> Path:
        """The report's pictures."""
        return self.path / "figures"

    def read_config(self) -> SearchRecord:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not a search's.
        """
        return self._read_config(SearchRecord)

    def checkpoint(self, name: str) -> Path:
        """Where a trial's weights and training state are kept."""
        return self.path / "state" / f"{name}.safetensors"


@dataclass(frozen=True)
class Status:
    """Where a search stands, for people to see.

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
        seconds_left: at that pace.
        what: what is going on.
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
    what: str = "searching"

    @property
    def is_complete(self) -> bool:
        """Whether the generation's trials are all finished."""
        return self.done * self.generations == self.generation * self.planned


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, trained again from fresh seeds.

    Attributes:
        number: of the trial.
        values: its genes' values.
        search_loss: the loss it had in the search.
        losses: validation losses of the fresh seeds, in nats per image; None where one failed.
        weights: files of the trained states, one a seed.
        configs: the settings that these were trained by.
    """

    number: int
    values: Values
    search_loss: float
    losses: list[float | None]
    weights: list[Path]
    configs: list[RunConfig]

    @property
    def mean(self) -> float:
        """Of the fresh losses; infinite where one of them failed."""
        return statistics.fmean(math.inf if loss is None else loss for loss in self.losses)


def make_space(record: SearchRecord) -> Space:
    """The search's space, with the bounds on a network's size."""
    if not any(name.startswith("network.") for name in record.genes):
        return Space(record.genes)
    parameters, flops = cost(record.base)
    bounds = (record.search.max_parameters or ROOM * parameters, record.search.max_flops or ROOM * flops)
    known: dict[str, float] = {}

    def excess(values: Values) -> float:
        key = json.dumps({name: value for name, value in values.items() if name.startswith("network.")})
        if key not in known:
            try:
                found = cost(_config(record, values))
            except ConfigError:  # such as more stages than the image has halvings
                found = (math.inf, math.inf)  # type: ignore[assignment]
            known[key] = max(found[0] / bounds[0], found[1] / bounds[1])
        return known[key]

    return Space(record.genes, excess)


def make_algorithm(record: SearchRecord, space: Space, workers: int) -> Algorithm:
    """The algorithm that a search's settings name; all of them start from the same individuals."""
    search = record.search
    known = from_settings(space, record.base.network, record.base.training)
    start = initial_design(space, search.population, search.seed, [known])
    batch = workers if search.algorithm == "tpe" else search.population
    return ALGORITHMS[search.algorithm](space, batch, search.seed, start, len(search.objective))


def _config(record: SearchRecord, values: Values, purpose: str = "") -> RunConfig:
    """A trial's settings; `purpose` fixes its seed."""
    network, training = to_settings(values, record.base.network, record.base.training)
    training = dataclasses.replace(
        training, epochs=record.search.steps[-1], seed=seed_of(record.search.seed, purpose)
    )
    return dataclasses.replace(record.base, network=network, training=training)


def run_search(
    folder: SearchFolder,
    record: SearchRecord,
    engine: Engine,
    images: int,
    on_status: Callable[[Status], object] = lambda status: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[Finalist]:
    """Begin or continue a search, to its end.

    Args:
        folder: a created folder, locked by the caller.
        record: what is searched; its config.json says the same.
        engine: where trials run.
        images: number of training images, to guess a trial's length by.
        on_status: called after each trial.
        is_stopped: a true answer finishes the trials that run, and raises `Interrupted`.

    Returns:
        The finalists, the winner first; `best.json` holds its settings.

    Raises:
        Interrupted, RunError: the folder can be continued.
    """
    return _Run(folder, record, engine, images, on_status, is_stopped).run()


class _Run:
    """A search under way."""

    def __init__(
        self,
        folder: SearchFolder,
        record: SearchRecord,
        engine: Engine,
        images: int,
        on_status: Callable[[Status], object],
        is_stopped: Callable[[], bool],
    ) -> None:
        self.folder = folder
        self.record = record
        self.search = record.search
        self.engine = engine
        self.images = images
        self.on_status = on_status
        self.is_stopped = is_stopped
        self.space = make_space(record)
        self.ledger = Ledger(folder.study, self.space, record.fingerprint(), len(self.search.objective))
        self.trials = {trial.number: trial for trial in self.ledger.trials()}
        self.started = time.monotonic()
        self.finished_here = 0

    def run(self) -> list[Finalist]:
        algorithm = make_algorithm(self.record, self.space, self.engine.workers)
        budget = self.search.population * self.search.generations
        asked = 0
        while asked < budget:
            individuals = algorithm.ask()[: budget - asked]
            if not individuals:
                break  # a small space is used up
            numbers = [self._enter(asked + i, individual) for i, individual in enumerate(individuals)]
            asked += len(numbers)
            self._evaluate(numbers)
            algorithm.tell([self._fitness(number) for number in numbers])
            self._write_best()
        return self._final()

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
        for rung, epochs in enumerate(rungs):
            is_last = rung == len(rungs) - 1
            for number in alive:  # killed between its loss and its end
                if is_last and epochs in self.trials[number].losses and not self.trials[number].is_done:
                    self._close(number, epochs)
            open_ = [n for n in alive if not self.trials[n].is_done and epochs not in self.trials[n].losses]
            tasks = [self._task(n, rung, hopeless, keep=not is_last) for n in open_]
            for task, outcome in self._train(tasks):
                self._record(task.number, epochs, outcome, is_last)
                self._show(generation)
            measured = [n for n in alive if epochs in self.trials[n].losses]
            if not is_last and measured:
                kept = math.ceil(len(measured) * epochs / rungs[rung + 1])
                ranked = order([self._objectives(n, epochs) for n in measured])
                alive = [measured[i] for i in ranked[:kept]]
                for number in measured:
                    if number not in alive and not self.trials[number].is_done:
                        self._close(number, epochs)

    def _task(self, number: int, rung: int, hopeless: tuple[float, ...], keep: bool) -> Task:
        config = _config(self.record, self.trials[number].values, f"trial {number}")
        packed = None
        checkpoint = self.folder.checkpoint(f"trial-{number}")
        if rung and checkpoint.exists():
            packed = checkpoint.read_bytes()
        until, seconds = self.search.steps[rung], self.search.trial_timeout
        return Task(number, config, until, packed, hopeless, seconds, keep)

    def _train(self, tasks: list[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Run tasks, the longest first so that no worker is idle at the end; outcomes as they come."""
        waiting = sorted(tasks, key=self._estimate)
        running: dict[Future[Outcome], Task] = {}
        while waiting or running:
            if self.is_stopped():
                waiting.clear()
            while waiting and len(running) < self.engine.workers:
                task = waiting.pop()
                running[self.engine.submit(task)] = task
            done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                error = CancelledError() if future.cancelled() else future.exception()
                if isinstance(error, self.engine.lost):
                    raise RunError(
                        f"lost the workers ({type(error).__name__}); what is done is saved, continue with: "
                        f"safelight evolve --resume {self.folder.path}"
                    )
                if error is None:
                    yield task, future.result()
                else:
                    failure = f"its worker died or hung ({type(error).__name__})"
                    yield task, Outcome(task.number, failure=failure)
            if not running and self.is_stopped():
                raise Interrupted(
                    f"stopped and saved; continue with: safelight evolve --resume {self.folder.path}"
                )

    def _estimate(self, task: Task) -> float:
        """How long a task takes, in no unit: arithmetic, and a sweep over the weights at each step."""
        parameters, flops = cost(task.config)
        return self.images * (3 * flops + 200 * parameters / task.config.training.batch_size)

    def _objectives(self, number: int, epochs: int) -> tuple[float, ...]:
        trial = self.trials[number]
        config = _config(self.record, trial.values)
        sizes = dict(zip(("parameters", "flops"), cost(config), strict=True))
        return (trial.losses[epochs], *(float(sizes[name]) for name in self.search.objective[1:]))

    def _record(self, number: int, epochs: int, outcome: Outcome, is_last: bool) -> None:
        trial = self.trials[number]
        seconds = trial.seconds + outcome.seconds
        self.ledger.note(number, seconds=seconds, curve=outcome.curve, parameters=outcome.parameters)
        if outcome.packed:
            write_file(self.folder.checkpoint(f"trial-{number}"), outcome.packed)
        if outcome.loss is not None:
            self.ledger.report(number, epochs, outcome.loss)
        self.trials[number] = self.ledger.trial(number)
        if outcome.loss is None:
            self.ledger.tell(number, None, outcome.failure)
            self._done(number)
        elif is_last:
            self._close(number, epochs)

    def _close(self, number: int, epochs: int) -> None:
        self.ledger.tell(number, self._objectives(number, epochs))
        self._done(number)

    def _done(self, number: int) -> None:
        self.trials[number] = self.ledger.trial(number)
        self.folder.checkpoint(f"trial-{number}").unlink(missing_ok=True)
        self.finished_here += 1

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
        done = [t for t in self.trials.values() if t.fitness is not None]
        if done:
            self._write_settings(min(done, key=lambda t: (t.rank_by[0], t.number)).values)

    def _write_settings(self, values: Values) -> None:
        config = _config(self.record, values)
        network = NETWORK_CONFIGS[config.network.name](**_tuples(config.network.fields))
        training = dataclasses.replace(config.training, seed=0, threads=None, device="auto")
        content = {
            "network": {"name": config.network.name, "fields": dataclasses.asdict(network)},
            "training": dataclasses.asdict(training),
            "likelihood": config.likelihood,
        }
        write_file(self.folder.path / "best.json", json.dumps(content, indent=2) + "\n")

    def _final(self) -> list[Finalist]:
        """Train the best again from fresh seeds: the best of many noisy losses flatters itself."""
        done = [t for t in self.trials.values() if t.fitness is not None]
        if not done:
            raise RunError(
                f"all {len(self.trials)} trials failed, the first for: {self.trials[0].failure}; "
                "change the space or the data"
            )
        best = sorted(done, key=lambda t: (t.rank_by[0], t.number))[:FINALISTS]
        tasks = [
            Task(
                place * FRESH_SEEDS + fresh,
                _config(self.record, trial.values, f"final {fresh}"),
                self.search.steps[-1],
                keep=True,
            )
            for place, trial in enumerate(best)
            for fresh in range(FRESH_SEEDS)
        ]
        path = self.folder.path / "finalists.json"
        losses: dict[str, float | None] = json.loads(path.read_text()) if path.exists() else {}
        tasks_by_number = {task.number: task for task in tasks}
        tasks = [task for task in tasks if str(task.number) not in losses]
        for task, outcome in self._train(tasks):
            losses[str(task.number)] = outcome.loss
            if outcome.packed:
                write_file(self.folder.checkpoint(f"final-{task.number}"), outcome.packed)
            write_file(path, json.dumps(losses) + "\n")
            self._show(self.search.generations - 1, "training the finalists again")
        finalists = []
        for place, trial in enumerate(best):
            numbers = [place * FRESH_SEEDS + i for i in range(FRESH_SEEDS)]
            fresh_losses = [losses[str(n)] for n in numbers]
            files = [self.folder.checkpoint(f"final-{n}") for n in numbers]
            configs = [tasks_by_number[n].config for n in numbers]
            finalists.append(
                Finalist(trial.number, trial.values, trial.rank_by[0], fresh_losses, files, configs)
            )
        winner = min(finalists, key=lambda finalist: finalist.mean)
        self._write_settings(winner.values)
        return sorted(finalists, key=lambda finalist: finalist.mean)

    def _show(self, generation: int, what: str = "searching") -> None:
        done = [t for t in self.trials.values() if t.is_done]
        losses = [t.rank_by[0] for t in done if t.fitness is not None]
        first = generation * self.search.population
        here = [
            t.rank_by[0] for t in done if t.fitness and first <= t.number < first + self.search.population
        ]
        planned = self.search.population * self.search.generations
        hours = (time.monotonic() - self.started) / 3600
        pace = self.finished_here / hours if self.finished_here else None
        quartiles = statistics.quantiles(here, n=4) if len(here) > 1 else None
        self.on_status(
            Status(
                generation=generation + 1,
                generations=self.search.generations,
                done=len(done),
                planned=planned,
                best=min(losses, default=None),
                median=statistics.median(here) if here else None,
                spread=quartiles[2] - quartiles[0] if quartiles else None,
                failures=len(done) - len(losses),
                trials_an_hour=pace,
                seconds_left=3600 * (planned - len(done)) / pace if pace else None,
                what=what,
            )
        )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
