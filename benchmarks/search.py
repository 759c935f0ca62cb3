"""The genetic algorithm against other ways to search, at equal budget and over paired seeds.

Every search tries 120 settings of the original report's network (its four genes and ranges, one epoch on the
first 2,000 training images, judged on 2,000 validation images); with one seed all of them start from the same
individuals. A search's regret is its least validation loss minus the least that any search found on that set,
in nats per image. No test image is read. What is done is in the searches' own records, so a run that was
stopped goes on; only what is missing is trained.

    python benchmarks/search.py                                        # all of it: hours
    python benchmarks/search.py --algorithms ga random --seeds 0 1     # a part of it
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from machine import save
from scipy.stats import wilcoxon

import safelight
from safelight.config.data import DataConfig, ImageConfig
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.evolution.executors import open_engine
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genes import hyper_genes
from safelight.evolution.ledger import table_hash, trials_of
from safelight.evolution.record import SearchRecord
from safelight.evolution.search import run_search
from safelight.evolution.trial import Material

SETS = ("mnist", "fashion-mnist")
ALGORITHMS = ("random", "truncation", "tpe", "nsga2", "ga")
POPULATION, GENERATIONS, IMAGES = 12, 10, 2000


def search(folder: Path, source: str, algorithm: str, seed: int) -> None:
    """Begin or continue one search, in one process of one thread, to its last trial."""
    images = safelight.load(source, limit=IMAGES)
    splits = images.split(None, IMAGES)
    assert splits.validation is not None
    material = Material(splits.train, splits.validation.subset(slice(IMAGES)))
    channels, height, width = images.shape
    record = SearchRecord(
        SearchConfig(
            algorithm=algorithm,
            population=POPULATION,
            generations=GENERATIONS,
            limit=IMAGES,
            limit_validation=IMAGES,
            seed=seed,
        ),
        hyper_genes(),
        RunConfig(
            ConvVAEConfig(),
            ImageConfig(height, width, channels, images.value_range),
            DataConfig(source, images.fingerprint(), None, IMAGES),
            TrainingConfig(),
        ),
    )
    at = SearchFolder(folder)
    with at.locked() if folder.exists() else at.create():
        (folder / "state").mkdir(exist_ok=True)
        at.write_config(record)
        with open_engine("local", material, 1, at.images) as engine:
            run_search(at, at.read_config(), engine, len(material.train))


def losses(folder: Path) -> list[float]:
    """Validation losses of a search's trials, infinite where one failed."""
    return [trial.rank_by[0] for trial in trials_of(SearchFolder(folder).study)]


def compare(best: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Regrets, and how likely so great a difference is by chance (one-sided Wilcoxon over both sets)."""
    least = {source: min(itertools.chain(*found.values())) for source, found in best.items()}
    regrets = {
        algorithm: {source: [loss - least[source] for loss in best[source][algorithm]] for source in best}
        for algorithm in next(iter(best.values()))
    }
    both = {algorithm: list(itertools.chain(*found.values())) for algorithm, found in regrets.items()}
    table: dict[str, Any] = {}
    for algorithm, found in regrets.items():
        table[algorithm] = {
            "median_regret": statistics.median(both[algorithm]),
            **{f"median_regret_{source}": statistics.median(values) for source, values in found.items()},
            "regrets": found,
        }
        if algorithm != "ga" and "ga" in both:
            gaps = [ours - theirs for ours, theirs in zip(both["ga"], both[algorithm], strict=True)]
            table[algorithm] |= {
                "ga_wins": sum(gap < 0 for gap in gaps),
                "pairs": len(gaps),
                "p_ga_better": float(wilcoxon(gaps, alternative="less").pvalue),
                "p_ga_worse": float(wilcoxon(gaps, alternative="greater").pvalue),
                "ga_regret_ratio": statistics.median(both["ga"]) / statistics.median(both[algorithm]),
            }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(12))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--runs", type=Path, default=Path("runs/search"), help="where the searches go")
    parser.add_argument("--workers", type=int, default=2, help="searches at once")
    chosen = parser.parse_args()
    jobs = list(itertools.product(chosen.algorithms, chosen.seeds, chosen.sets))
    folders = {job: chosen.runs / f"{job[2]}-{job[0]}-{job[1]}" for job in jobs}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.workers, mp_context=spawn) as pool:
        futures = {pool.submit(search, folders[job], job[2], job[0], job[1]): job for job in jobs}
        for future in as_completed(futures):
            future.result()
            algorithm, seed, source = futures[future]
            found = losses(folders[futures[future]])
            print(f"{source} {algorithm} {seed}: {min(found):.3f}", file=sys.stderr, flush=True)
    best = {
        source: {
            algorithm: [min(losses(folders[algorithm, seed, source])) for seed in chosen.seeds]
            for algorithm in chosen.algorithms
        }
        for source in chosen.sets
    }
    table = compare(best)
    for algorithm, row in table.items():
        figures = {k: v for k, v in row.items() if isinstance(v, (int, float))}
        print(algorithm, " ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    setting = {"population": POPULATION, "generations": GENERATIONS, "images": IMAGES}
    seeds = list(chosen.seeds)
    hashes = {folder.name: table_hash(trials_of(SearchFolder(folder).study)) for folder in folders.values()}
    print(save("search", setting | {"seeds": seeds, "algorithms": table, "best": best, "tables": hashes}))


if __name__ == "__main__":
    main()
