"""Trials an hour with two workers against one, and the search's own share of the time.

Each round searches the same space with the same seed, so the same trials, once with either number, in turn.
The clock runs from the first generation's start to the last trial's end, so that it leaves out the finalists
and the start of the first worker, not of the second. The overhead is the share of it that no trial took, with
one worker.

    python benchmarks/workers.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

from machine import RESULTS, describe

import safelight
from safelight.evolution.status import Status

SEARCH: dict[str, Any] = {"population": 12, "generations": 3, "limit": 4000, "limit_validation": 1000}


def measure(workers: int) -> dict[str, float]:
    """Seconds that one search's trials took, by the clock and by their own."""
    moments: list[float] = []

    def on_status(status: Status) -> None:
        if status.what == "searching":
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        images = safelight.load("mnist")
        found = safelight.evolve(
            images, "conv-vae", folder, overwrite=True, workers=workers, on_status=on_status, **SEARCH
        )
        return {"clock": moments[-1] - moments[0], "trials": sum(trial.seconds for trial in found.trials)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="of one search each way (default: 3)")
    rounds = parser.parse_args().rounds
    pairs: list[dict[str, Any]] = []
    for number in range(rounds):
        order = (1, 2) if number % 2 == 0 else (2, 1)
        times = {workers: measure(workers) for workers in order}
        pairs.append(
            {
                "ratio": times[1]["clock"] / times[2]["clock"],
                "overhead": 1 - times[1]["trials"] / times[1]["clock"],
            }
        )
        print(pairs[-1], flush=True)
    content = {**describe(), "search": SEARCH, "rounds": pairs}
    for name in ("ratio", "overhead"):
        content[name] = statistics.median(pair[name] for pair in pairs)
    (RESULTS / f"workers-{content['date']}.json").write_text(json.dumps(content, indent=1) + "\n")
    print({name: content[name] for name in ("ratio", "overhead")})


if __name__ == "__main__":
    main()
