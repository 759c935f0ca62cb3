"""Trials an hour with two workers against one, the search's own share of the time, and a plain loop's.

Each round searches the same space with the same seed, so the same trials, once with either number, in turn.
The clock runs from the first generation's start to the last trial's end, so that it leaves out the finalists
and the start of the first worker, not of the second. The overhead is the share of it that no trial took, with
one worker. The plain loop is that of train_step.py, on two threads; beside its images a second stand those of
two workers, who pay for validation and for the search too. All batches are of 49 images.

    python benchmarks/workers.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, describe
from train_step import BATCH, measure_child, spread

import safelight
from safelight.evolution.status import Status

LIMIT, STEPS = 4000, 200
SEARCH: dict[str, Any] = {
    "population": 12,
    "generations": 3,
    "epochs": 1,
    "limit": LIMIT,
    "limit_validation": 1000,
}
GENES = {
    "training.lr": {"kind": "log-float", "low": 1e-4, "high": 0.03},
    "training.gamma": {"kind": "float", "low": 0.1, "high": 1.0},
    "training.weight_decay": {"kind": "log-float", "low": 1e-7, "high": 1e-4},
}


def measure(workers: int) -> dict[str, float]:
    """Seconds that one search's trials took, by the clock and by their own, and images that it trained on."""
    moments: list[float] = []

    def on_status(status: Status) -> None:
        if status.finals is None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "genes.json"
        space.write_text(json.dumps(GENES))
        found = safelight.evolve(
            "mnist",
            "conv-vae",
            Path(folder) / "search",
            space=str(space),
            settings={"batch_size": BATCH},
            workers=workers,
            on_status=on_status,
            **SEARCH,
        )
        trials = found.trials
    clock = moments[-1] - moments[0]
    return {
        "clock": clock,
        "trials": sum(trial.seconds for trial in trials),
        "images_per_second": LIMIT * len(trials) / clock,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="of one search each way (default: 3)")
    rounds = parser.parse_args().rounds
    table: list[dict[str, float]] = []
    for number in range(rounds):
        order = (1, 2) if number % 2 == 0 else (2, 1)
        measured = {workers: measure(workers) for workers in order}
        one, two = measured[1], measured[2]
        plain = measure_child("plain", STEPS)
        table.append(
            {
                "two_workers_over_one": one["clock"] / two["clock"],
                "overhead": 1 - one["trials"] / one["clock"],
                "times_plain_images_per_second": two["images_per_second"] / plain["images_per_second"],
            }
        )
        print(table[-1], flush=True)
    content = {**describe(), "search": SEARCH, "batch_size": BATCH, "rounds": table}
    content |= {name: spread([row[name] for row in table]) for name in table[0]}
    (RESULTS / f"workers-{content['date']}.json").write_text(json.dumps(content, indent=1) + "\n")
    print({name: content[name] for name in table[0]})


if __name__ == "__main__":
    main()
