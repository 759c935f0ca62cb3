"""Ways to find settings for long trainings, paired and at equal budget, on a stand-in that answers at once.

`trainings` measures the original report's network on 4,000 images of MNIST, judged on 2,000 others:
settings are a Latin hypercube over the default genes, each trained on its own whole schedule of 1, 4 and 12
epochs, the longest also judged on its way. `compare` fits a Gaussian process to these measurements, which
knows nothing of the law of training that the search fits, and lets every way search on it: a training by
given settings costs its epochs, and its answer moves with the seed as real ones do. Each way then stands for
what its choice comes to, without that noise. No test image is read; what is in the results is not measured
again.

    OMP_NUM_THREADS=1 python benchmarks/protocol.py trainings
    OMP_NUM_THREADS=1 python benchmarks/protocol.py compare
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from machine import RESULTS, describe
from scipy.stats import spearmanr
from search import chances
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.engines.executors import Engine
from safelight.evolution.algorithms import ALGORITHMS
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genes import apply_genes, genes_of, hyper_genes
from safelight.evolution.genetic import initial_design
from safelight.evolution.genome import Space, Values
from safelight.evolution.ledger import trials_of
from safelight.evolution.record import SearchRecord
from safelight.evolution.samplers import distribution_of
from safelight.evolution.search import run_search
from safelight.evolution.surrogate import features
from safelight.evolution.trial import Job, Material, Outcome, evaluate

SETTINGS, IMAGES, VALIDATION = 60, 4000, 2000
SHORT, WHOLE = (1, 4), 12
ON_THE_WAY = (1, 2, 3, 6, 12)  # of the longest, where successive halving looks at it
BUDGET = 144  # epochs; as much for 12 as 360 are for 30
NOISE = 0.4  # nats by which whole trainings differ with the seed, taken from those of 30 epochs
TRAININGS, COMPARED = RESULTS / "protocol-trainings.json", RESULTS / "protocol.json"
SPACE = Space(hyper_genes())
BASE = RunConfig(
    ConvVAEConfig(), Fit(28, 28, 1, (0, 255)), DataConfig(limit=IMAGES), TrainingConfig(batch_size=49)
)


def measure(values: Values, material: Material) -> list[dict[str, Any]]:
    """Losses of one setting in nats per image, by epochs of the schedule and done; None where it failed."""
    config = apply_genes(values, BASE)

    def job(schedule: int, until: int, packed: bytes | None = None) -> Job:
        training = dataclasses.replace(config.training, epochs=schedule)
        return Job("", dataclasses.replace(config, training=training), until, packed, keep=True)

    rows = [{"schedule": n, "until": n, "loss": evaluate(material, job(n, n)).loss} for n in SHORT]
    packed = None
    for until in ON_THE_WAY:
        outcome = evaluate(material, job(WHOLE, until, packed))
        rows.append({"schedule": WHOLE, "until": until, "loss": outcome.loss})
        packed = outcome.packed
        if packed is None:
            break
    return rows


def measure_all() -> None:
    known = json.loads(TRAININGS.read_text())["settings"] if TRAININGS.exists() else []
    splits = safelight.load("mnist").split(None, IMAGES)
    assert splits.validation is not None
    material = Material(splits.train, splits.validation.subset(slice(VALIDATION)))
    for individual in initial_design(SPACE, SETTINGS, seed=0)[len(known) :]:
        values = SPACE.decode(individual.genotype)
        known.append({"values": values, "losses": measure(values, material)})
        content = {**describe(), "images": IMAGES, "validation": VALIDATION, "settings": known}
        TRAININGS.write_text(json.dumps(content, indent=1) + "\n")
        print(known[-1], file=sys.stderr, flush=True)


class StandIn:
    """A Gaussian process of log-losses over genes, epochs of the schedule and epochs done.

    Attributes:
        agreement: rank correlation of the whole trainings with what is expected of each without its own rows.
    """

    def __init__(self) -> None:
        rows = [
            (setting["values"], row["schedule"], row["until"], row["loss"], number)
            for number, setting in enumerate(json.loads(TRAININGS.read_text())["settings"])
            for row in setting["losses"]
            if row["loss"] is not None
        ]
        x = np.concatenate([self._at(*row[:3]) for row in rows])
        y = np.log([row[3] for row in rows])
        self._mean, self._scale = y.mean(), y.std()
        y = (y - self._mean) / self._scale
        kernel = ConstantKernel(1.0, (0.05, 50)) * Matern(np.full(x.shape[1], 1.0), (0.05, 50), nu=2.5)
        self._process = GaussianProcessRegressor(kernel + WhiteKernel(0.01, (1e-6, 1)), random_state=0).fit(
            x, y
        )
        fixed = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
        numbers = np.array([row[4] for row in rows])
        whole = [i for i, row in enumerate(rows) if row[2] == WHOLE]
        told = [
            float(fixed.fit(x[numbers != numbers[i]], y[numbers != numbers[i]]).predict(x[[i]])[0])
            for i in whole
        ]
        self.agreement = float(spearmanr(told, y[whole])[0])

    def loss(self, values: Values, schedule: int, until: int) -> float:
        """Expected, in nats per image."""
        told = float(self._process.predict(self._at(values, schedule, until))[0])
        return math.exp(self._mean + self._scale * told)

    def answer(self, values: Values, schedule: int, until: int, seed: int) -> float:
        """As a training from this seed gives it."""
        rng = np.random.default_rng((seed, schedule, until, zlib.crc32(str(values).encode())))
        return self.loss(values, schedule, until) + NOISE * math.sqrt(WHOLE / until) * rng.normal()

    @staticmethod
    def _at(values: Values, schedule: int, until: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        epochs = np.log([schedule, until]) / math.log(WHOLE)
        return np.concatenate([features(SPACE, [SPACE.encode(values)])[0], epochs])[None]


class Answers(Executor):
    """Where a search's trainings go in place of processes."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job: Job = args[1]
        values, training = genes_of(job.config, SPACE), job.config.training
        loss = self.stand_in.answer(values, training.epochs, job.until, training.seed)
        future: Future[Any] = Future()
        future.set_result(Outcome(loss=loss, packed=b"state" if job.keep else None, parameters=1))
        return future


