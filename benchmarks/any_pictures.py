"""What the defaults make of any pictures: python benchmarks/any_pictures.py RESULTS.json SET...

Each SET is what `safelight train` takes: a named set, an array, a folder. It is trained by nothing but the
defaults on one thread, and measured on validation and test images beside PCA of as many dimensions. Each set
is written into the results when it is done; those that are there already are left out, so that a benchmark
that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import safelight
from safelight.config.reading import to_dict

MEASURES = ("psnr", "pca_psnr", "mean_psnr", "loss", "kl", "active_units", "n")


def measured(source: str) -> dict[str, Any]:
    """One set's cell."""
    started = time.process_time()
    plans: list[Any] = []
    run = safelight.train(source, threads=1, on_start=plans.append)
    seconds = time.process_time() - started
    config = run.config
    return {
        "network": to_dict(config.network),
        "likelihood": to_dict(config.task)["likelihood"],
        "batch_size": config.training.batch_size,
        "lr": config.training.lr,
        "epochs": config.training.epochs,
        "steps": plans[0].steps,
        "processor_seconds": round(seconds, 1),
        "notes": list(config.notes),
        **{split: _numbers(run.evaluate(split)) for split in ("validation", "test")},
    }


def _numbers(found: dict[str, Any]) -> dict[str, float]:
    return {name: round(found[name], 3) for name in MEASURES}


def main() -> None:
    """Measure the sets that the results lack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("sets", nargs="+")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for source in options.sets:
        name = Path(source).stem
        if name not in results:
            results[name] = measured(source)
            options.results.write_text(json.dumps(results, indent=1) + "\n")
        test = results[name]["test"]
        print(f"{name}: {test['psnr']:.2f} dB, PCA {test['pca_psnr']:.2f}", flush=True)


if __name__ == "__main__":
    main()
