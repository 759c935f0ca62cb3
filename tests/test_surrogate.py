"""What a Gaussian process makes of genotypes: what is near, what acts, what was believed."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from safelight.evolution.genome import Gene, Space
from safelight.evolution.surrogate import Surrogate, features, log_improvement

SPACE = Space(
    {
        "a": Gene("float", 0.0, 1.0),
        "kind": Gene("categorical", choices=("x", "y", "z")),
        "b": Gene("integer", 1, 8, when={"kind": ("y",)}),
    }
)


def test_genes_that_do_not_act_move_nothing():
    idle, other, acting, moved = features(
        SPACE, [(0.2, 0.1, 0.0), (0.2, 0.1, 0.9), (0.2, 0.5, 0.0), (0.2, 0.5, 0.9)]
    )
    assert (idle == other).all()
    assert np.abs(acting - moved).sum() == pytest.approx(7 / 8)


def test_any_two_categories_are_equally_far_apart():
    points = features(Space({"kind": SPACE.genes["kind"]}), [(0.1,), (0.5,), (0.9,)])
    for i in range(3):
        assert np.linalg.norm(points[i] - points[i - 1]) == pytest.approx(1)


@pytest.mark.parametrize(("best", "mean", "deviation"), [(0.0, 0.5, 1.0), (-1.0, -1.2, 0.1), (2.0, 5.0, 0.7)])
def test_improvement_is_the_integral_that_it_stands_for(best, mean, deviation):
    density = norm(mean, deviation).pdf
    expected, _ = quad(lambda y: (best - y) * density(y), mean - 12 * deviation, best)
    found = log_improvement(best, np.array([mean]), np.array([deviation]))
    assert np.exp(found)[0] == pytest.approx(expected)


def test_improvement_is_one_smooth_function():
    """Also where it is far too small for a number that is no logarithm."""
    z = -np.geomspace(1e-3, 1e7, 4000)
    slopes = np.diff(log_improvement(0.0, -z, np.ones(len(z)))) / np.diff(z)
    assert (slopes > 0).all()
    assert np.abs(np.diff(np.log(slopes))).max() < 0.02


def test_the_better_category_is_chosen():
    rng = np.random.default_rng(0)
    tried = [tuple(map(float, rng.random(3))) for _ in range(30)]
    values = [SPACE.decode(genotype) for genotype in tried]
    scores = np.array([v["a"] + (v["kind"] != "z") for v in values])
    surrogate = Surrogate(SPACE, tried, (scores - scores.mean()) / scores.std())
    assert surrogate.choose([(0.05, 0.1, 0.5), (0.05, 0.5, 0.5), (0.05, 0.9, 0.5), (0.95, 0.9, 0.5)]) == 2


def test_what_was_chosen_is_not_chosen_again():
    space = Space({"a": Gene("float", 0.0, 1.0)})
    tried = [(0.0,), (0.5,), (1.0,)]
    surrogate = Surrogate(space, tried, np.array([0.5, -1.0, 0.5]))
    candidates = [(0.3,), (0.301,), (0.7,)]
    first, second = surrogate.choose(candidates), surrogate.choose(candidates)
    assert {first, second} in ({0, 2}, {1, 2})  # one on each side of the best, not two beside each other


def test_trials_that_all_did_alike_are_no_trouble():
    tried = [(0.1, 0.1, 0.1), (0.9, 0.9, 0.9)]
    surrogate = Surrogate(SPACE, tried, np.zeros(2))
    assert surrogate.choose([(0.1, 0.1, 0.1), (0.5, 0.5, 0.5)]) == 1  # what is known least
