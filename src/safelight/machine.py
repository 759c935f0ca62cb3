"""The machine that training runs on: seeds, devices, threads, memory, and what makes small numbers slow.

torch is imported inside the functions, so that a command can set up its process before torch is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from safelight.errors import ConfigError

__all__ = [
    "compute_thread",
    "cpu_threads",
    "derive_seed",
    "pick_device",
    "prepare_process",
    "seconds_without_core",
    "shorten_spinning",
    "torchrun_rank",
]


# How long OpenMP's threads wait awake for each other, in rounds of GNU's and in milliseconds of LLVM's and
# Intel's. Beside a busy process they wait for one that has lost its core, so: no longer than pays on an idle
# machine, as docs/lab-log.md tells.
SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
GRAIN = 1 << 15  # elements of a product that one thread computes at the least


@final
class _Blocks:
    """The blocks of `cpu_threads` that are under way: their number, and torch's threads before the first."""

    def __init__(self) -> None:
        self.lock, self.own = threading.Lock(), threading.local()
        self.under_way = self.outside = 0


_blocks = _Blocks()


def derive_seed(seed: int, purpose: str) -> int:
    """A seed of its own for each use of randomness, all fixed by one."""
    import numpy as np

    words = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def pick_device(name: str) -> str:
    """The device that a setting means.

    Raises:
        ConfigError: it is not there.

    Example:
        >>> pick_device("cpu")
        'cpu'
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(f"device: expected a device that is there, got {name!r}; use cpu or auto") from None
    return name


@contextmanager
def cpu_threads(count: int | None) -> Iterator[int]:
    """Compute with this many CPU threads inside the block; None leaves them as they are.

    Blocks of several threads may overlap: torch's number is the process's for threads made later, so a block
    that begins inside another's, and ends after it, must leave what was there before both.
    """
    import torch

    with _blocks.lock:
        if not _blocks.under_way:
            _blocks.outside = torch.get_num_threads()
        enclosing = getattr(_blocks.own, "count", None)
        before = enclosing or _blocks.outside
        _blocks.under_way += 1
        _blocks.own.count = before if count is None else count
        torch.set_num_threads(_blocks.own.count)
    try:
        yield _blocks.own.count
    finally:
        with _blocks.lock:
            _blocks.under_way -= 1
            _blocks.own.count = enclosing
            torch.set_num_threads(before)


@contextmanager
def compute_thread() -> Iterator[Callable[..., Any]]:
    """A thread that takes numbers below 1e-38 for zero, as do the OpenMP threads that it starts.

    Weight decay and the moments of dead units lead to such denormal numbers, with which many processors
    compute some hundred times slower. The setting belongs to a thread and is inherited by those made later:
    to set it in a caller whose OpenMP threads exist would miss those, and would change the caller. A caller
    whose threads all do so already, as in a process of the command, is that thread itself: handing each step
    to another would cost a fifth.

    Returns:
        `run(function, *arguments)`: the function's result, or what it raises.

    Example:
        >>> import torch
        >>> with compute_thread() as run:
        ...     run(lambda: float(torch.tensor(1e-20) * torch.tensor(1e-20)))
        0.0
    """
    import torch

    if _flushes_denormals():
        yield lambda function, *arguments: function(*arguments)
        return
    with ThreadPoolExecutor(1, "compute", torch.set_flush_denormal, (True,)) as executor:
        yield lambda function, *arguments: executor.submit(function, *arguments).result()


def _flushes_denormals() -> bool:
    """Whether every thread that computes for the caller takes denormal numbers for zero."""
    import torch

    small = torch.full((4 * GRAIN * torch.get_num_threads(),), 1e-20)
    return not (small * small).any()


def shorten_spinning() -> None:
    """Before torch is loaded: OpenMP's threads wait as `SPIN` says, where the user has not said otherwise."""
    if not {"OMP_WAIT_POLICY", *SPIN} & set(os.environ):
        os.environ.update(SPIN)


def prepare_process() -> None:
    """Set up a process that is ours alone, before torch starts a thread: no denormal numbers, memory is kept.

    Importing safelight does nothing of the kind.
    """
    import numpy as np
    import torch

    for kind in (np.float16, np.float32, np.float64):
        np.finfo(kind)  # which NumPy before 2.0 works out when first asked, and warns without denormals
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def seconds_without_core() -> float:
    """How long this process's threads have been ready to run while others had the cores, in all.

    Linux counts it; elsewhere it is 0.
    """
    waited = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            waited += int(path.read_text().split()[1])
    return waited / 1e9


def torchrun_rank() -> int | None:
    """The number of this process among those that torchrun has started; None where it was not."""
    return int(os.environ.get("RANK", 0)) if "TORCHELASTIC_RUN_ID" in os.environ else None


def _keep_freed_memory() -> None:
    """Tell glibc not to hand freed memory back to the system; elsewhere, nothing.

    A step frees and asks for the same tens of megabytes; faulting fresh pages in took up to half its time.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            trim_threshold, mmap_max = -1, -4  # malloc.h
            mallopt(trim_threshold, 2**31 - 1)
            mallopt(mmap_max, 0)
