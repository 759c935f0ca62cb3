"""What a short training tells about a long one: the original report's network after 1, 3 and 30 epochs.

Settings are a Latin hypercube over the report's four genes, with rates at which all of them learn. Each is
trained three times on its own whole schedule, which ends after 1, 3 or 30 epochs, and the longest is also
judged on its way, after its first and third epoch. Losses are of 2,000 validation images; no test image is
read. What is in the results is not trained again.

    OMP_NUM_THREADS=1 python benchmarks/horizon.py
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from machine import RESULTS, describe
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.training import TrainingConfig
from safelight.evolution.genes import apply_genes, report_genes
from safelight.evolution.genetic import initial_design
from safelight.evolution.genome import Gene, Space
from safelight.evolution.trial import Job, Material, evaluate
from safelight.reporting.charts import LIGHT, style

SETTINGS, IMAGES, VALIDATION = 12, 4000, 2000
EPOCHS = (1, 3, 30)
RESULT = RESULTS / "horizon.json"
WAYS = {"whole": "own whole schedule", "start": "start of the 30 epochs"}


def settings() -> list[RunConfig]:
    """Some that learn, as nobody needs 30 epochs to tell the others."""
    genes = report_genes() | {
        "training.lr": Gene("log-float", 5e-4, 2e-2),
        "training.gamma": Gene("log-float", 1e-3, 1.0),
    }
    space = Space(genes)
    base = RunConfig(ConvVAEConfig(), Fit(28, 28, 1, (0, 255)), DataConfig(), TrainingConfig())
    return [apply_genes(space.decode(i.genotype), base) for i in initial_design(space, SETTINGS, seed=0)]


def measure(config: RunConfig, material: Material) -> dict[str, Any]:
    """Losses of one setting in nats per image, by way and epochs."""

    def job(epochs: int, until: int, packed: bytes | None = None) -> Job:
        training = dataclasses.replace(config.training, epochs=epochs)
        return Job("", dataclasses.replace(config, training=training), until, packed, keep=True)

    losses: dict[str, list[float | None]] = {
        "whole": [evaluate(material, job(epochs, epochs)).loss for epochs in EPOCHS[:-1]],
        "start": [],
    }
    packed = None
    for epochs in EPOCHS:
        outcome = evaluate(material, job(EPOCHS[-1], epochs, packed))
        packed = outcome.packed
        losses["start"].append(outcome.loss)
    losses["whole"].append(losses["start"][-1])
    training = config.training
    return {
        **{name: getattr(training, name) for name in ("batch_size", "lr", "gamma", "weight_decay")},
        **losses,
    }


def correlations(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Spearman's, of the order after few epochs with that after the last: of all, and of the better half."""
    ranked = sorted(rows, key=lambda row: float(row["whole"][-1]))
    return {
        f"{words}, {epochs} to {EPOCHS[-1]}, {which}": float(
            f"{spearmanr([row[way][i] for row in some], [row['whole'][-1] for row in some])[0]:.2f}"
        )
        for way, words in WAYS.items()
        for i, epochs in enumerate(EPOCHS[:-1])
        for which, some in (("all", ranked), ("better half", ranked[: len(ranked) // 2]))
    }


def draw(rows: list[dict[str, Any]], found: dict[str, float]) -> None:
    """A panel each for 1 and 3 epochs against 30, on both ways."""
    figure = Figure(figsize=(9, 3.8), dpi=130, facecolor=LIGHT.panel, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for i, axes in enumerate(panels):
        for way, words in WAYS.items():
            place = f"{words}, {EPOCHS[i]} to {EPOCHS[-1]}"
            axes.plot(
                [row[way][i] for row in rows],
                [row["whole"][-1] for row in rows],
                "o" if way == "whole" else "^",
                ms=6,
                mfc=None if way == "whole" else "none",
                label=f"{words}: {found[f'{place}, all']:.2f} ({found[f'{place}, better half']:.2f})",
            )
        axes.set_xlabel(f"loss after {EPOCHS[i]} epoch{'s' * (EPOCHS[i] > 1)} (nats per image)")
        axes.set_ylim(105, 195)
        axes.legend(
            loc="upper left",
            title="rank correlation of all (and of the better half)",
            frameon=False,
            labelcolor=LIGHT.ink,
            fontsize=8,
            title_fontsize=8,
        )
        style(axes, LIGHT)
    panels[0].set_ylabel(f"loss after {EPOCHS[-1]} epochs (nats per image)")
    figure.savefig(RESULTS.parents[1] / "docs" / "horizon.png")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text())["settings"] if RESULT.exists() else []
    splits = safelight.load("mnist").split(None, IMAGES)
    assert splits.validation is not None
    material = Material(splits.train, splits.validation.subset(slice(VALIDATION)))
    for config in settings()[len(rows) :]:
        rows.append(measure(config, material))
        RESULT.write_text(json.dumps({**describe(), "images": IMAGES, "settings": rows}, indent=1) + "\n")
        print(rows[-1], file=sys.stderr, flush=True)
    found = correlations(rows)
    content = {**describe(), "images": IMAGES, "rank_correlations": found, "settings": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    draw(rows, found)
    print(found)


if __name__ == "__main__":
    main()
