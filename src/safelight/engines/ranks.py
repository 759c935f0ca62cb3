"""One training on many processes that torchrun has started: who does what, and what they say to each other.

Sums follow one binary tree, whose shape depends on the number of leaves alone. So they are the same to the
bit for any number of processes, one included.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, final

import torch
import torch.distributed as dist
from torch import Tensor

from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError, RunError
from safelight.machine import torchrun_rank

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = ["ALONE", "Link", "Ranks", "has_the_word", "join"]

MICRO_BATCHES = 8  # of a batch, where the settings do not say
MEETING = 60.0  # seconds that processes have to find each other
SPEAKING = 5.0  # seconds to ask whether another has said why all end
POLL = 0.02  # seconds between looks for another's words


class Link(Protocol):
    """What carries numbers and words from one process to another."""

    def send(self, tensor: Tensor, to: int) -> None:
        """Give a tensor to another process, which waits for it."""

    def receive(self, tensor: Tensor, source: int) -> None:
        """Fill a tensor with what another process sends."""

    def spread(self, tensor: Tensor) -> None:
        """Fill every process's tensor with the first's."""

    def say(self, key: str, words: str) -> None:
        """Leave words for all."""

    def hear(self, key: str) -> str:
        """Wait for words that a process leaves."""


@final
class Ranks:
    """The processes of one training.

    Args:
        rank: of this process, counted from 0.
        count: number of processes.
        link: between them; None where torchrun has started none.

    Example:
        >>> import torch
        >>> ALONE.sum(lambda i: torch.tensor([float(i)]), leaves=8)
        tensor([28.])
    """

    def __init__(self, rank: int = 0, count: int = 1, link: Link | None = None) -> None:
        self.rank = rank
        self.count = count
        self._link = link
        self._words = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    def settled(self, training: TrainingConfig, out: object) -> TrainingConfig:
        """A new training's settings, with micro-batches where they were left open.

        Args:
            training: its settings.
            out: the folder to make, or None.

        Raises:
            ConfigError: as in `check`, or several processes have no folder to meet in.
        """
        if self.count > 1 and out is None:
            raise ConfigError("out: expected the run folder to make, where several processes train, got none")
        usual = 1 if self._link is None else MICRO_BATCHES
        settled = dataclasses.replace(training, micro_batches=training.micro_batches or usual)
        self.check(settled)
        return settled

    def check(self, training: TrainingConfig) -> None:
        """Make sure that a training can be shared by so many.

        Raises:
            ConfigError: it has fewer micro-batches, or there is no device for each process.
        """
        parts = training.micro_batches or 1
        if self.count > parts:
            raise ConfigError(
                f"expected no more processes than the run has micro-batches, {parts}, got {self.count}; "
                "start fewer, or train a new run with more --micro-batches"
            )
        if self.count > 1 and training.device == "mps":
            raise ConfigError("device: expected cpu or cuda for several processes, got mps; use --device cpu")

    def sum(self, leaf: Callable[[int], Tensor], leaves: int) -> Tensor | None:
        """Add tensors of one shape along the tree.

        Each process makes the leaves next to each other that are its own, adds what it can, and sends on.

        Args:
            leaf: makes a leaf, a new tensor, by its number.
            leaves: their number.

        Returns:
            The sum in the first process, None in all others.

        Raises:
            RunError: another process is gone.
        """

        def owner(number: int) -> int:
            return number * self.count // leaves

        def branch(low: int, high: int) -> Tensor | None:
            first, middle = owner(low), (low + high) // 2
            if not first <= self.rank <= owner(high - 1):
                return None
            if high - low == 1:
                return leaf(low)
            left, right, source = branch(low, middle), branch(middle, high), owner(middle)
            if source != first:
                if self.rank == source and right is not None:
                    self._linked.send(right, first)
                if self.rank != first or left is None:
                    return None
                right = torch.empty_like(left)
                self._linked.receive(right, source)
            return None if left is None or right is None else left.add_(right)

        return branch(0, leaves)

    def spread(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, in every process.

        Raises:
            RunError: another process is gone.
        """
        if self.count > 1:
            self._linked.spread(tensor)
        return tensor

    def agree(self, answer: bool) -> bool:
        """The first process's answer, in every process; none goes on before it is given.

        Raises:
            RunError: another process is gone.
        """
        if self.count == 1:
            return answer
        return bool(self.spread(torch.tensor([answer], dtype=torch.uint8)).item())

    def agree_on(self, words: list[str]) -> list[str]:
        """The first process's words, in every process."""
        if self.count == 1:
            return words
        self._words += 1
        key = f"words {self._words}"
        if self.is_first:
            self._linked.say(key, json.dumps(words))
        return list(json.loads(self._linked.hear(key)))

    def compare(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Make sure that all processes have the same settings, versions and data.

        Args:
            facts: gives them, by name; asked only where there are several processes.

        Raises:
            ConfigError: one differs from the first.
        """
        if self.count == 1:
            return
        self._words += 1
        self._linked.say(f"facts {self._words} {self.rank}", json.dumps(dict(_flat(facts()))))
        first, *others = (
            json.loads(self._linked.hear(f"facts {self._words} {rank}")) for rank in range(self.count)
        )
        for rank, other in enumerate(others, start=1):
            for name in sorted({*first, *other}):
                if (expected := first.get(name)) != (got := other.get(name)):
                    raise ConfigError(
                        f"expected the same {name} in all processes, got {expected!r} in the first and "
                        f"{got!r} in number {rank + 1} of {self.count}; start all with the same"
                    )

    @property
    def _linked(self) -> Link:
        assert self._link is not None
        return self._link


ALONE = Ranks()


def join() -> Ranks:
    """The processes that torchrun has started, once all are there; one alone where it has not.

    Numbers travel by gloo between CPUs and by nccl between GPUs, words by torchrun's store.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        RunError: they do not find each other, or the port is in use.
    """
    return ALONE if torchrun_rank() is None else _joined()


@functools.cache
def _joined() -> Ranks:
    try:
        store, rank, count = _meet(MEETING)
        has_gpus = torch.cuda.is_available()
        if has_gpus:
            _take_gpu(rank)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=count)
            atexit.register(_leave)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the processes that torchrun started do not find each other ({_one_line(error)}); check its "
            "--master-addr and --master-port, or --rdzv-endpoint"
        ) from None
    return Ranks(rank, count, _TorchLink(store))


def has_the_word() -> bool:
    """Whether this process is the first that wants to say why all end, or cannot ask."""
    try:
        store, _, _ = _meet(SPEAKING)
        return bool(store.add("the word", 1) == 1)
    except (RuntimeError, ValueError):
        return True


def _meet(seconds: float) -> tuple[Store, int, int]:
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
    return store, rank, count


def _take_gpu(rank: int) -> None:
    local, there = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
    if local >= there:
        raise ConfigError(f"expected at most {there} processes on a machine with {there} GPUs; start fewer")
    torch.cuda.set_device(local)


def _leave() -> None:
    with contextlib.suppress(RuntimeError):  # others may have left in disorder
        dist.destroy_process_group()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _one_line(error: Exception) -> str:
    """What it says, without the place in a file of torch's."""
    return re.sub(r"^\[\S+:\d+\] ", "", " ".join(str(error).split()))[:200]


@final
class _TorchLink:
    """Numbers by torch's process group; words by its store, where a wait can be interrupted."""

    def __init__(self, store: Store) -> None:
        from torch.distributed.distributed_c10d import PrefixStore

        self._store = PrefixStore("safelight", store)

    def send(self, tensor: Tensor, to: int) -> None:
        with _lost():
            dist.send(tensor, to)

    def receive(self, tensor: Tensor, source: int) -> None:
        with _lost():
            dist.recv(tensor, source)

    def spread(self, tensor: Tensor) -> None:
        with _lost():
            dist.broadcast(tensor, 0)

    def say(self, key: str, words: str) -> None:
        with _lost():
            self._store.set(key, words)

    def hear(self, key: str) -> str:
        with _lost():
            while not self._store.check([key]):
                time.sleep(POLL)
            return str(self._store.get(key).decode())


@contextlib.contextmanager
def _lost() -> Any:
    try:
        yield
    except RuntimeError as error:
        what = _one_line(error).partition(". ")[0]
        raise RunError(
            f"another process of the training is gone ({what}); finished epochs are kept: go on with --resume"
        ) from None
