"""A search from its first trial to its winner, in a folder that any later process can go on from.

What the algorithm asked for, and its state then, are in the record before anything of it is trained, so a
search is continued by having the algorithm recall its questions and answering them from the record; only what
is not in the record is trained.
"""

from __future__ import annotations

from collections.abc import Callable

from safelight.config.search import FINALISTS, FRESH_SEEDS
from safelight.engines.executors import Engine
from safelight.evolution.finals import Finalist, train_finalists
from safelight.evolution.folder import SearchFolder
from safelight.evolution.protocol import Protocol
from safelight.evolution.ranking import order
from safelight.evolution.record import SearchRecord, make_algorithm, trial_config
from safelight.evolution.status import Status, status_of
from safelight.evolution.trials import Trials

__all__ = ["run_search"]


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
    trials = Trials(folder, record, engine, is_stopped)
    engine.prepare()
    _breed(trials, on_status)
    trials.refuse_failures()
    if record.search.for_epochs is not None:
        return Protocol(trials, record.search.for_epochs, on_status).run()
    return _best_again(trials, on_status)


def _breed(trials: Trials, on_status: Callable[[Status], object]) -> None:
    """Generations, each asked for once the one before is known."""
    search = trials.search
    algorithm = make_algorithm(trials.record, trials.space)
    planned = search.population * search.rounds
    generation = asked = 0

    def show() -> None:
        on_status(status_of(search, trials.rows.values(), generation, trials.pace))

    trials.on_change = show
    while asked < planned:
        individuals = trials.ask(algorithm, generation)[: planned - asked]
        if not individuals:
            break  # a small space is used up
        numbers = [trials.enter(asked + i, individual) for i, individual in enumerate(individuals)]
        show()
        trials.train(numbers, search.steps, _hopeless(trials, asked))
        asked += len(numbers)
        algorithm.tell([trials.fitness(number) for number in numbers])
        trials.write_best()
        generation += 1


def _hopeless(trials: Trials, before: int) -> tuple[float, ...]:
    """At each checkpoint of a schedule the worst loss of those that survive, of finished generations."""
    if not trials.search.stop_hopeless:
        return ()
    earlier = [t for t in trials.rows.values() if t.number < before and t.fitness is not None]
    ranked = order([t.fitness or () for t in earlier])[: max(2, trials.search.population // 2)]
    curves = [earlier[i].curve for i in ranked]
    if len(curves) < 2:
        return ()
    return tuple(max(losses) for losses in zip(*curves, strict=False))


def _best_again(trials: Trials, on_status: Callable[[Status], object]) -> list[Finalist]:
    """Train the best again from fresh seeds: the best of many noisy losses flatters itself."""
    best = trials.ranked()[:FINALISTS]
    wanted = {
        trial.number: {
            f"final-{trial.number}-{fresh}": trial_config(trials.record, trial.values, f"final {fresh}")
            for fresh in range(FRESH_SEEDS)
        }
        for trial in best
    }

    def show(done: int, planned: int) -> None:
        last = trials.search.rounds - 1
        on_status(status_of(trials.search, trials.rows.values(), last, trials.pace, (done, planned)))

    return train_finalists(trials, wanted, show)
