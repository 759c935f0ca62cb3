"""Many jobs on an engine: the longest first, outcomes as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from pathlib import Path

from safelight.errors import Interrupted, RunError
from safelight.evolution.executors import Engine
from safelight.evolution.trial import Job, Outcome
from safelight.networks.table import image_cost

__all__ = ["run_jobs"]

POLL = 0.2  # seconds between looks at whether to stop


def run_jobs(
    engine: Engine, jobs: Sequence[Job], is_stopped: Callable[[], bool], path: Path
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, the longest first so that no worker is idle at the end.

    Args:
        engine: where they run.
        jobs: what to train.
        is_stopped: a true answer finishes the jobs that run, and raises `Interrupted`.
        path: the search's folder, named in errors.

    Raises:
        Interrupted, RunError: what came before can be continued.
    """
    waiting = sorted(jobs, key=lambda job: job.until * image_cost(job.config))
    running: dict[Future[Outcome], Job] = {}
    again = f"continue with: safelight evolve --resume {path}"
    while waiting or running:
        if is_stopped():
            waiting.clear()
        while waiting and len(running) < engine.workers:
            job = waiting.pop()
            running[engine.submit(job)] = job
        done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, engine.lost) and not isinstance(error, TimeoutError):
                what = " ".join(str(error).split())[:300] or type(error).__name__
                raise RunError(f"lost the workers ({what}); what is done is saved, {again}")
            if error is None:
                yield job, future.result()
            else:
                yield job, Outcome(failure=f"its worker died or hung ({type(error).__name__})")
        if not running and is_stopped():
            raise Interrupted(f"stopped and saved; {again}")