def by_law(stand_in: StandIn, seed: int) -> tuple[Values, str]:
    """The search for long trainings itself, as `evolve --for-epochs` runs it."""
    with tempfile.TemporaryDirectory() as folder:
        at = SearchFolder(Path(folder) / "search")
        search = SearchConfig(for_epochs=WHOLE, budget=BUDGET, seed=seed)
        with at.create():
            (at.path / "state").mkdir(exist_ok=True)
            at.write_config(SearchRecord(search, hyper_genes(), BASE))
            winner = run_search(at, at.read_config(), Engine(Answers(stand_in), None, 1))[0]
        halved = any(trial.origin == "halving" for trial in trials_of(at.study))
    return winner.values, "halving" if halved else "law"


def by_short(stand_in: StandIn, seed: int, epochs: int) -> tuple[Values, str]:
    """The genetic algorithm on short trainings; the best three of them are trained whole."""
    asking = ALGORITHMS["ga"](SPACE, 30, seed, initial_design(SPACE, 30, seed), 1)
    known: list[tuple[float, Values]] = []
    most = (BUDGET - 3 * WHOLE) // epochs
    while len(known) < most:
        asked = [SPACE.decode(individual.genotype) for individual in asking.ask()][: most - len(known)]
        found = [stand_in.answer(values, epochs, epochs, seed) for values in asked]
        known += zip(found, asked, strict=True)
        if len(known) < most:
            asking.tell([(loss,) for loss in found])
    best = sorted(known, key=lambda pair: pair[0])[:3]
    return min((values for _, values in best), key=lambda v: stand_in.answer(v, WHOLE, WHOLE, seed + 1)), ""


