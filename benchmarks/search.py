"""The genetic algorithm against other ways to search, at equal budget, over paired seeds.

With one seed all of them start from the same 12 individuals. Regret is the least loss found less the least
there is, which is 0 for the functions; on images it is the least that any search found. A training is one
epoch of the original report's network on 500 images, judged on 500 validation images, over its four genes
and ranges. The genetic algorithm's settings were chosen on functions of the same kinds with other optima;
no test image is read. What is in the results is not measured again.

    python benchmarks/search.py functions
    python benchmarks/search.py trainings --seeds 0 1 2 3
    python benchmarks/search.py chart
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cmaes import CMA
from machine import RESULTS, describe
from matplotlib.figure import Figure
from scipy.stats import wilcoxon

import safelight
from safelight.config import search as configured
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.engines.executors import open_engine
from safelight.evolution.algorithms import ALGORITHMS
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genes import report_genes
from safelight.evolution.genetic import Algorithm, Individual, initial_design
from safelight.evolution.genome import Gene, Space, Values
from safelight.evolution.ledger import trials_of
from safelight.evolution.ranking import Fitness
from safelight.evolution.record import SearchRecord
from safelight.evolution.search import run_search
from safelight.evolution.trial import Material
from safelight.reporting.charts import LIGHT, style

SETS = ("mnist", "fashion-mnist")
POPULATION, TRIALS, IMAGES = 12, 120, 500
BUDGETS = tuple(range(15, TRIALS + 1, 15))
SHOWN = (30, 60, 120)
Function = Callable[[Values], float]


class CMAES(Algorithm):
    """Covariance matrix adaptation (Hansen & Ostermeier 2001) as in the `cmaes` package, from the best start.

    The population's size is its own; a category is the part of [0, 1] that a number lies in.
    """

    def __init__(
        self, space: Space, population: int, seed: int, start: Sequence[Individual], objectives: int = 1
    ) -> None:
        self.space, self.seed = space, seed
        self._open = [np.array(individual.genotype) for individual in start]
        self._cma: CMA | None = None

    def ask(self) -> list[Individual]:
        if self._cma:
            self._open = [self._cma.ask() for _ in range(self._cma.population_size)]
        return [Individual(self.space.repair(tuple(map(float, x))), "sampler") for x in self._open]

    def tell(self, fitnesses: Sequence[Fitness]) -> None:
        losses = [min(fitness[0], 1e9) for fitness in fitnesses]
        if self._cma is None:
            bounds = np.tile([0.0, 1.0], (len(self.space), 1))
            self._cma = CMA(self._open[int(np.argmin(losses))], 0.2, bounds=bounds, seed=self.seed)
        elif len(losses) == len(self._open):
            self._cma.tell(list(zip(self._open, losses, strict=True)))


ALGORITHMS["cma-es"] = CMAES
configured.ALGORITHMS["cma-es"] = "CMA-ES"


def sphere(rng: np.random.Generator) -> Function:
    optimum = rng.uniform(0.2, 0.8, 4)
    return lambda values: float(((point(values) - optimum) ** 2).sum())


def ellipsoid(rng: np.random.Generator) -> Function:
    """Axes as long as 1 to 10, turned at random."""
    optimum, turned = rng.uniform(0.2, 0.8, 4), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    scales = np.geomspace(1, 100, 4)
    return lambda values: float((scales * (turned @ (point(values) - optimum)) ** 2).sum() / scales.mean())


def rastrigin(rng: np.random.Generator) -> Function:
    """A bowl with some three waves along each axis."""
    optimum = rng.uniform(0.2, 0.8, 4)

    def function(values: Values) -> float:
        x = 4 * (point(values) - optimum)
        return float((x**2 + 2 * (1 - np.cos(2 * np.pi * x))).sum()) / 16

    return function


def mixed(rng: np.random.Generator) -> Function:
    """Numbers of several kinds, two categories, and a gene that acts under one choice of the second."""
    share, rate, size = rng.uniform(0.2, 0.8), rng.uniform(-5, -1), int(rng.integers(30, 110))
    activations = rng.permutation(MIXED.genes["network.activation"].choices).tolist()
    decays = [*rng.permutation(["none", "linear"]).tolist(), "gamma"]  # from worst to best
    gamma = rng.uniform(0.2, 0.8)

    def function(values: Values) -> float:
        a = float(values["task.share"]) - share
        b = (math.log10(float(values["training.lr"])) - rate) / 6
        loss = (
            4 * a**2
            + 4 * b**2
            + 0.5 * (a - b) ** 2
            + ((float(values["training.batch_size"]) - size) / 100) ** 2
        )
        loss += 0.1 * activations.index(values["network.activation"])
        loss += 0.1 * (2 - decays.index(values["training.decay"]))
        loss += 2 * (float(values.get("training.gamma", gamma)) - gamma) ** 2
        return float(loss)

    return function


def point(values: Values) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(value) for value in values.values()])


PLAIN = Space({f"training.x{i}": Gene("float", 0.0, 1.0) for i in range(4)})
MIXED = Space(
    {
        "task.share": Gene("float", 0.0, 1.0),
        "training.lr": Gene("log-float", 1e-6, 1.0),
        "training.batch_size": Gene("integer", 10, 128),
        "network.activation": Gene("categorical", choices=("relu", "silu", "gelu", "elu")),
        "training.decay": Gene("categorical", choices=("none", "linear", "gamma")),
        "training.gamma": Gene("float", 0.0, 1.0, when={"training.decay": ("gamma",)}),
    }
)
FUNCTIONS: dict[str, tuple[Space, Callable[[np.random.Generator], Function]]] = {
    "sphere": (PLAIN, sphere),
    "ellipsoid": (PLAIN, ellipsoid),
    "rastrigin": (PLAIN, rastrigin),
    "mixed": (MIXED, mixed),
}


def on_function(name: str, algorithm: str, seed: int) -> list[float]:
    """Losses in the order of trials."""
    space, make = FUNCTIONS[name]
    function = make(np.random.default_rng((seed, 1)))
    start = initial_design(space, POPULATION, seed)
    asking = ALGORITHMS[algorithm](space, POPULATION, seed, start, 1)
    losses: list[float] = []
    while len(losses) < TRIALS:
        found = [function(space.decode(individual.genotype)) for individual in asking.ask()]
        asking.tell([(loss,) for loss in found])
        losses += found
    return losses


def on_images(source: str, algorithm: str, seed: int, workers: int, folder: Path) -> list[float]:
    """The same of trainings, by a search of the project's own, which goes on where it was stopped."""
    images = safelight.load(source, limit=IMAGES)
    splits = images.split(None, IMAGES)
    assert splits.validation is not None
    material = Material(splits.train, splits.validation.subset(slice(IMAGES)))
    channels, height, width = images.shape
    record = SearchRecord(
        SearchConfig(
            algorithm=algorithm,
            population=POPULATION,
            generations=TRIALS // POPULATION,
            epochs=1,
            limit=IMAGES,
            limit_validation=IMAGES,
            seed=seed,
        ),
        report_genes(),
        RunConfig(
            ConvVAEConfig(),
            Fit(height, width, channels, images.value_range),
            DataConfig(source, images.fingerprint(), None, IMAGES),
            TrainingConfig(),
        ),
    )
    at = SearchFolder(folder)
    with at.locked() if folder.exists() else at.create():
        (folder / "state").mkdir(exist_ok=True)
        at.write_config(record)
        with open_engine("local", material, workers, at.images) as engine:
            run_search(at, at.read_config(), engine)
    return [trial.rank_by[0] for trial in trials_of(at.study)]


