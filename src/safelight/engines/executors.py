"""Where jobs run: processes of this machine, a Dask or a Ray cluster, all behind the standard executor.

An engine gives `submit(function, job)`, which answers with a `concurrent.futures.Future`. Dask and Ray trust
whoever reaches their ports; use them in a network that you trust.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import socket
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    TimeoutError,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safelight.errors import ConfigError, RunError

__all__ = ["ENGINES", "Engine", "LocalExecutor", "Material", "WorkersLostError", "open_engine"]

J = TypeVar("J")
T = TypeVar("T")
RETRIES = 2  # of a job whose worker died
GRACE = 30.0  # seconds that a job has to notice that its time is up


class WorkersLostError(RunError):
    """No process can be started to work in, which says nothing of what it would have done."""


class Material(Protocol):
    """What all jobs work with, handed to every worker once: through a file where processes share a disk."""

    def save(self, folder: Path) -> None:
        """Write it to a new folder."""

    def opener(self, folder: Path) -> Any:
        """What jobs are handed in its place, to open it where it was saved."""

    def forget(self, folder: Path) -> None:
        """Delete what `save` wrote, and the folder if it holds nothing else."""


@dataclass(frozen=True)
class Engine:
    """Something that runs jobs.

    Attributes:
        executor: where they run.
        material: what the executor hands to each for what all work with.
        workers: jobs at a time.
        lost: errors of a future that say nothing of its job: the workers, or the way to them, are gone.
        prepare: called before the first job, once the folder is there that the material is saved in.
    """

    executor: Executor
    material: Any
    workers: int
    lost: tuple[type[BaseException], ...] = (CancelledError, OSError, WorkersLostError)
    prepare: Callable[[], object] = lambda: None

    def submit(self, function: Callable[[Any, J], T], job: J) -> Future[T]:
        """Start `function(material, job)`; a worker that dies is replaced and the job tried again, twice.

        A job with `seconds`, if they are no None, is killed some time after them.
        """
        return self.executor.submit(function, self.material, job)


@contextmanager
def open_engine(
    name: str, material: Material, workers: int, place: Path, address: str | None = None
) -> Iterator[Engine]:
    """Start an engine, or connect to a cluster, for as long as the block runs.

    Args:
        name: local, dask or ray.
        material: handed to every worker once.
        workers: processes to start here; a cluster that is connected to has its own number.
        place: a folder to make, where processes of this machine find the material; it goes with the engine.
        address: of a cluster's scheduler; without one, dask and ray start workers on this machine.

    Raises:
        ConfigError: an unknown engine, one that is not installed, or a cluster that does not answer.
    """
    with ENGINES[name](material, workers, place, address) as engine:
        yield engine


@contextmanager
def _local(material: Material, workers: int, place: Path, address: str | None) -> Iterator[Engine]:
    executor = LocalExecutor(workers)
    prepared = False

    def prepare() -> None:
        nonlocal prepared
        prepared = True
        material.save(place)

    try:
        executor.submit(os.getpid).result()  # before anything is written: can they start at all?
        yield Engine(executor, material.opener(place), workers, prepare=prepare)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    else:
        executor.shutdown()
    finally:
        if prepared:
            material.forget(place)


class LocalExecutor(Executor):
    """Processes of this machine, each a pool of its own, so that one that dies takes down nothing else.

    A task whose process died is tried again in a new one, at most twice. Processes end with this one, however
    it ends.

    Args:
        workers: number of processes.

    Example:
        >>> with LocalExecutor(1) as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="job")
        self._own = threading.local()  # each thread has one process
        self._pools: list[tuple[ProcessPoolExecutor, int]] = []
        self._closing = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function in the next process that is free."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; without waiting, at once."""
        self._closing = True
        if not wait:
            for _, pid in self._pools:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures)
        for pool, _ in self._pools:
            pool.shutdown(wait=True)

    def _run(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        for attempt in range(RETRIES + 1):
            pool, pid = self._pool()
            try:
                return pool.submit(fn, *args, **kwargs).result(self._limit(args))
            except TimeoutError:  # it hangs where no step ends
                os.kill(pid, signal.SIGKILL)
                self._drop(pool, pid)
                raise
            except BrokenProcessPool:
                self._drop(pool, pid)
                if attempt == RETRIES or self._closing:
                    raise
        raise AssertionError

    def _pool(self) -> tuple[ProcessPoolExecutor, int]:
        if getattr(self._own, "pool", None) is None:
            spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
            pool = ProcessPoolExecutor(1, spawn, _start_worker)
            try:
                self._own.pool = pool, pool.submit(os.getpid).result()
            except BrokenProcessPool:
                raise WorkersLostError(
                    "no worker process can start; each reads the script again, so it must be a file with "
                    "what it does under if __name__ == '__main__'"
                ) from None
            self._pools.append(self._own.pool)
        found: tuple[ProcessPoolExecutor, int] = self._own.pool
        return found

    def _drop(self, pool: ProcessPoolExecutor, pid: int) -> None:
        self._own.pool = None
        self._pools.remove((pool, pid))
        pool.shutdown(wait=True)

    @staticmethod
    def _limit(args: tuple[Any, ...]) -> float | None:
        seconds = next((job.seconds for job in args if hasattr(job, "seconds")), None)
        return None if seconds is None else seconds + GRACE


def _start_worker() -> None:
    """In a new process: leave Ctrl-C to the parent, and die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _optional(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"--engine {extra}: {module} is not installed; pip install 'safelight[{extra}]'"
        ) from None


@contextmanager
def _dask(material: Material, workers: int, place: Path, address: str | None) -> Iterator[Engine]:
    distributed = _optional("distributed", "dask")
    with contextlib.ExitStack() as stack:
        cluster: Any = address
        if address is None:
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
                )
            )
        try:
            client = stack.enter_context(distributed.Client(cluster, timeout="10s"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--address: expected a Dask scheduler such as tcp://host:8786, but {address} does not "
                f"answer ({type(error).__name__})"
            ) from None
        count = len(client.scheduler_info(n_workers=-1)["workers"])
        if count == 0:
            raise ConfigError(f"--address: the scheduler at {address} has no workers; start some")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            # A task's result is made again where its worker died; scattered data would be lost for good.
            shared = client.submit(_given, material, pure=False)
        lost = (*Engine.lost, distributed.comm.CommClosedError)
        yield Engine(client.get_executor(retries=RETRIES, pure=False), shared, count, lost)


@contextmanager
def _ray(material: Material, workers: int, place: Path, address: str | None) -> Iterator[Engine]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _optional("ray", "ray")
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        if address is None:
            ray.init(num_cpus=workers, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            where = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
            # Ray itself would wait for minutes.
            socket.create_connection((where.hostname, where.port), timeout=10).close()
            ray.init(address=address, **quiet)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--address: expected a Ray cluster such as ray://host:10001, but {address} does not answer "
            f"({type(error).__name__})"
        ) from None
    try:
        count = int(ray.cluster_resources().get("CPU", 1))
        lost = (*Engine.lost, ray.exceptions.ObjectLostError, ray.exceptions.RaySystemError)
        yield Engine(_RayExecutor(ray), ray.put(material), count, lost)
    finally:
        ray.shutdown()


def _given(material: Material) -> Material:
    return material


class _RayExecutor(Executor):
    """Ray's tasks as futures; Ray itself tries again where a worker died."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function on the cluster; references among its arguments arrive as what they stand for."""
        remote = self._ray.remote(num_cpus=1, max_retries=RETRIES)(fn)
        future: Future[T] = remote.remote(*args, **kwargs).future()
        return future


ENGINES: dict[str, Callable[[Material, int, Path, str | None], contextlib.AbstractContextManager[Engine]]] = {
    "local": _local,
    "dask": _dask,
    "ray": _ray,
}
