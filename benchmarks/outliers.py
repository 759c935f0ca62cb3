"""Odd images found among many: `python benchmarks/outliers.py RESULTS.json [SET...]`.

Fifty odd images are planted among some thousand usual ones, nobody says which, and everything is learned from
them all: safelight's defaults but for the epochs, the squared error that PCA of as many dimensions leaves,
and an isolation forest on pixels. Told are the area under the ROC curve and the share of the planted among
the first hundred. SET is one of those below, by default all; each cell is written when it is done, and those
that are there are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import safelight
from safelight.config.network import DeepConvConfig
from safelight.data.components import fit_components
from safelight.data.images import ImageSet

PLANTED, FIRST = 50, 100
SEEDS = (0, 1, 2)
EPOCHS = 12

Pixels = NDArray[np.float32]


def mirrored_digits(rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Fours, fives, sevens and nines of MNIST, mirrored, among 5,000 digits as they are."""
    mnist = safelight.load("mnist")
    order = rng.permutation(len(mnist))
    usual, rest = order[:5000], order[5000:]
    assert mnist.labels is not None
    odd = rest[np.isin(mnist.labels[rest], (4, 5, 7, 9))][:PLANTED]
    return mnist.floats(usual).numpy(), mnist.floats(odd).numpy()[:, :, :, ::-1]


def clothes(rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Clothes of Fashion-MNIST among 5,000 digits of MNIST."""
    digits, others = safelight.load("mnist"), safelight.load("fashion-mnist")
    usual, odd = rng.permutation(len(digits))[:5000], rng.permutation(len(others))[:PLANTED]
    return digits.floats(usual).numpy(), others.floats(odd).numpy()


def other_digits(rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Nines among 1,600 other digits of scikit-learn's."""
    digits = safelight.load("digits")
    assert digits.labels is not None
    usual = rng.permutation(np.flatnonzero(digits.labels != 9))
    odd = rng.permutation(np.flatnonzero(digits.labels == 9))[:PLANTED]
    return digits.floats(usual).numpy(), digits.floats(odd).numpy()


def scratched_discs(rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Drawn fields of discs under noise, 32×32; a thin bright line, 2% of the area, is on the odd ones."""
    y, x = np.mgrid[:32, :32]
    fields = np.zeros((3000 + PLANTED, 1, 32, 32), np.float32)
    for field in fields[:, 0]:
        for _ in range(rng.integers(2, 5)):
            across, down, radius = *rng.uniform(0, 32, 2), rng.uniform(3, 8)
            field += rng.uniform(0.2, 0.6) / (1 + np.exp(np.hypot(x - across, y - down) - radius))
    for field in fields[3000:, 0]:
        place, slope = rng.uniform(8, 24), rng.uniform(-0.5, 0.5)
        length = slice(start := int(rng.integers(0, 12)), start + 20)
        for column in range(32)[length]:
            field[int(np.clip(place + slope * (column - 16), 0, 31)), column] += 0.35
    noisy = (fields + rng.normal(0, 0.05, fields.shape)).clip(0, 1).astype(np.float32)
    return noisy[:3000], noisy[3000:]


SETS: dict[str, Callable[[np.random.Generator], tuple[Pixels, Pixels]]] = {
    "clothes in MNIST": clothes,
    "mirrored digits in MNIST": mirrored_digits,
    "nines in digits": other_digits,
    "scratches on discs": scratched_discs,
}


def cell(make: Callable[[np.random.Generator], tuple[Pixels, Pixels]], seed: int) -> dict[str, Any]:
    """One set and seed: each way's numbers."""
    usual, odd = make(np.random.default_rng(seed))
    pixels = np.concatenate([usual, odd])
    is_odd = np.arange(len(pixels)) >= len(usual)
    order = np.random.default_rng(seed + 100).permutation(len(pixels))
    images, is_odd = ImageSet(np.ascontiguousarray(pixels[order]), (0, 1)), is_odd[order]
    started = time.process_time()
    run = safelight.train(images, validation=0, epochs=EPOCHS, seed=seed, threads=1)
    found = run.outliers(images, train=images)
    seconds = time.process_time() - started
    x = images.floats()
    network = run.config.network
    assert isinstance(network, DeepConvConfig)
    components = fit_components(images, network.latent)
    left = (x - components.reconstruct(x)).square().flatten(1).mean(1).numpy()
    forest = IsolationForest(random_state=seed).fit(x.flatten(1).numpy())
    scores = {
        "safelight": found.scores,
        **{f"safelight, {name}": column for name, column in found.columns.items()},
        "PCA": left,
        "isolation forest": -forest.score_samples(x.flatten(1).numpy()),
    }
    return {
        "dimensions": network.latent,
        "processor_seconds": round(seconds, 1),
        **{name: _numbers(is_odd, np.asarray(values)) for name, values in scores.items()},
    }


def _numbers(is_odd: NDArray[np.bool_], scores: NDArray[Any]) -> dict[str, float]:
    first = np.argsort(-scores, kind="stable")[:FIRST]
    area = float(roc_auc_score(is_odd, scores))
    return {"roc_auc": round(area, 4), "in_first": round(float(is_odd[first].sum() / PLANTED), 3)}


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=[])
    options = parser.parse_args()
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    results = known.get("cells", {})
    for seed in SEEDS:
        for name in options.sets or SETS:
            key = f"{name}, seed {seed}"
            if key not in results:
                results[key] = cell(SETS[name], seed)
                options.results.write_text(json.dumps({**describe(), "cells": results}, indent=1) + "\n")
            told = {way: found["roc_auc"] for way, found in results[key].items() if isinstance(found, dict)}
            print(key, told, flush=True)


if __name__ == "__main__":
    main()
