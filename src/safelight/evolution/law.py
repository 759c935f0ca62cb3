"""A law of training: what a loss comes to, from how the rate falls and how long the training is.

Short trainings differ from long ones in more than their losses: they make less progress, and a rate that
falls faster leaves less noise. The law says how much of each a training has, so that its few constants can be
learned from short trainings and a long one be foretold. Kin: Tissue et al. (2024), Scaling Law with Learning
Rate Annealing, arXiv 2408.11029.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.runs.training import learning_rate

__all__ = ["Law", "Observed"]

Array = NDArray[np.float64]

POINTS = 24  # of a schedule at which its rate is looked at
FINE = 200  # steps between two of them, so that even a short warm-up is seen
MEMBERS = 16  # of the ensemble
LEAST = 8  # trainings that tell anything
UNIT = 0.01  # of the least short loss; its spread would say more, were it not the space's as well
FAR = 14.0  # units above the least of its length: what is worse has not learned, and obeys no law
STEPS = 5000.0  # of batches of one image, at a rate of 1, that make a progress of 1
BATCH, DECAY = 30.0, 3e-5  # a batch size and a weight decay in the middle of what is usual
LITTLE = 1e-9  # progress, which is never none
NOISE, STEEP = 1e-3, 0.02  # rates at which those terms are 1

# The constants, in the order in which `_law` names them: bounds, what
# is expected, and how far from that is no surprise.
LOW = np.array([-3.0, -3, 0.05, math.log(1e-3), 0.5, -6, 0, 0.3, -4, -1, 0, -6, -6])
HIGH = np.array([3.5, 6, 2, math.log(0.2), 6, 4, 2, 3, 6, 1, 0.2, 4, 3])
EXPECTED = np.array([math.log(11), 1.5, 0.6, math.log(0.01), 1.5, 0.5, 1, 0.7, 1, 0, 0.01, 0, -1])
SURPRISE = np.array([0.35, 1.5, 0.3, 1.2, 1, 1.5, 0.5, 0.4, 1.5, 0.3, 0.03, 2, 1.5])


@dataclass(frozen=True)
class Observed:
    """A training and what it came to.

    Attributes:
        training: its settings, with the batch size that it had and the epochs of its whole schedule.
        loss: at its end; infinite where it failed.
    """

    training: TrainingConfig
    loss: float


@dataclass(frozen=True)
class _Schedules:
    """What the law sees of N trainings."""

    rates: Array  # (N, POINTS)
    batches: Array  # (N,)
    decays: Array  # (N,) logarithms
    epochs: Array  # (N,)

    @staticmethod
    def of(trainings: Sequence[TrainingConfig]) -> _Schedules:
        steps = POINTS * FINE
        middles = range(FINE // 2, steps, FINE)
        return _Schedules(
            np.array([[learning_rate(t, step, steps) for step in middles] for t in trainings]),
            np.array([float(t.images_a_step(2**31)) for t in trainings]),
            np.log(np.maximum([t.weight_decay for t in trainings], 1e-7) / DECAY),
            np.array([float(t.epochs) for t in trainings]),
        )


@final
class Law:
    """A law fitted to trainings, and an ensemble of its like that says how sure it is.

    loss = reference + unit (−G + A P^−a + C (n / 1e-3)^q + W (ln(weight decay / 3e-5) − w)² + S s^1.5)

    P is the progress, epochs / batch size times the mean of the rates, which count the less the higher they
    are: r / (1 + (r / r₀)^k). n is the noise that is left: the rates' mean, of which those count most that
    come when little progress is still ahead. s is how steep the highest rate is. The reference is the least
    loss of the shortest trainings and the unit a hundredth of it, so that the constants, which have priors,
    mean about the same for any data. A training counts less where it is far from the law (a soft L1). The
    ensemble's members weigh the trainings at random (the Bayesian bootstrap of Rubin 1981) and draw what they
    expect from the priors (Osband et al. 2018), so that they differ in what the trainings do not tell.

    Args:
        observed: trainings of one network on one set of images.
        seed: fixes the ensemble.
        members: of the ensemble.

    Raises:
        ConfigError: fewer than 8 of them have learned.

    Example:
        >>> from safelight.config.training import TrainingConfig
        >>> rates = [0.001 * 1.3**i for i in range(12)]
        >>> short = [TrainingConfig(epochs=1, batch_size=32, lr=lr) for lr in rates]
        >>> law = Law([Observed(t, 100 + 0.01 / t.lr) for t in short], members=4)
        >>> long = [TrainingConfig(epochs=e, batch_size=32, lr=0.002) for e in (1, 3, 9)]
        >>> first, second, third = law.predict(long).mean(0)
        >>> bool(first > second > third)
        True
    """

    def __init__(self, observed: Sequence[Observed], seed: int = 0, members: int = MEMBERS) -> None:
        known = [one for one in observed if math.isfinite(one.loss)]
        shortest = min((one.training.epochs for one in known), default=0)
        losses = np.sort([one.loss for one in known if one.training.epochs == shortest])
        if len(losses) < LEAST:
            raise ConfigError(
                f"expected at least {LEAST} short trainings that did not fail, got {len(losses)}"
            )
        self.reference = float(losses[0])
        self.unit = max(UNIT * abs(self.reference), 1e-9)
        least: dict[int, float] = {}
        for one in known:
            least[one.training.epochs] = min(one.loss, least.get(one.training.epochs, math.inf))
        learned = [o for o in known if o.loss <= least[o.training.epochs] + FAR * self.unit]
        self._schedules = _Schedules.of([one.training for one in learned])
        self._losses = (np.array([one.loss for one in learned]) - self.reference) / self.unit
        rng = np.random.default_rng((seed, 2))
        start = min(self._fit(EXPECTED + s * SURPRISE * rng.normal(0, 0.5, len(EXPECTED))) for s in (0, 1))
        self._constants = [start[1]]
        for _ in range(members - 1):
            weights = rng.exponential(1, len(learned))
            expected = EXPECTED + SURPRISE * rng.normal(size=len(EXPECTED))
            self._constants.append(self._fit(start[1], weights, expected, 40)[1])

    def __len__(self) -> int:
        """Members of the ensemble."""
        return len(self._constants)

    def predict(self, trainings: Sequence[TrainingConfig]) -> Array:
        """What trainings come to.

        Args:
            trainings: N settings, with the epochs of their whole schedules.

        Returns:
            (members, N), in the unit of the losses.
        """
        schedules = _Schedules.of(trainings)
        found = np.stack([_law(constants, schedules)[0] for constants in self._constants])
        return self.reference + self.unit * found

    def _fit(
        self,
        start: Array,
        weights: Array | None = None,
        expected: Array = EXPECTED,
        evaluations: int = 120,
    ) -> tuple[float, Array]:
        """Cost and constants."""
        epochs = self._schedules.epochs
        deviations = np.maximum(0.25, 0.7 / np.sqrt(epochs / epochs.min()))  # seeds move long trainings less
        scale = np.sqrt(weights if weights is not None else np.ones(len(epochs))) / deviations
        low = LOW.copy()  # no training is better than the law's last word
        low[0] = max(LOW[0], math.log(max(1e-3, 0.3 - float(self._losses.min()))))

        def residuals(constants: Array) -> Array:
            off = (_law(constants, self._schedules)[0] - self._losses) * scale
            soft = off * np.sqrt(2 / (np.sqrt(1 + off**2) + 1))
            return np.concatenate([soft, (constants - expected) / SURPRISE])

        def jacobian(constants: Array) -> Array:
            losses, by_constant = _law(constants, self._schedules)
            length = np.sqrt(1 + ((losses - self._losses) * scale) ** 2)
            slope = scale * np.sqrt((length + 1) / 2) / length
            return np.concatenate([slope[:, None] * by_constant, np.diag(1 / SURPRISE)])

        begin = np.clip(start, low + 1e-6, HIGH - 1e-6)
        found = least_squares(residuals, begin, jacobian, bounds=(low, HIGH), max_nfev=evaluations)
        return float(found.cost), found.x


def _law(constants: Array, schedules: _Schedules) -> tuple[Array, Array]:
    """(N,) in units above the reference, and (N, 13) by how much each constant moves them."""
    gain, scale, power, full, sharp, noise, batch, noise_power, memory, tilt, decay, best, steep = constants
    rates, batches = schedules.rates, schedules.batches / BATCH
    smaller = np.log(batches)
    excess = (rates * math.exp(-full)) ** sharp
    effective = rates / (1 + excess)  # (N, POINTS)
    steps = STEPS * schedules.epochs / schedules.batches * batches**tilt
    progress = np.maximum(steps * effective.mean(1), LITTLE)
    ahead = effective[:, ::-1].cumsum(1)[:, ::-1]
    whole = np.maximum(ahead[:, :1], 1e-30)
    share = ahead / whole
    distance = share * (progress * math.exp(memory))[:, None]
    weights = np.exp(distance.min(1, keepdims=True) - distance)
    weights /= weights.sum(1, keepdims=True)
    mean = (weights * rates).sum(1)
    left = mean / batches**batch

    slow = math.exp(scale) * progress**-power
    noisy = math.exp(noise) * (left / NOISE) ** noise_power
    unlike = schedules.decays - best
    high = math.exp(steep) * (rates.max(1) / STEEP * batches**-0.3) ** 1.5
    losses = slow - math.exp(gain) + noisy + decay * unlike**2 + high

    pull = weights * (rates - mean[:, None])  # of a point's distance on the mean of the rates, negated
    nearer = (pull * distance).sum(1)
    by_progress = (-power * slow - noise_power * noisy / mean * nearer) / progress * (progress > LITTLE)
    by_full = effective * sharp * excess / (1 + excess)
    by_sharp = -effective * np.log(np.maximum(rates * math.exp(-full), 1e-300)) * excess / (1 + excess)

    def by_effective(change: Array) -> Array:
        later = change[:, ::-1].cumsum(1)[:, ::-1]
        moved = (later - share * later[:, :1]) / whole * (progress * math.exp(memory))[:, None]
        by_share = -noise_power * noisy / mean * (pull * moved).sum(1)
        found: Array = by_progress * steps * change.mean(1) + by_share
        return found

    columns = (
        np.full(len(losses), -math.exp(gain)),
        slow,
        -np.log(progress) * slow,
        by_effective(by_full),
        by_effective(by_sharp),
        noisy,
        -noise_power * noisy * smaller,
        np.log(left / NOISE) * noisy,
        -noise_power * noisy / mean * nearer,
        by_progress * progress * smaller,
        unlike**2,
        -2 * decay * unlike,
        high,
    )
    return losses, np.stack(columns, axis=1)
