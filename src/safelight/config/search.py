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
MIDDLE = 6  # trainings of middle length, with for_epochs
LONG = (3, 5)  # whole ones at least, and at most
RETRAINED = 2  # of these, from a second seed
MIDDLE_SHARE = 0.3  # of the epochs of a whole one
GENERATIONS, FIRST_GENERATIONS = 4, 2  # alone, and before longer trainings
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
        generations: number of generations; by default 4, and 2 with for_epochs
        epochs: of a whole trial; by default 3, those of the last rung, or 1 with for_epochs
        equal_cost: give a trial as many epochs as cost what those of the starting settings do, at least one
        for_epochs: find what is best for trainings of so many, by a law learned from short and longer ones
        budget: of all trainings with for_epochs, in epochs of the starting settings
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
    generations: int | None = None
    epochs: int | None = None
    equal_cost: bool = False
    for_epochs: int | None = None
    budget: int = 360
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
            fits = value is None or 1 <= value <= MAX_COUNT
            check(fits, name, f"1 to {MAX_COUNT:,}", value)
        for name in ("for_epochs", "budget", "limit", "limit_validation", "max_parameters", "max_flops"):
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
        if self.for_epochs is not None:
            self._check_for_epochs(self.for_epochs)

    def _check_for_epochs(self, whole: int) -> None:
        shortest = self.steps[-1]
        check(whole >= shortest, "for_epochs", f"at least the epochs of a trial, {shortest}", whole)
        check(not self.rungs, "rungs", "none with for_epochs, which has longer trainings", self.rungs)
        check(not self.equal_cost, "equal_cost", "none with for_epochs, whose budget is of costs", True)
        several = ",".join(self.objective)
        check(self.objective == ("loss",), "objective", "loss alone with for_epochs", several)
        least = self.rounds * self.population * shortest + MIDDLE * self.middle_epochs
        least += (LONG[0] + RETRAINED) * whole
        check(
            self.budget >= least,
            "budget",
            f"at least {least} epochs, for {self.rounds * self.population} trials of {shortest}, {MIDDLE} of "
            f"{self.middle_epochs}, and {LONG[0]} of {whole} of which {RETRAINED} are trained again",
            self.budget,
        )

    @property
    def rounds(self) -> int:
        """Generations that there are."""
        return self.generations or (FIRST_GENERATIONS if self.for_epochs else GENERATIONS)

    @property
    def middle_epochs(self) -> int:
        """Of the trainings between the short and the whole ones, with for_epochs."""
        return max(self.steps[-1], round(MIDDLE_SHARE * (self.for_epochs or 0)))

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of epochs at which a trial is measured; the last is a whole one's."""
        return self.rungs or (self.epochs or (1 if self.for_epochs else EPOCHS),)

    @property
    def finals(self) -> int:
        """Trainings of the finalists from fresh seeds, at most."""
        return RETRAINED if self.for_epochs else FRESH_SEEDS * min(FINALISTS, self.population * self.rounds)
