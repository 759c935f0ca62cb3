"""Ways to find settings for long trainings, paired and at equal budget, on a stand-in that answers at once.

`trainings` measures the original report's network on 4,000 images of MNIST, judged on 2,000 validation images:
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
import sys
from typing import Any

from machine import RESULTS, describe

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.training import TrainingConfig
from safelight.evolution.genes import apply_genes, hyper_genes
from safelight.evolution.genetic import initial_design
from safelight.evolution.genome import Space, Values
from safelight.evolution.trial import Job, Material, evaluate

SETTINGS, IMAGES, VALIDATION = 60, 4000, 2000
SHORT, WHOLE = (1, 4), 12
ON_THE_WAY = (1, 2, 3, 6, 12)  # of the longest, where successive halving looks at it
TRAININGS, COMPARED = RESULTS / "protocol-trainings.json", RESULTS / "protocol.json"
SPACE = Space(hyper_genes())
BASE = RunConfig(
    ConvVAEConfig(), Fit(28, 28, 1, (0, 255)), DataConfig(limit=IMAGES), TrainingConfig(batch_size=49)
)


def measure(values: Values, material: Material) -> list[dict[str, Any]]:
    """Losses of one setting in nats per image, by epochs of the schedule and epochs done; None where it failed."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=("trainings", "compare"))
    chosen = parser.parse_args()
    if chosen.part == "trainings":
        measure_all()


if __name__ == "__main__":
    main()
