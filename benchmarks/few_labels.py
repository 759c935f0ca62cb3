"""Test error against the number of labels, cell by cell: a cell that is in the results is not measured again.

The run is one that `safelight train` made without labels. Draws of labels differ by their seed alone. All
settings were chosen on validation labels; the test labels are read here, to count a cell's mistakes.

    safelight train mnist --threads 1 --out runs/first
    python benchmarks/few_labels.py runs/first table curve
    python benchmarks/few_labels.py runs/first chart
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import RESULTS, describe
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import safelight
from safelight.data.label_files import Labels
from safelight.labels.finetuning import few_labels
from safelight.labels.spreading import neighbour_graph, spread_over
from safelight.labels.suggestion import suggest
from safelight.reporting.charts import LIGHT, style

ALL = 0  # labels a class: every one
TUNED: dict[str, dict[str, Any]] = {
    "finetune": {},
    "all": {"supervised_only": True, "network": "classifier", "validation": 0, "epochs": 12},
    "pretrained, with the rest": {"epochs": 2},
    "from scratch, with the rest": {"epochs": 2, "from_scratch": True},
    "pretrained, labels alone": {"epochs": 2, "supervised_only": True},
    "from scratch, labels alone": {
        "epochs": 2,
        "supervised_only": True,
        "network": "classifier",
    },
}
TABLE = [(10, "finetune", 5), (100, "finetune", 3), (ALL, "all", 1)]
SHORT = [name for name in TUNED if name not in ("finetune", "all")]
WORDS = {"finetune": "finetune, 4 epochs", **{name: f"{name}, 2 epochs" for name in SHORT}}
Arrays = NDArray[Any]


class Views(NamedTuple):
    """Training and test images as pixels and as codes, (N, D)."""

    pixels: tuple[Arrays, Arrays]
    codes: tuple[Arrays, Arrays]


def logistic_regression(train: Arrays, labels: Arrays, test: Arrays) -> Arrays:
    known = labels >= 0
    return np.asarray(LogisticRegression(max_iter=1000).fit(train[known], labels[known]).predict(test))


def nearest(train: Arrays, labels: Arrays, test: Arrays) -> Arrays:
    """The nearest labelled image, which for few labels is better than a vote."""
    known = labels >= 0
    return np.asarray(KNeighborsClassifier(1).fit(train[known], labels[known]).predict(test))


class Spreading:
    """Spread over the training images; a test image is given what its 10 nearest ones have on average."""

    def __init__(self) -> None:
        self.graph: Any = None

    def __call__(self, train: Arrays, labels: Arrays, test: Arrays) -> Arrays:
        if self.graph is None:
            self.graph = neighbour_graph(train)
            self.places = NearestNeighbors(n_neighbors=10).fit(train).kneighbors(test)[1]
        spread = spread_over(self.graph, labels, int(labels.max()) + 1)
        return np.asarray(spread[self.places].mean(1).argmax(1))


spreading = Spreading()
CHEAP: dict[str, tuple[str, Callable[[Arrays, Arrays, Arrays], Arrays]]] = {
    "pixels, logistic regression": ("pixels", logistic_regression),
    "pixels, nearest": ("pixels", nearest),
    "codes, logistic regression": ("codes", logistic_regression),
    "codes, nearest": ("codes", nearest),
    "codes, spreading": ("codes", spreading),
}


CHOSEN: dict[str, Callable[[Arrays, int, int], Arrays]] = {
    "codes, spreading of suggested": lambda codes, count, seed: suggest(codes, count, seed=seed),
    "codes, spreading of random": lambda codes, count, seed: np.random.default_rng(seed).choice(
        len(codes), count, replace=False
    ),
}


def table_cells() -> Iterator[tuple[int, str, int]]:
    for per_class, method, draws in TABLE:
        yield from ((per_class, method, draw) for draw in range(draws))


def curve_cells() -> Iterator[tuple[int, str, int]]:
    yield from ((n, method, draw) for method in CHEAP for n in (1, 3, 10, 30, 100) for draw in range(10))
    yield from ((n, method, draw) for draw in range(2) for n in (10, 100, 3) for method in SHORT)


def suggest_cells() -> Iterator[tuple[int, str, int]]:
    yield from ((n, method, draw) for n in (1, 3, 10) for draw in range(10) for method in CHOSEN)


def draw_chart(cells: dict[str, Any], path: Path) -> None:
    """Mean test error against labels a class, and the draws' least and most."""
    figure = Figure(figsize=(8, 4.6), dpi=150, facecolor=LIGHT.panel, layout="constrained")
    axes = figure.subplots()
    found: dict[str, dict[int, list[float]]] = {}
    for key, cell in cells.items():
        method, budget, _ = key.split(" | ")
        if budget != "all" and method not in CHOSEN:
            found.setdefault(method, {}).setdefault(int(budget), []).append(cell["test_error_percent"])
    for method, budgets in sorted(found.items(), key=lambda item: -float(np.mean(item[1][max(item[1])]))):
        x = sorted(budgets)
        means = [float(np.mean(budgets[n])) for n in x]
        line, marker = ("--", "o") if method in CHEAP else ("-", "s")
        color = f"C{[*CHEAP, *WORDS].index(method)}"
        axes.plot(x, means, line, c=color, marker=marker, ms=4, lw=1.4, label=WORDS.get(method, method))
        axes.vlines(x, [min(budgets[n]) for n in x], [max(budgets[n]) for n in x], color, lw=1, alpha=0.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in (0.5, 1, 2, 3, 5, 10, 15, 20, 30, 50) if bottom < tick < top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    style(axes, LIGHT)
    axes.set_xlabel("labels a class")
    axes.set_ylabel("test error (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9, labelcolor=LIGHT.ink)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", help="run folder, trained without labels")
    parser.add_argument("parts", nargs="+", choices=("table", "curve", "suggest", "chart"))
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--draws", type=int, default=10, help="at most, of each cell")
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    run = safelight.Run(chosen.run)
    name = str(run.config.data.source)
    path = RESULTS / f"few_labels-{name}.json"
    if chosen.parts == ["chart"]:
        draw_chart(json.loads(path.read_text())["cells"], RESULTS.parents[1] / "docs" / f"labels-{name}.png")
        return
    images, test = safelight.load(name), safelight.load(name, split="test")
    train = images.split(run.config.data.validation).train
    sets = (train, test)
    views = Views(*zip(*((s.floats().flatten(1).numpy(), run.encode(s)) for s in sets), strict=True))

    def known() -> dict[str, Any]:
        return dict(json.loads(path.read_text())["cells"]) if path.exists() else {}

    cells = {"table": table_cells, "curve": curve_cells, "suggest": suggest_cells}
    for per_class, method, draw in (cell for part in chosen.parts for cell in cells[part]()):
        key = f"{method} | {per_class or 'all'} | {draw}"
        if key in known() or draw >= chosen.draws:
            continue
        started = time.process_time()
        if method in TUNED:
            options = {"labels_per_class": per_class or None, **TUNED[method]}
            tuned = safelight.finetune(
                run, images, seed=draw, threads=1, precision=chosen.precision, **options
            )
            found = tuned.classify(test).probabilities.argmax(1)
        else:
            labels = Labels.of(np.asarray(train.labels).tolist())
            if method in CHOSEN:  # as many labels in all, of whatever classes
                places = CHOSEN[method](views.codes[0], len(labels.classes) * per_class, draw)
                given = np.full(len(train), -1)
                given[places] = labels.numbers[places]
            else:
                given = few_labels(train.split(0), labels, per_class, draw).numbers
            view, function = CHEAP.get(method, ("codes", spreading))
            found = function(getattr(views, view)[0], given, getattr(views, view)[1])
        seconds = time.process_time() - started
        error = 100 * float(np.mean(found != test.labels))
        cell = {"test_error_percent": round(error, 2), "cpu_seconds": round(seconds, 1)}
        path.write_text(json.dumps({**describe(), "cells": {**known(), key: cell}}, indent=1) + "\n")
        print(f"{key}: {error:.2f}%, {seconds:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
