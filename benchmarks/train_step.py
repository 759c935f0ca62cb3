"""Training speed of the original report's network, against a plain PyTorch loop and against the machine.

Everything is measured in one run: plain and ours in turn, each in a process of its own, two threads, the
original report's network at batch size 49. The plain loop is written here as the report implies: a DataLoader
with one worker, images turned into tensors one by one, sigmoid and binary cross-entropy, Adam as it comes.
Machines are noisy, so ratios within a round are what counts.

    python benchmarks/train_step.py            # everything, about 20 minutes
    python benchmarks/train_step.py --quick    # the ratios alone
    python benchmarks/train_step.py --lasting  # of a trained network, and beside a busy process; 15 minutes
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from machine import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import safelight
import safelight.evolution.trial
import safelight.runs.training
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.evolution.trial import Job, Material, evaluate
from safelight.machine import SPIN, prepare_process
from safelight.runs.training import fit
from safelight.tasks.objective import objective

BATCH, THREADS, TRAIN_IMAGES = 49, 2, 60_000
STEPS_AN_EPOCH, TRAINED_EPOCHS, WARM_UP = -(-TRAIN_IMAGES // BATCH), 5, 20
LIBRARY_DEFAULT = (
    "300000"  # rounds that GNU's OpenMP spins, by its manual, where the threads have a core each
)
SPIN_COUNTS = (LIBRARY_DEFAULT, "100000", "30000", "10000", "3000", "1000")
PLAIN_EPOCHS = 30
TARGET_LOSS = 100.99
VARIANTS = ("plain", "float32", "bfloat16")
CHILDREN = (*VARIANTS, "denormals", "trial", "trial-denormals")


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


class Stopwatch:
    """Notes wall and processor time at chosen steps of a training; its last mark ends it."""

    def __init__(self, marks: set[int]) -> None:
        self.marks = marks
        self.done = 0
        self.times: dict[int, tuple[float, float]] = {}
        self._note()

    def step(self, state: object = None) -> bool:
        self.done += 1
        if self.done in self.marks:
            self._note()
        return self.done == max(self.marks)

    def between(self, first: int, last: int) -> dict[str, float]:
        wall, cpu = (self.times[last][i] - self.times[first][i] for i in (0, 1))
        return {
            "images_per_second": (last - first) * BATCH / wall,
            "cpu_ms_per_step": cpu / (last - first) * 1e3,
        }

    def _note(self) -> None:
        self.times[self.done] = time.perf_counter(), sum(os.times()[:4])


def run_plain(stopwatch: Stopwatch) -> None:
    network = PlainVAE()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=3.2318e-05)
    loader = DataLoader(PlainImages(), batch_size=BATCH, shuffle=True, num_workers=1)
    while True:
        for x in loader:
            optimizer.zero_grad()
            reconstruction, mu, logvar = network(x)
            loss = F.binary_cross_entropy(reconstruction, x, reduction="sum")
            loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            (loss / len(x)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
            if stopwatch.step():
                return


def run_ours(stopwatch: Stopwatch, precision: str) -> None:
    prepare_process()
    config = TrainingConfig(
        epochs=PLAIN_EPOCHS,
        batch_size=BATCH,
        lr=7e-3,
        warmup=0.5 / PLAIN_EPOCHS,
        weight_decay=3.2318e-05,
        precision=precision,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    network = safelight.ConvVAE()
    batches = Batches(safelight.load("mnist"), BATCH, 0)
    fit(network, batches, objective(AutoencodeConfig()), config, on_step=stopwatch.step)


def keep_denormals() -> None:
    """Make this process train as safelight once did, to measure what that cost."""

    def inline() -> AbstractContextManager[Callable[..., Any]]:
        return nullcontext(lambda function, *arguments: function(*arguments))

    vars(safelight.runs.training)["compute_thread"] = inline
    vars(safelight.evolution.trial)["prepare_process"] = lambda: None
    globals()["prepare_process"] = lambda: None


def child(variant: str, steps: int, trained: bool) -> None:
    """One measurement, printed as JSON: steps of a fresh network after a warm-up, and of a trained one."""
    torch.set_num_threads(THREADS)
    if variant.endswith("denormals"):
        keep_denormals()
    if variant.startswith("trial"):
        print(json.dumps(run_trial()))
        return
    ends = [i * STEPS_AN_EPOCH for i in range(TRAINED_EPOCHS + 1)]
    fresh = (WARM_UP, WARM_UP + steps)
    stopwatch = Stopwatch({*fresh, *ends, ends[-1] + steps} if trained else {*fresh})
    if variant == "plain":
        run_plain(stopwatch)
    else:
        run_ours(stopwatch, "bfloat16" if variant == "bfloat16" else "float32")
    result: dict[str, Any] = stopwatch.between(*fresh)
    if trained:
        seconds = [stopwatch.times[b][0] - stopwatch.times[a][0] for a, b in itertools.pairwise(ends)]
        result = {
            "fresh": result,
            "trained": stopwatch.between(ends[-1], ends[-1] + steps),
            "epoch_seconds": seconds,
        }
    print(json.dumps(result))


def run_trial() -> dict[str, float]:
    """One trial of the search, by the best settings that it had found, on one thread."""
    splits = safelight.load("mnist").split()
    assert splits.validation is not None
    training = TrainingConfig(
        epochs=1, batch_size=14, lr=0.0061, decay="gamma", gamma=0.295, weight_decay=3.1e-5, device="cpu"
    )
    config = RunConfig(ConvVAEConfig(), Fit(28, 28, 1), DataConfig(), training)
    before = sum(os.times()[:4])
    outcome = evaluate(Material(splits.train, splits.validation), Job("trial", config, 1))
    assert outcome.loss is not None
    return {"cpu_seconds": sum(os.times()[:4]) - before, "validation_loss": outcome.loss}


def measure_child(variant: str, steps: int, *options: str, **environment: str) -> dict[str, Any]:
    """A measurement in a process of its own, which waits at barriers as the command's does."""
    command = [sys.executable, __file__, "--child", variant, "--steps", str(steps), *options]
    own = {} if variant == "plain" else SPIN
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env={**os.environ, **own, **environment}
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def measure_lasting(steps: int) -> dict[str, Any]:
    """Fresh and after five epochs: the plain loop, ours, and ours with denormal numbers kept."""
    rows = {v: measure_child(v, steps, "--trained") for v in ("plain", "denormals", "float32")}
    epochs = {v: row["epoch_seconds"] for v, row in rows.items()}
    thirty = {v: s[0] + (PLAIN_EPOCHS - 1) * s[-1] for v, s in epochs.items()}
    return {
        "networks": rows,
        "trained_over_fresh": {
            v: row["trained"]["images_per_second"] / row["fresh"]["images_per_second"]
            for v, row in rows.items()
        },
        "thirty_epochs_times_plain": {v: thirty["plain"] / thirty[v] for v in ("denormals", "float32")},
        "trial_of_batch_14": {v: measure_child(v, steps) for v in ("trial-denormals", "trial")},
    }


