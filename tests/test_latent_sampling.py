import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from safelight.data.images import ImageSet
from safelight.errors import ConfigError, DataError, RunError
from safelight.latent.charts import traversal_chart
from safelight.latent.codes import Codes, encode
from safelight.latent.judging import features_of, judge_samples
from safelight.latent.sampling import class_rows, fit_mixture, nearest_images
from safelight.latent.walks import traversals, walk
from safelight.networks.base import Network
from safelight.networks.deep_conv import DeepConvVAE
from safelight.reporting.charts import DARK, LIGHT
from safelight.tasks.objective import Bernoulli
from safelight.tasks.sampling import sample


def points(mu):
    mu = np.asarray(mu, np.float32)
    return Codes(mu, None, np.zeros(len(mu), np.float32), None, ("",) * len(mu))


def test_a_mixture_has_the_size_and_the_shape_of_its_codes():
    generator = np.random.default_rng(0)
    heaps = np.concatenate([generator.normal(size=(900, 3)) * [1, 2, 0.1] + 9 * i for i in range(4)])
    mixture = fit_mixture(points(heaps))
    assert len(mixture) == 4
    assert mixture.held_out[4] > mixture.held_out[2] > mixture.held_out[1]
    drawn = mixture.sample(20_000).numpy()
    np.testing.assert_allclose(drawn.mean(0), heaps.mean(0), atol=0.4)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(heaps.T), rtol=0.06, atol=1)
    nearest_heap = np.abs(drawn[:, 2:] - 9 * np.arange(4)).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest_heap) / len(drawn), 0.25, atol=0.02)
    assert torch.equal(mixture.sample(5, seed=1), mixture.sample(5, seed=1))
    assert not torch.equal(mixture.sample(5), mixture.sample(5, seed=1))


def test_held_out_likelihood_is_of_codes_that_were_not_fitted():
    mu = np.random.default_rng(0).normal(size=(1000, 2))
    mixture = fit_mixture(points(mu))
    assert len(mixture) == 1, "more would fit noise"
    density = multivariate_normal([0, 0], np.eye(2)).logpdf(mu).mean()
    assert mixture.held_out[1] == pytest.approx(density, abs=0.15)


def test_a_mixture_of_few_or_degenerate_codes():
    one = fit_mixture(points([[1, 2, 3]])).sample(4)
    np.testing.assert_allclose(one, np.tile([1, 2, 3], (4, 1)))
    equal = fit_mixture(points(np.ones((50, 3)))).sample(4)
    np.testing.assert_allclose(equal, 1, atol=1e-3)
    flat = np.random.default_rng(0).normal(size=(500, 3)) * [1, 1, 0]
    np.testing.assert_allclose(fit_mixture(points(flat)).sample(100)[:, 2], 0, atol=0.01)
    some = points(np.random.default_rng(0).normal(size=(100, 2)))
    some.mu[::2] = np.nan
    assert fit_mixture(some).sample(3).isfinite().all()
    with pytest.raises(DataError, match="expected finite codes"):
        fit_mixture(points(np.full((5, 2), np.inf)))


def test_rows_of_a_class():
    with pytest.raises(ConfigError, match="expected one of 0, 2, got 1"):
        class_rows(np.array([0, 2]), 1)
    with pytest.raises(ConfigError, match="expected images with labels"):
        class_rows(None, 1)


def test_nearest_images_by_an_independent_search(digits, monkeypatch):
    monkeypatch.setattr("safelight.data.images.TOGETHER", 300)
    samples = (digits.floats(slice(20)).numpy() * 0.8 + 0.1).astype(np.float32)
    places, distances = nearest_images(samples, digits)
    all_pixels = digits.floats().numpy()
    for sample_, place, distance in zip(samples, places, distances, strict=True):
        each = np.sqrt(np.square(all_pixels - sample_).mean((1, 2, 3)))
        assert each[place] == pytest.approx(each.min(), abs=1e-6)
        assert distance == pytest.approx(each.min(), abs=1e-6)


def test_walks_end_at_their_ends():
    a, b = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    for path in ("linear", "spherical"):
        steps = walk(a, b, 7, path)
        np.testing.assert_allclose(steps[[0, -1]], [a, b], rtol=1e-5)
    np.testing.assert_allclose(
        np.diff(walk(a, b, 7, "linear"), axis=0), np.tile((b - a) / 6, (6, 1)), rtol=1e-4
    )