def table(cells: dict[str, list[float]]) -> dict[str, Any]:
    """Of each problem and budget: median regrets, and how likely ours is better only by chance (Wilcoxon)."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, best in cells.items():
        problem, algorithm, seed = key.split(" | ")
        found.setdefault(problem, {}).setdefault(algorithm, {})[seed] = best
    rows: dict[str, Any] = {}
    for problem, algorithms in found.items():
        least = (
            0.0
            if problem in FUNCTIONS
            else min(min(b) for bests in algorithms.values() for b in bests.values())
        )
        seeds = sorted(set.intersection(*(set(bests) for bests in algorithms.values())))
        for budget in SHOWN:
            place = BUDGETS.index(budget)
            regrets = {
                a: np.array([bests[s][place] for s in seeds]) - least for a, bests in algorithms.items()
            }
            rows[f"{problem}, {budget} trials"] = {
                algorithm: {
                    "median_regret": float(f"{np.median(values):.3g}"),
                    **chances(regrets["ga"] - values),
                }
                for algorithm, values in regrets.items()
            }
    return rows


def chances(gaps: np.ndarray[Any, np.dtype[np.float64]], ours: str = "ga") -> dict[str, float]:
    """One-sided p-values of ours being better, and of ours being worse."""
    if not gaps.any():
        return {}
    better, worse = (float(wilcoxon(gaps, alternative=side).pvalue) for side in ("less", "greater"))
    return {f"p_{ours}_better": float(f"{better:.2g}"), f"p_{ours}_worse": float(f"{worse:.2g}")}


def write(path: Path, cells: dict[str, list[float]], rows: dict[str, Any] | None = None) -> None:
    content = {**describe(), "budgets": BUDGETS, "table": rows or {}, "cells": cells}
    path.write_text(json.dumps(content) + "\n")


def draw(cells: dict[str, list[float]], path: Path) -> None:
    """Median regret of functions and loss of images against trials, with quartiles, a panel a problem."""
    problems = list(dict.fromkeys(key.split(" | ")[0] for key in cells))
    rows = math.ceil(len(problems) / 2)
    figure = Figure(figsize=(9, 3.1 * rows), dpi=130, facecolor=LIGHT.panel, layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(problems) :]:
        axes.remove()
    for axes, problem in zip(panels, problems, strict=False):
        for algorithm in ALGORITHMS:
            bests = [v for k, v in cells.items() if k.startswith(f"{problem} | {algorithm} | ")]
            if not bests:
                continue
            low, middle, high = np.quantile(bests, (0.25, 0.5, 0.75), axis=0)
            width, place = (2.4, 3) if algorithm == "ga" else (1.2, 2)
            (line,) = axes.plot(BUDGETS, middle, lw=width, label=algorithm, zorder=place)
            axes.fill_between(BUDGETS, low, high, color=line.get_color(), alpha=0.12, lw=0)
        axes.set_title(problem, color=LIGHT.ink, fontsize=10)
        if problem in FUNCTIONS:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter("")
        axes.set_xticks([30, 60, 90, 120])
        style(axes, LIGHT)
        axes.set_xlabel("trials")
        axes.set_ylabel("regret" if problem in FUNCTIONS else "least validation loss (nats per image)")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=6,
        frameon=False,
        labelcolor=LIGHT.ink,
    )
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=("functions", "trainings", "chart"))
    parser.add_argument("--algorithms", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, nargs="+", help="50 for functions, 12 for trainings by default")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--runs", type=Path, default=Path("runs/search"), help="where the searches go")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once")
    chosen = parser.parse_args()
    paths = {part: RESULTS / f"search-{part}.json" for part in ("functions", "trainings")}
    if chosen.part == "chart":
        known = [json.loads(path.read_text())["cells"] for path in paths.values() if path.exists()]
        draw(
            dict(itertools.chain(*(cells.items() for cells in known))),
            RESULTS.parents[1] / "docs" / "search.png",
        )
        return
    path, is_quick = paths[chosen.part], chosen.part == "functions"
    cells = json.loads(path.read_text())["cells"] if path.exists() else {}
    seeds = chosen.seeds if chosen.seeds is not None else range(50 if is_quick else 12)
    problems = FUNCTIONS if is_quick else chosen.sets
    for seed, problem, algorithm in itertools.product(seeds, problems, chosen.algorithms):
        key = f"{problem} | {algorithm} | {seed}"
        if key in cells:
            continue
        folder = chosen.runs / f"{problem}-{algorithm}-{seed}"
        losses = (
            on_function(problem, algorithm, seed)
            if is_quick
            else on_images(problem, algorithm, seed, chosen.workers, folder)
        )
        best = np.minimum.accumulate(losses)
        cells[key] = [float(f"{best[budget - 1]:.6g}") for budget in BUDGETS]
        write(path, cells)
        print(f"{key}: {best[-1]:.4g}", file=sys.stderr, flush=True)
    rows = table(cells)
    write(path, cells, rows)
    for name, row in rows.items():
        print(name, {algorithm: figures["median_regret"] for algorithm, figures in row.items()})


if __name__ == "__main__":
    main()
