"""Calibration, against counts by hand, a grid and a simulation."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from safelight.tasks.calibration import calibration_error, interval, reliability, temperature


@pytest.fixture
def drawn():
    """Logits, and labels drawn from the very probabilities that the logits mean."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    cumulative = softmax(logits, axis=1).cumsum(1)
    labels = (rng.random((len(logits), 1)) > cumulative).sum(1).clip(max=4)
    return logits, labels


def test_honest_probabilities_have_next_to_no_error_and_boastful_ones_have(drawn):
    logits, labels = drawn
    assert calibration_error(softmax(logits, axis=1), labels) < 0.015
    assert calibration_error(softmax(3 * logits, axis=1), labels) > 0.1


def test_reliability_agrees_with_scikit_learn(drawn):
    logits, labels = drawn
    probabilities = softmax(logits, axis=1)
    rows = reliability(probabilities, labels, bins=10)
    right = probabilities.argmax(1) == labels
    accuracies, confidences = calibration_curve(right, probabilities.max(1), n_bins=10)
    assert [row["accuracy"] for row in rows] == pytest.approx(accuracies.tolist())
    assert [row["confidence"] for row in rows] == pytest.approx(confidences.tolist())
    assert sum(row["n"] for row in rows) == len(labels)


def test_temperature_finds_how_much_too_sure_logits_are(drawn):
    logits, labels = drawn
    found = temperature(2.5 * logits, labels)
    assert found == pytest.approx(2.5, rel=0.03)
    losses = [log_loss(labels, softmax(2.5 * logits / t, axis=1)) for t in (found / 1.1, found, found * 1.1)]
    assert losses[1] == min(losses)


def test_temperature_stays_finite_without_a_mistake():
    assert 0.05 <= temperature(np.eye(3) * 5, np.arange(3)) < 0.2


def test_the_interval_holds_the_truth_as_often_as_it_says():
    counts = np.random.default_rng(0).binomial(200, 0.97, 1000)
    bounds = {right: interval(right, 200) for right in set(counts.tolist())}
    covered = [bounds[right][0] <= 0.97 <= bounds[right][1] for right in counts.tolist()]
    assert 0.93 < np.mean(covered) < 0.985
    assert interval(200, 200)[1] == pytest.approx(1)
    assert interval(200, 200)[0] < 0.985
