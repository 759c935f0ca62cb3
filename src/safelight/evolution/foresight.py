"""What a search with a budget foretold, what it came to, and what it has spent."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import rankdata, spearmanr

from safelight.config.search import MIDDLE
from safelight.evolution.genes import apply_genes
from safelight.evolution.genome import Values
from safelight.evolution.ledger import Trial
from safelight.evolution.record import SearchRecord
from safelight.networks.table import image_cost

__all__ = ["KNOWN", "POOR", "Foresight", "relative_cost"]

KNOWN = frozenset(  # genes that the law of training sees the effect of
    f"training.{name}" for name in ("batch_size", "lr", "warmup", "decay", "gamma", "weight_decay")
)
POOR = 0.5  # rank correlation below which the law is not believed


def relative_cost(record: SearchRecord, values: Values) -> float:
    """What an epoch by these values costs, in epochs of the starting settings."""
    return image_cost(apply_genes(values, record.base)) / image_cost(record.base)


@dataclass(frozen=True)
class Foresight:
    """Of a search for long trainings.

    Attributes:
        middle: trials of middle length, which check the law.
        long: whole trainings that it chose.
        halved: of successive halving, where the law was not believed.
        spent: epochs of the starting settings that all trainings have cost.
    """

    middle: tuple[Trial, ...]
    long: tuple[Trial, ...]
    halved: tuple[Trial, ...]
    spent: float

    @staticmethod
    def of(record: SearchRecord, trials: Iterable[Trial], again: Collection[int] = ()) -> Foresight:
        """What the record of trials tells.

        Args:
            record: of the search.
            trials: all there are.
            again: numbers of those whose whole training was repeated from another seed.
        """
        rows = sorted(trials, key=lambda trial: trial.number)
        foretold = [t for t in rows if t.forecast]
        spent = 0.0
        for trial in rows:
            if trial.is_done:
                epochs = max(trial.losses, default=trial.schedule or record.search.steps[-1])
                epochs += (record.search.for_epochs or 0) * (trial.number in again)
                spent += epochs * relative_cost(record, trial.values)
        halved = tuple(t for t in rows if t.origin == "halving")
        middle = [t for t in foretold if t.schedule == record.search.middle_epochs][:MIDDLE]
        long = tuple(t for t in foretold if t not in middle)
        return Foresight(tuple(middle), long, halved, spent)

    @property
    def correlation(self) -> float:
        """Of what short trials foretold of middle ones with what came, by rank; -1 where it says nothing."""
        return _rank_correlation([(t.forecast[2], t.rank_by[0]) for t in self.middle if t.forecast])

    def verdict(self, record: SearchRecord) -> str:
        """How the long trainings were chosen, and why, in words; empty before that."""
        halving = "so the rest of the budget went into successive halving on the long schedule"
        blind = [name for name in record.genes if name not in KNOWN]
        if self.halved and blind:
            return f"the law of training knows nothing of {', '.join(blind)}, {halving}"
        if self.halved and len(self.middle) < MIDDLE:
            return f"too few trials have learned to fit a law of training to, {halving}"
        if not (self.halved or self.long):
            return ""
        told = f"what the law of {record.search.rounds * record.search.population} short trials foretold of "
        told += (
            f"{len(self.middle)} of {record.search.middle_epochs} epochs orders them with a rank correlation "
        )
        told += f"of {self.correlation:.2f}"
        return f"{told}, less than {POOR}, {halving}" if self.halved else told


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's; failures share the last place."""
    forecasts, outcomes = [one for one, _ in pairs], [math.inf if math.isnan(o) else o for _, o in pairs]
    if len(set(forecasts)) < 2 or len(set(outcomes)) < 2:
        return -1.0
    return float(spearmanr(rankdata(forecasts), rankdata(outcomes))[0])
