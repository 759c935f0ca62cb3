"""The law of training foretells long trainings from short ones."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.evolution.law import HIGH, LOW, Law, Observed, _law, _Schedules

# The original report's network after 30 epochs on MNIST's first 50,000 training images: validation losses in
# nats. The first five are the finalists of the search in benchmarks/results/evolution-2026-11-25.json that
# did not collapse; the others were measured in the same way, two of them with two seeds. Batch size, rate,
# gamma (None: it falls linearly), weight decay, warm-up; losses.
AFTER_30_EPOCHS = [
    (17, 0.006609, 0.08505, 2.345e-5, 0.01, [100.69]),
    (13, 0.008765, 0.05933, 2.345e-5, 0.01, [100.75]),
    (97, 0.006183, 0.7778, 1.56e-6, 0.01, [101.77]),
    (10, 0.01159, 0.06245, 9.584e-5, 0.01, [103.27]),
    (38, 0.007062, 0.8472, 5.081e-6, 0.01, [104.68]),
    (26, 0.004565, None, 3.985e-5, 0.01, [100.37, 100.12]),
    (49, 0.007, None, 3.2318e-5, 1 / 60, [100.47, 100.01]),
    (20, 0.007581, None, 1.025e-5, 0.01, [100.59]),
]
LONG = [
    TrainingConfig(30, batch, lr, warmup, "gamma" if gamma else "linear", gamma or 1.0, decay)
    for batch, lr, gamma, decay, warmup, _ in AFTER_30_EPOCHS
]
OUTCOMES = [np.mean(losses) for *_, losses in AFTER_30_EPOCHS]


@pytest.fixture(scope="module")
def short() -> list[Observed]:
    """The first two generations of that search, of one epoch each."""
    file = Path(__file__).parents[1] / "benchmarks" / "results" / "evolution-2026-11-25.json"
    found = []
    for trial in json.loads(file.read_text())["trials"][:60]:
        values = {name.removeprefix("training."): value for name, value in trial["values"].items()}
        loss = math.inf if trial["loss"] is None else trial["loss"]
        found.append(Observed(TrainingConfig(epochs=1, decay="gamma", **values), loss))
    return found


@pytest.fixture(scope="module")
def law(short) -> Law:
    return Law(short)


def test_sixty_short_trainings_order_the_long_ones(law):
    """No short training had a linear decay: what the law knows of it, it has from how rates act."""
    foretold = law.predict(LONG).mean(0)
    assert spearmanr(foretold, OUTCOMES)[0] > 0.85
    assert np.abs(foretold - OUTCOMES).max() < 1.2
    after_one = law.predict([dataclasses.replace(training, epochs=1) for training in LONG]).mean(0)
    assert spearmanr(after_one, OUTCOMES)[0] < 0.3  # and it is not that what is good early is good late


def test_it_is_as_sure_as_it_may_be(law):
    """The ensemble agrees more on what it has seen than on what it has not."""
    near = law.predict([dataclasses.replace(training, epochs=1) for training in LONG[:3]]).std(0).mean()
    far = law.predict(LONG[:3]).std(0).mean()
    assert 0 < near < far < 2


def test_it_learns_from_long_trainings(short):
    """Told that small batches do badly in the end, it says so of others like them."""
    told = [Observed(training, loss + 4) for training, loss in zip(LONG[:2], OUTCOMES[:2], strict=True)]
    like = [dataclasses.replace(LONG[0], batch_size=15, lr=0.0075)]
    before, after = (Law(seen, members=4).predict(like).mean() for seen in (short, [*short, *told]))
    assert after > before + 1


def test_what_has_not_learned_teaches_nothing(short):
    failed = [Observed(short[0].training, math.inf), Observed(short[0].training, 540.0)]
    law, same = Law(short, members=2), Law([*short, *failed], members=1)
    np.testing.assert_allclose(same.predict(LONG)[0], law.predict(LONG)[0], rtol=1e-6)


def test_the_unit_of_the_losses_does_not_matter(short):
    """The same losses in bits, or of pixels, order the same."""
    scaled = [Observed(one.training, one.loss / 784) for one in short]
    found, law = Law(scaled, members=1).predict(LONG), Law(short, members=1).predict(LONG)
    np.testing.assert_allclose(found * 784, law, rtol=1e-5)


def test_the_same_trainings_and_seed_give_the_same_law(short, law):
    assert (Law(short).predict(LONG) == law.predict(LONG)).all()
    assert (Law(short, seed=1).predict(LONG)[1:] != law.predict(LONG)[1:]).any()


def test_too_few_trainings_are_refused(short):
    with pytest.raises(ConfigError, match="expected at least 8 short trainings that did not fail, got 7"):
        Law([*short[:7], *(Observed(one.training, math.inf) for one in short[7:])])


def test_its_derivatives_are_those_of_its_values(short):
    """Central differences of every constant at places all over their ranges."""
    schedules = _Schedules.of([*(one.training for one in short), *LONG])
    rng = np.random.default_rng(0)
    for constants in LOW + (HIGH - LOW) * rng.uniform(0.1, 0.9, (20, len(LOW))):
        losses, by_constant = _law(constants, schedules)
        for column, step in zip(by_constant.T, 1e-5 * np.eye(len(LOW)), strict=True):
            ahead, behind = (_law(constants + sign * step, schedules)[0] for sign in (1, -1))
            slack = 1e-9 * np.abs(losses).max() + 1e-6
            np.testing.assert_allclose(column, (ahead - behind) / 2e-5, rtol=1e-4, atol=slack)