def by_optuna(
    stand_in: StandIn,
    seed: int,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> tuple[Values, str]:
    """Long schedules, ended early where pruner or budget say so; the best of those that were whole."""
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=str(seed))
    spent = 0
    while spent < BUDGET:
        trial = study.ask({name: distribution_of(gene) for name, gene in SPACE.genes.items()})
        values = _acting(trial.params)
        for until in range(1, min(WHOLE, BUDGET - spent) + 1):
            loss = stand_in.answer(values, WHOLE, until, seed)
            trial.report(loss, until)
            if trial.should_prune():
                break
        spent += until
        if until == WHOLE:
            study.tell(trial, loss)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return _acting(study.best_params), ""


def _acting(given: dict[str, Any]) -> Values:
    """Values of the genes that act."""
    return SPACE.decode(SPACE.encode(given))


WAYS: dict[str, Callable[[StandIn, int], tuple[Values, str]]] = {
    "for-epochs": by_law,
    "ga, one epoch": lambda stand_in, seed: by_short(stand_in, seed, 1),
    "ga, three epochs": lambda stand_in, seed: by_short(stand_in, seed, 3),
    "tpe, hyperband": lambda stand_in, seed: by_optuna(
        stand_in,
        seed,
        optuna.samplers.TPESampler(seed=seed),
        optuna.pruners.HyperbandPruner(1, WHOLE, 3),
    ),
    "random, halving": lambda stand_in, seed: by_optuna(
        stand_in,
        seed,
        optuna.samplers.RandomSampler(seed),
        optuna.pruners.SuccessiveHalvingPruner(1, 3),
    ),
    "random": lambda stand_in, seed: by_optuna(
        stand_in, seed, optuna.samplers.RandomSampler(seed), optuna.pruners.NopPruner()
    ),
}


def compare(seeds: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stand_in = StandIn()
    cells = json.loads(COMPARED.read_text())["cells"] if COMPARED.exists() else {}
    for seed in range(seeds):
        for way, search in WAYS.items():
            if f"{way} | {seed}" not in cells:
                values, how = search(stand_in, seed)
                loss = float(f"{stand_in.loss(values, WHOLE, WHOLE):.6g}")
                cells[f"{way} | {seed}"] = {"loss": loss, "values": values, "how": how}
                print(way, seed, loss, how, file=sys.stderr, flush=True)
        content = {**describe(), "agreement": round(stand_in.agreement, 2), "budget": BUDGET, "cells": cells}
        COMPARED.write_text(json.dumps(content, indent=1) + "\n")
    rows = table(stand_in, cells)
    COMPARED.write_text(json.dumps({**content, "table": rows}, indent=1) + "\n")
    for way, row in rows.items():
        print(way, row)


def table(stand_in: StandIn, cells: dict[str, Any]) -> dict[str, Any]:
    """Regrets in nats of seeds that all ways have, and one-sided p-values of ours being better, and worse."""
    anywhere = initial_design(SPACE, 4096, seed=1)
    least = min(
        *(stand_in.loss(SPACE.decode(one.genotype), WHOLE, WHOLE) for one in anywhere),
        *(cell["loss"] for cell in cells.values()),
    )
    by_way = {
        way: {k.split(" | ")[1]: c["loss"] for k, c in cells.items() if k.split(" | ")[0] == way}
        for way in WAYS
    }
    seeds = sorted(set.intersection(*(set(losses) for losses in by_way.values())))
    regrets = {way: np.array([losses[seed] for seed in seeds]) - least for way, losses in by_way.items()}
    return {
        way: {
            "seeds": len(seeds),
            "regret_quartiles": [float(f"{n:.3g}") for n in np.quantile(found, (0.25, 0.5, 0.75))],
            **chances(regrets["for-epochs"] - found, "for_epochs"),
        }
        for way, found in regrets.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=("trainings", "compare"))
    parser.add_argument("--seeds", type=int, default=20, help="to compare from (default: 20)")
    chosen = parser.parse_args()
    if chosen.part == "trainings":
        measure_all()
    else:
        compare(chosen.seeds)


if __name__ == "__main__":
    main()
