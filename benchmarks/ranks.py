"""Images a second of one training on two processes against one, and against DistributedDataParallel.

The default network on random images of 64×64×3 in batches of 128, one thread a process. Each round times
every way once, in turn, each in processes of its own that torchrun starts: whole batches in one process,
eight micro-batches in one and in two, and torch's DistributedDataParallel in two, which halves batches and
adds gradients while it still computes others. The first steps of each are not timed. Weights of one and two
processes must be the same to the bit.

    python benchmarks/ranks.py --rounds 5
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from machine import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from train_step import spread

from safelight.config.training import TrainingConfig
from safelight.data.batches import Batch, Batches
from safelight.data.images import ImageSet
from safelight.engines.ranks import join
from safelight.machine import prepare_process
from safelight.networks.deep_conv import DeepConvVAE
from safelight.runs.state import State, to_bytes
from safelight.runs.training import fit
from safelight.tasks.objective import Bernoulli, NegativeELBO

WARM_UP = 3  # steps
WAYS = {"whole": 1, "one": 1, "two": 2, "ddp": 2}  # processes


class Timer:
    """The time from the end of the warm-up."""

    def __init__(self) -> None:
        self.steps, self.started = 0, 0.0

    def __call__(self, state: State | None = None) -> None:
        self.steps += 1
        if self.steps == WARM_UP:
            self.started = time.perf_counter()

    def rate(self, batch: int) -> float:
        return (self.steps - WARM_UP) * batch / (time.perf_counter() - self.started)


def train(way: str, steps: int, batch: int, side: int) -> dict[str, object]:
    """Train in this process, with those that torchrun has started beside it."""
    prepare_process()
    torch.set_num_threads(1)
    ranks = join()
    pixels = np.random.default_rng(0).integers(0, 256, (batch * steps, 3, side, side), np.uint8)
    batches = Batches(ImageSet(pixels), batch, seed=0)
    torch.manual_seed(0)
    network, timer = DeepConvVAE((3, side, side)), Timer()
    if way == "ddp":
        _train_ddp(network, batches, timer)
    else:
        parts = 1 if way == "whole" else 8
        config = TrainingConfig(epochs=1, batch_size=batch, threads=1, micro_batches=parts)
        fit(network, batches, NegativeELBO(Bernoulli()), config, on_step=timer, ranks=ranks)
    weights = hashlib.sha256(to_bytes(network.state_dict())).hexdigest()
    return {"images_per_second": timer.rate(batch), "weights": weights}


class _Loss(nn.Module):
    """Network and loss in one module, as DistributedDataParallel wants them."""

    def __init__(self, network: DeepConvVAE) -> None:
        super().__init__()
        self.network, self.loss = network, NegativeELBO(Bernoulli())

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.network, Batch(x, x, None, torch.arange(len(x))))["loss"]
        return loss


def _train_ddp(network: DeepConvVAE, batches: Batches, timer: Callable[[], None]) -> None:
    model = DistributedDataParallel(_Loss(network))
    optimizer = torch.optim.Adam(model.parameters(), 4e-3, fused=True)
    rank, count = dist.get_rank(), dist.get_world_size()
    for (part,) in batches.parts(0, 0, 1):
        own = np.array_split(part.indices, count)[rank]
        optimizer.zero_grad()
        model(batches.images.floats(own)).backward()
        optimizer.step()
        timer()


def measure(way: str, options: argparse.Namespace) -> dict[str, float | str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(WAYS[way]), __file__, "--way", way]
    for name in ("steps", "batch", "side"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="of one training each way (default: 5)")
    parser.add_argument("--steps", type=int, default=40, help="of a training (default: 40)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default: 128)")
    parser.add_argument("--side", type=int, default=64, help="of the images (default: 64)")
    parser.add_argument("--way", choices=tuple(WAYS), help=argparse.SUPPRESS)  # a process of torchrun's
    options = parser.parse_args()
    if options.way:
        found = train(options.way, options.steps, options.batch, options.side)
        if join().is_first:
            print(json.dumps(found))
        return
    rates: list[dict[str, float]] = []
    for number in range(options.rounds):
        order = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
        measured = {way: measure(way, options) for way in order}
        assert measured["one"]["weights"] == measured["two"]["weights"]
        rates.append({way: float(found["images_per_second"]) for way, found in measured.items()})
        print(json.dumps({way: round(rate, 1) for way, rate in rates[-1].items()}), flush=True)
    result = {
        **{name: getattr(options, name) for name in ("rounds", "steps", "batch", "side")},
        "two_over_one": spread([rate["two"] / rate["one"] for rate in rates]),
        "two_over_whole": spread([rate["two"] / rate["whole"] for rate in rates]),
        "two_over_ddp": spread([rate["two"] / rate["ddp"] for rate in rates]),
    }
    print(json.dumps(result, indent=2))
    print(save("ranks", result))


if __name__ == "__main__":
    main()
