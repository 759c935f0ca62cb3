"""How settings are searched for."""

from __future__ import annotations

from dataclasses import dataclass, field

from safelight.config.reading import MAX_COUNT, check, check_seed, did_you_mean
from safelight.errors import ConfigError

__all__ = [
    "ALGORITHMS",
    "DECIDED",
    "ENGINES",
    "FINALISTS",
    "FRESH_SEEDS",
    "LONG_FINALISTS",
    "SIZES",
    "SearchConfig",
]

ALGORITHMS = {  # what proposes trials, in words; `evolution/algorithms.py` makes them
    "ga": "A genetic algorithm",
    "truncation": "The original report's genetic operators",
    "nsga2": "NSGA-II",
    "tpe": "A tree-structured Parzen estimator",
    "random": "A random search",
}
SIZES = {  # what may be minimized beside the loss, in words
    "parameters": "parameters",
    "flops": "FLOPs an image",
    "cost": "training FLOPs an image, all its epochs",
}
EPOCHS = 3  # of a trial: one tells too little of what longer ones come to
FINALISTS = 3
FRESH_SEEDS = 3
LONG_FINALISTS = 6  # of one seed each: after many epochs settings differ more than seeds do
DECIDED = ("epochs", "seed", "threads", "patience", "micro_batches")  # of training: not a search's trials'
ENGINES = {  # where trials run; `engines/executors.py` opens them
    "local": "processes of this machine",
    "dask": "a Dask cluster",
    "ray": "a Ray cluster",
}


@dataclass(frozen=True)
class SearchConfig:
    """How settings are searched for; a trial is one training.

    Attributes:
        space: hyper, report (the original report's four), structure, both, or a .json file of genes
        algorithm: what proposes the trials
        population: trials a generation
        generations: number of generations
        epochs: of a whole trial; by default 3, or those of the last rung
        equal_cost: give a trial as many epochs as cost what those of the starting settings do, at least one
        final_epochs: train six that differ in cost anew for so many, the best at each, and choose by that
        rungs: epochs after which only the best share of a generation trains on, such as 1,3,9
        objective: what is minimized; with more than one, the Pareto front is kept
        limit: number of training images; None for all
        limit_validation: number of validation images; None for all
        max_parameters: of a network; by default four times those of --model's own
        max_flops: of reconstructing an image; by default four times those of --model's own
        trial_timeout: seconds after which a trial has failed
        stop_hopeless: stop a trial that is worse than all survivors were at the same step
        seed: fixes the whole table of trials
    """

    space: str = "hyper"
    algorithm: str = field(default="ga", metadata={"choices": ALGORITHMS})
    population: int = 30
    generations: int = 4
    epochs: int | None = None
    equal_cost: bool = False
    final_epochs: int | None = None
    rungs: tuple[int, ...] = ()
    objective: tuple[str, ...] = ("loss",)
    limit: int | None = None
    limit_validation: int | None = None
    max_parameters: int | None = None
    max_flops: int | None = None
    trial_timeout: float | None = None
    stop_hopeless: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(
                f"algorithm: unknown {self.algorithm!r}; {did_you_mean(self.algorithm, ALGORITHMS)}"
            )
        check(2 <= self.population <= MAX_COUNT, "population", "at least 2", self.population)
        for name in ("generations", "epochs"):
            value = getattr(self, name)
            fits = (value is None and name == "epochs") or 1 <= value <= MAX_COUNT
            check(fits, name, f"1 to {MAX_COUNT:,}", value)
        for name in ("final_epochs", "limit", "limit_validation", "max_parameters", "max_flops"):
            value = getattr(self, name)
            check(value is None or value >= 1, name, "at least 1", value)
        check(
            self.trial_timeout is None or self.trial_timeout > 0,
            "trial_timeout",
            "above 0",
            self.trial_timeout,
        )
        check_seed(self.seed)
        grows = all(a < b for a, b in zip(self.rungs, self.rungs[1:], strict=False))
        check(
            grows and all(rung >= 1 for rung in self.rungs), "rungs", "growing numbers of epochs", self.rungs
        )
        whole = self.rungs[-1:] or (self.epochs,)
        check(
            self.epochs in (None, *whole),
            "epochs",
            f"those of the last rung, {whole[0]}, or none",
            self.epochs,
        )
        known = self.objective[:1] == ("loss",) and self.objective[1:] in ((), *((size,) for size in SIZES))
        expected = "loss, or " + " or ".join(f"loss,{size}" for size in SIZES)
        check(known, "objective", expected, ",".join(self.objective))
        check(not (self.equal_cost and self.rungs), "rungs", "none with equal_cost", self.rungs)

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of epochs at which a trial is measured; the last is a whole one's."""
        return self.rungs or (self.epochs or EPOCHS,)

    @property
    def finals(self) -> int:
        """Trainings of the finalists, at most."""
        most = self.population * self.generations
        return min(LONG_FINALISTS, most) if self.final_epochs else FRESH_SEEDS * min(FINALISTS, most)

    @property
    def final_work(self) -> float:
        """What one of these takes, in whole trials."""
        return (self.final_epochs or self.steps[-1]) / self.steps[-1]
