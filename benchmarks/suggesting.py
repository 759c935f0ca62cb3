"""Labelling in rounds: images that `suggest` chooses against images drawn at random, cell by cell.

Each round adds labels. Logistic regression is fitted to the codes of all that are labelled so far, and asked
for all the others; its doubts also weigh what is suggested next. A cell in the results is not measured again.

    safelight train digits --threads 1 --out runs/digits
    python benchmarks/suggesting.py runs/digits
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from machine import RESULTS, describe
from numpy.typing import NDArray

import safelight
from safelight.labels.probes import linear_probe
from safelight.labels.spreading import certainty
from safelight.labels.suggestion import suggest

ROUNDS, EACH = 5, 20
MOST = 10_000  # images of a set
METHODS = ("random", "suggest, never unsure", "suggest")
Arrays = NDArray[Any]


def probabilities(codes: Arrays, labels: Arrays, known: Arrays) -> tuple[Arrays, Arrays]:
    """What logistic regression on the known says of all: classes and (N, K) probabilities."""
    if len(np.unique(labels[known])) < 2:
        return labels[known][:1], np.ones((len(codes), 1))
    regression = linear_probe(codes[known], labels[known])
    return regression.classes_, np.asarray(regression.predict_proba(codes))


def rounds(codes: Arrays, labels: Arrays, method: str, draw: int) -> list[float]:
    """Percent right of the images without a label, after each round."""
    rng, known, found = np.random.default_rng(draw), np.zeros(len(codes), bool), []
    unsure: Arrays | None = None
    for number in range(ROUNDS):
        if method == "random":
            chosen = rng.choice(np.flatnonzero(~known), EACH, replace=False)
        else:
            weights = unsure if method == "suggest" else None
            chosen = suggest(codes, EACH, known, weights, seed=draw * ROUNDS + number)
        known[chosen] = True
        classes, told = probabilities(codes, labels, known)
        unsure = 1 - certainty(told.astype(np.float32)) if told.shape[1] > 1 else None
        found.append(round(100 * float((classes[told.argmax(1)] == labels)[~known].mean()), 2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", help="run folders, trained without labels")
    parser.add_argument("--folder", type=int, default=0, help="of a picture's name, which is its class")
    parser.add_argument("--draws", type=int, default=10)
    chosen = parser.parse_args()
    path = RESULTS / "suggesting.json"
    for run in map(safelight.Run, chosen.runs):
        images = run.images("train").subset(slice(MOST))
        named = images.names is not None and images.labels is None
        folders = [name.split("/")[chosen.folder] for name in images.names or ()]
        labels = np.unique(folders, return_inverse=True)[1] if named else np.asarray(images.labels)
        codes = run.encode(images)
        for draw in range(chosen.draws):
            for method in METHODS:
                cells = dict(json.loads(path.read_text())["cells"]) if path.exists() else {}
                key = f"{run.path.name} | {method} | {draw}"
                if key in cells:
                    continue
                started = time.process_time()
                found = rounds(codes, labels, method, draw)
                seconds = round(time.process_time() - started, 1)
                cells[key] = {"right_percent": found, "cpu_seconds": seconds}
                path.write_text(json.dumps({**describe(), "cells": cells}, indent=1) + "\n")
                print(f"{key}: {found}, {seconds} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
