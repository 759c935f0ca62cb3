"""Training speed of the original report's network, against a plain PyTorch loop and against the machine.

Everything is measured in one run: plain and ours in turn, each in a process of its own, two threads, the
original report's network at batch size 49. The plain loop is written here as the report implies: a DataLoader
with one worker, images turned into tensors one by one, sigmoid and binary cross-entropy, Adam as it comes.
Machines are noisy, so ratios within a round are what counts.

    python benchmarks/train_step.py            # everything, about 20 minutes
    python benchmarks/train_step.py --quick    # the ratios alone
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from machine import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import safelight
from safelight.config import TrainingConfig
from safelight.images import Batches
from safelight.objective import objective
from safelight.training import fit, keep_freed_memory

BATCH, THREADS, TRAIN_IMAGES = 49, 2, 60_000
PLAIN_EPOCHS = 30
TARGET_LOSS = 100.99
VARIANTS = ("plain", "float32", "bfloat16")


class PlainImages(Dataset[Tensor]):
    """One image at a time, as torchvision's MNIST with ToTensor gives them."""

    def __init__(self) -> None:
        self.pixels = safelight.load("mnist").pixels[:, 0]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        picture = Image.fromarray(self.pixels[index])
        array = np.array(picture, np.uint8, copy=True)
        return torch.from_numpy(array)[None].to(torch.float32).div(255)