def measure_neighbour(rounds: int, steps: int) -> dict[str, Any]:
    """Alone and beside a process that computes, by how long OpenMP's threads spin at a barrier."""
    table: list[dict[str, Any]] = []
    for _ in range(rounds):
        row: dict[str, Any] = {}
        for count in SPIN_COUNTS:
            spin = {"GOMP_SPINCOUNT": count}
            alone = measure_child("float32", steps, **spin)["images_per_second"]
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
                beside = measure_child("float32", steps, **spin)["images_per_second"]
                busy.kill()
            row[count] = {"alone": alone, "beside": beside}
        table.append(row)
        print(row, file=sys.stderr)
    base = LIBRARY_DEFAULT
    return {
        "rounds": table,
        "times_library_default": {
            count: {
                state: spread([row[count][state] / row[base][state] for row in table])
                for state in ("alone", "beside")
            }
            for count in SPIN_COUNTS
        },
    }


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
    command = [sys.executable, "-m", "safelight"]
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
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--trained", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--lasting", action="store_true", help="only trained networks and a busy neighbour")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="only the ratios and the floor")
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.steps, chosen.trained)
        return
    result: dict[str, Any] = {"threads": THREADS, "batch_size": BATCH, "steps": chosen.steps}
    if chosen.lasting:
        result |= {"lasting": measure_lasting(chosen.steps), "neighbour": measure_neighbour(3, chosen.steps)}
        print(json.dumps(result, indent=2))
        print(save("lasting", result))
        return
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
