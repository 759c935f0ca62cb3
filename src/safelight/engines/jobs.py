"""Many jobs on an engine: the longest first, outcomes as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, TypeVar

from safelight.engines.executors import Engine
from safelight.errors import Interrupted, RunError

__all__ = ["run_jobs"]

POLL = 0.2  # seconds between looks at whether to stop

J = TypeVar("J")
T = TypeVar("T")


def run_jobs(
    engine: Engine,
    function: Callable[[Any, J], T],
    jobs: Sequence[J],
    cost: Callable[[J], float],
    is_stopped: Callable[[], bool],
    again: str,
) -> Iterator[tuple[J, T | BaseException]]:
    """Run jobs, the longest first so that no worker is idle at the end.

    Args:
        engine: where they run.
        function: called with the engine's material and a job.
        jobs: what to do.
        cost: of a job, in any unit.
        is_stopped: a true answer finishes the jobs that run, and raises `Interrupted`.
        again: the command that continues, named in errors.

    Returns:
        Each job and what came of it; an error where it failed, or its worker died or hung.

    Raises:
        Interrupted, RunError: what came before can be continued.
    """
    waiting = sorted(jobs, key=cost)
    running: dict[Future[T], J] = {}
    while waiting or running:
        if is_stopped():
            waiting.clear()
        while waiting and len(running) < engine.workers:
            job = waiting.pop()
            running[engine.submit(function, job)] = job
        done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, engine.lost) and not isinstance(error, TimeoutError):
                what = " ".join(str(error).split())[:300] or type(error).__name__
                raise RunError(f"lost the workers ({what}); what is done is saved, continue with: {again}")
            yield job, future.result() if error is None else error
        if not running and is_stopped():
            raise Interrupted(f"stopped and saved; continue with: {again}")