class PlainVAE(nn.Module):
    """The original report's network as one would first write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.fc21 = nn.Linear(21632, 20)
        self.fc22 = nn.Linear(21632, 20)
        self.fc3 = nn.Linear(20, 21632)
        self.t_conv = nn.ConvTranspose2d(32, 1, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.conv(x)).view(-1, 21632)
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        maps = F.relu(self.fc3(z)).view(-1, 32, 26, 26)
        return torch.sigmoid(self.t_conv(maps)), mu, logvar


def run_plain(images: PlainImages, steps: int) -> float:
    network = PlainVAE()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=3.2318e-05)
    loader = DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=1)
    started = time.perf_counter()
    done = 0
    while done < steps:
        for x in loader:
            optimizer.zero_grad()
            reconstruction, mu, logvar = network(x)
            loss = F.binary_cross_entropy(reconstruction, x, reduction="sum")
            loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            (loss / len(x)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
            done += 1
            if done == steps:
                break
    return time.perf_counter() - started


def run_ours(images: safelight.ImageSet, steps: int, precision: str) -> float:
    keep_freed_memory()
    config = TrainingConfig(
        epochs=1,
        batch_size=BATCH,
        lr=1e-3,
        weight_decay=3.2318e-05,
        precision=precision,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    network = safelight.ConvVAE()
    batches = Batches(images, BATCH, 0)
    done = 0

    def count(state: object) -> bool:
        nonlocal done
        done += 1
        return done == steps

    started = time.perf_counter()
    fit(network, batches, objective("bernoulli", config), config, on_step=count)
    return time.perf_counter() - started


def child(variant: str, steps: int) -> None:
    """One measurement, printed as JSON; the warm-up is not counted."""
    torch.set_num_threads(THREADS)
    run: Callable[[int], float]
    if variant == "plain":
        run = partial(run_plain, PlainImages())
    else:
        run = partial(run_ours, safelight.load("mnist"), precision=variant)
    run(20)
    before = os.times()
    seconds = run(steps)
    after = os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    print(json.dumps({"images_per_second": steps * BATCH / seconds, "cpu_ms_per_step": cpu / steps * 1e3}))


def measure_child(variant: str, steps: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", variant, "--steps", str(steps)]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return measured


def measure_rounds(rounds: int, steps: int) -> dict[str, Any]:
    """Plain and ours in turn; the median over rounds of each round's ratio."""
    table: list[dict[str, Any]] = []
    for _ in range(rounds):
        row = {variant: measure_child(variant, steps) for variant in VARIANTS}
        table.append(row)
        print({v: round(row[v]["images_per_second"]) for v in VARIANTS}, file=sys.stderr)
    speed = {
        v: [row[v]["images_per_second"] / row["plain"]["images_per_second"] for row in table]
        for v in VARIANTS
    }
    cpu = {
        v: [row["plain"]["cpu_ms_per_step"] / row[v]["cpu_ms_per_step"] for row in table] for v in VARIANTS
    }
    return {
        "rounds": table,
        "times_plain_images_per_second": {v: spread(speed[v]) for v in VARIANTS[1:]},
        "times_plain_cpu_efficiency": {v: spread(cpu[v]) for v in VARIANTS[1:]},
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def measure_floor() -> dict[str, float]:
    """Milliseconds that a step needs at the machine's own rates of matrix products and of copying."""
    torch.set_num_threads(THREADS)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    flops = 2 * 1024**3 / best(lambda: a @ b)
    source, target = torch.empty(1 << 25), torch.empty(1 << 25)  # 128 MB each, out of any cache
    copied = 2 * source.nbytes / best(lambda: target.copy_(source))
    parameters = sum(p.numel() for p in safelight.ConvVAE().parameters())
    convolution, products = 2 * 32 * 9 * 26 * 26, 2 * 21632 * 60  # FLOPs forward of one image
    image_flops = 3 * (2 * convolution + products) - convolution  # twice as many backward, but to no image
    step_flops = BATCH * image_flops
    step_bytes = 7 * 4 * parameters  # Adam reads weight, gradient, two moments; writes all but the gradient
    return {
        "gigaflops": flops / 1e9,
        "gigabytes_per_second": copied / 1e9,
        "megaflop_per_step": step_flops / 1e6,
        "optimizer_megabytes_per_step": step_bytes / 1e6,
        "floor_ms_per_step": 1e3 * (step_flops / flops + step_bytes / copied),
    }


def best(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure_default(folder: Path, steps: int, repeats: int = 3) -> dict[str, Any]:
    """Two epochs of the default, each time between two measurements of the plain loop."""
    rounds = []
    for i in range(repeats):
        before = measure_child("plain", steps)
        default = measure_command(folder, "--epochs", "2", "--seed", str(i))
        after = measure_child("plain", steps)
        plain_step = (before["cpu_ms_per_step"] + after["cpu_ms_per_step"]) / 2
        plain = plain_step / 1e3 * -(-TRAIN_IMAGES // BATCH) * PLAIN_EPOCHS
        share = default["cpu_seconds"] / plain
        rounds.append(default | {"plain_30_epochs_cpu_seconds": plain, "share_of_plain": share})
    shares = spread([r["share_of_plain"] for r in rounds])
    return {
        "target_test_loss": TARGET_LOSS,
        "allowed_share": 1 / 15,
        "share_of_plain": shares,
        "rounds": rounds,
    }


def measure_command(folder: Path, *options: str) -> dict[str, float]:
    """Processor time and peak memory of one `safelight train mnist`, and the test loss it reached."""
    out = folder / "-".join(["run", *(o.strip("-") for o in options)])
    command = [sys.executable, "-m", "safelight.cli"]
    code = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    train = [*command, "train", "mnist", "--threads", str(THREADS), *options, "--out", str(out)]
    measured = subprocess.run([sys.executable, "-c", code, *train], check=True, stdout=subprocess.PIPE)
    cpu_seconds, kilobytes = json.loads(measured.stdout)
    done = subprocess.run(
        [*command, "evaluate", str(out), "--json", "--samples", "0"], check=True, stdout=subprocess.PIPE
    )
    return {
        "cpu_seconds": cpu_seconds,
        "peak_megabytes": kilobytes * 1024 / 1e6,
        "test_loss": json.loads(done.stdout)["loss"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="only the ratios and the floor")
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.steps)
        return
    result: dict[str, Any] = {"threads": THREADS, "batch_size": BATCH, "steps": chosen.steps}
    result |= measure_rounds(chosen.rounds, chosen.steps)
    floor = measure_floor()
    fastest = {v: max(row[v]["images_per_second"] for row in result["rounds"]) for v in VARIANTS}
    result["floor"] = floor
    result["share_of_floor"] = {v: floor["floor_ms_per_step"] / (1e3 * BATCH / s) for v, s in fastest.items()}
    if not chosen.quick:
        with tempfile.TemporaryDirectory() as name:
            three = ("--model", "conv-vae", "--validation", "0", "--epochs", "3", "--batch-size", str(BATCH))
            for precision in VARIANTS[1:]:
                result[f"three_epochs_{precision}"] = measure_command(
                    Path(name), *three, "--precision", precision
                )
            result["default_two_epochs"] = measure_default(Path(name), chosen.steps)
    print(json.dumps({k: v for k, v in result.items() if k != "rounds"}, indent=2))
    if not chosen.quick:
        print(save("train_step", result))
    print(
        f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
