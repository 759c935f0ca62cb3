"""Test losses over seeds, of the original report's experiment and of the default network.

Each seed is trained by the command a user types, in a process of its own, and reads the test images once, at
the end. Progress goes to standard error; a finished seed is not trained again.

    python benchmarks/quality.py original --seeds 0 1 2
    python benchmarks/quality.py default --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import save

from deep_learning_hw2.__main__ import BY_HAND

SAFELIGHT = [sys.executable, "-m", "safelight"]
ORIGINAL = [
    "--model", "conv-vae", "--validation", "0",
    *(word for name, value in BY_HAND.items() for word in (f"--{name.replace('_', '-')}", str(value))),
]  # fmt: skip
EXPERIMENTS: dict[str, list[str]] = {"original": ORIGINAL, "default": []}


def measure(options: list[str], out: Path) -> dict[str, Any]:
    """Train in a process of its own, then read the test images once."""
    if not (out / "evaluation.json").exists():
        start = ["--resume", str(out)] if out.exists() else ["mnist", *options, "--out", str(out)]
        subprocess.run([*SAFELIGHT, "train", *start], check=True, stdout=sys.stderr)
        subprocess.run([*SAFELIGHT, "evaluate", str(out)], check=True, stdout=sys.stderr)
    measures = json.loads((out / "evaluation.json").read_text())["test"]
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return {
        "test": {k: v for k, v in measures.items() if k != "kl_per_dimension"},
        "last_train_loss": history[-1]["train"]["loss"],
        "last_val_loss": history[-1]["validation"].get("loss"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"), help="where the run folders go")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a training")
    chosen = parser.parse_args()
    runs = []
    for seed in chosen.seeds:
        options = [*EXPERIMENTS[chosen.experiment], "--seed", str(seed), "--threads", str(chosen.threads)]
        out = chosen.runs / f"{chosen.experiment}-{seed}"
        runs.append({"seed": seed, "options": options, **measure(options, out)})
        print(f"seed {seed}: test loss {runs[-1]['test']['loss']:.4f}")
    losses = [run["test"]["loss"] for run in runs]
    summary = {"mean": statistics.mean(losses), "least": min(losses), "most": max(losses)}
    print(f"mean {summary['mean']:.4f}, from {summary['least']:.4f} to {summary['most']:.4f}")
    print(save(f"quality-{chosen.experiment}", {"test_loss": summary, "runs": runs}))


if __name__ == "__main__":
    main()