def test_a_spherical_walk_keeps_the_length_and_turns_evenly():
    a, b = np.array([3, 0, 0], np.float32), np.array([0, 0, 3], np.float32)
    steps = walk(a, b, 10)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 3, rtol=1e-6)
    turns = (steps[:-1] * steps[1:]).sum(1) / 9
    np.testing.assert_allclose(turns, np.cos(np.pi / 18), rtol=1e-6)


def test_between_nearly_opposite_codes_no_step_is_longer_than_both():
    a, b = np.array([0.083, 0], np.float32), np.array([-0.02, 0.0001], np.float32)
    lengths = np.linalg.norm(walk(a, b, 30), axis=1)
    np.testing.assert_allclose(lengths, np.linspace(0.083, 0.02, 30), rtol=1e-3)


@pytest.mark.parametrize("b", [[1, 0], [-1, 0], [0, 0], [2, 0]])
def test_where_there_is_no_spherical_way_there_is_the_line(b):
    a = np.array([1, 0], np.float32)
    np.testing.assert_array_equal(
        walk(a, np.array(b, np.float32), 5), walk(a, np.array(b, np.float32), 5, "linear")
    )


def test_a_walk_has_at_least_its_ends():
    with pytest.raises(ConfigError, match="steps: expected a whole number from 2 to 1,000, got 1"):
        walk(np.zeros(2, np.float32), np.ones(2, np.float32), 1)


def test_traversals_change_one_dimension_over_the_datas_range(digits):
    torch.manual_seed(0)
    codes = encode(DeepConvVAE(digits.shape).eval(), Bernoulli(), digits)
    found = traversals(codes, steps=5)
    assert found.is_kl
    assert (np.diff(found.tells) <= 0).all(), "sorted by KL"
    np.testing.assert_allclose(found.tells, codes.spread()[found.dimensions])
    for row, dimension in enumerate(found.dimensions):
        low, high = np.quantile(codes.mu[:, dimension], [0.01, 0.99])
        np.testing.assert_allclose(found.codes[row, :, dimension], np.linspace(low, high, 5), rtol=1e-4)
        others = np.delete(found.codes[row], dimension, axis=1)
        np.testing.assert_allclose(others, np.tile(np.delete(codes.mu.mean(0), dimension), (5, 1)), atol=1e-6)


def test_traversals_of_codes_with_nan_and_from_a_code_of_ones_own():
    codes = points(np.random.default_rng(0).normal(size=(100, 3)) * [1, 3, 2])
    codes.mu[7] = np.nan
    start = np.array([5, 6, 7], np.float32)
    found = traversals(codes, 3, start, rows=2)
    assert found.dimensions.tolist() == [1, 2]
    assert not found.is_kl
    np.testing.assert_array_equal(found.codes[0, :, [0, 2]], [[5] * 3, [7] * 3])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_chart_of_traversals_has_a_row_a_dimension(digits, channels):
    images = ImageSet(np.repeat(digits.pixels[:50], channels, 1), digits.value_range)
    network = DeepConvVAE(images.shape).eval()
    found = traversals(encode(network, Bernoulli(), images), 4, rows=3)
    drawn = sample(network, torch.from_numpy(found.codes.reshape(-1, 20))).numpy()
    drawn = drawn.reshape(3, 4, *images.shape)
    for theme in (LIGHT, DARK):
        figure = traversal_chart(found, drawn, theme)
        words = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        expected = [f"z{d}   {t:.2f} nats" for d, t in zip(found.dimensions, found.tells, strict=True)]
        assert words == expected


class Brightness(Network):
    """Judges images by the means of their quarters."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.features(x)

    def features(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_a_judge_prefers_real_images_to_noise(digits):
    real = digits.floats().numpy()
    others = real[1::2]
    noise = np.random.default_rng(0).random(others.shape)
    judge = Brightness().eval()
    np.testing.assert_allclose(features_of(judge, [real])[7, 0], real[7, 0, :4, :4].mean(), rtol=1e-5)
    good, bad = (judge_samples(judge, [real[::2]], [images]) for images in (others, noise))
    assert good["frechet"] < 0.01 * bad["frechet"]
    assert good["precision"] > bad["precision"] + 0.3
    assert good["recall"] > bad["recall"] + 0.3
    with pytest.raises(RunError, match="expected a judge that tells images apart, got a DeepConvVAE"):
        judge_samples(DeepConvVAE(digits.shape), [real], [noise])
