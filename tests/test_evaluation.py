import numpy as np
import pytest
import torch
from torch import nn

from safelight.data.images import ImageSet
from safelight.networks.base import Autoencoder, Code
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.tasks.autoencode import evaluate, mean_loss
from safelight.tasks.objective import Bernoulli, NegativeELBO


class Brightness(Autoencoder):
    """One code dimension is the image's brightness, one is noise, one is constant."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, x):
        bright = x.mean((1, 2, 3))
        mu = torch.stack([4 * bright - 2, torch.full_like(bright, 0.5), torch.zeros_like(bright)], 1)
        return Code(mu, torch.tensor([-2.0, 0.0, 0.0]).expand(len(x), 3))

    def decode(self, z):
        return z[:, :1, None, None].expand(-1, 1, 8, 8)


@pytest.fixture
def images() -> ImageSet:
    rng = np.random.default_rng(0)
    levels = rng.random((1201, 1, 1, 1)) * np.ones((1, 1, 8, 8))
    return ImageSet((255 * levels).astype(np.uint8))


def test_measures_equal_a_computation_in_float64(images):
    measures = evaluate(Brightness(), Bernoulli(), images, samples=20)
    x = images.pixels.astype(float).reshape(1201, 64) / 255
    mu = 4 * x.mean(1) - 2
    kl = [(0.5 * (mu**2 + np.exp(-2) - 1 + 2)).mean(), 0.5 * 0.5**2, 0.0]
    np.testing.assert_allclose(measures["kl_per_dimension"], kl, rtol=1e-5, atol=1e-7)
    assert measures["kl"] == pytest.approx(sum(kl), rel=1e-5)

    def cross_entropy(z):
        return (np.logaddexp(0, z)[:, None] - x * z[:, None]).sum(1).mean()

    assert measures["loss_at_mean"] == pytest.approx(cross_entropy(mu) + sum(kl), rel=1e-5)
    rng = np.random.default_rng(1)
    draws = [cross_entropy(mu + np.exp(-1) * rng.normal(size=1201)) for _ in range(50)]
    assert measures["reconstruction"] == pytest.approx(np.mean(draws), abs=5 * np.std(draws))
    assert measures["loss"] == pytest.approx(measures["reconstruction"] + measures["kl"])
    assert measures["n"] == 1201
    assert measures["active_units"] == 1


def test_bounds_are_ordered(images):
    measures = [evaluate(Brightness(), Bernoulli(), images, samples=k) for k in (1, 10, 100)]
    losses = [m["iw_bound"] for m in measures]
    assert losses[0] > losses[1] > losses[2]
    assert losses[0] == pytest.approx(measures[0]["loss"], abs=0.15)


def test_evaluation_repeats_itself_and_reads_every_image_once(images):
    network, loss = Brightness(), NegativeELBO(Bernoulli(), beta=7)
    assert mean_loss(network, loss, images) == mean_loss(network, loss, images)
    assert mean_loss(network, loss, images) != mean_loss(network, loss, images, seed=1)
    parts = [images.subset(slice(0, 500)), images.subset(slice(500, None))]
    kls = [mean_loss(network, loss, part)["kl"] * len(part) for part in parts]
    assert mean_loss(network, loss, images)["kl"] == pytest.approx(sum(kls) / 1201)


def test_beta_does_not_change_what_is_reported(images):
    terms = [mean_loss(Brightness(), NegativeELBO(Bernoulli(), beta), images) for beta in (1, 7)]
    assert terms[0] == terms[1]
    assert terms[0]["loss"] == pytest.approx(terms[0]["reconstruction"] + terms[0]["kl"])


def test_what_a_network_has_not_is_not_measured(digits):
    network = DeepConvAE(digits.shape)
    measures = evaluate(network, Bernoulli(), digits)
    assert set(measures) == {"loss", "n", "latent", "psnr", "black"}
    assert measures["loss"] == mean_loss(network, NegativeELBO(Bernoulli()), digits)["reconstruction"]
    assert "iw_bound" not in evaluate(DeepConvVAE(digits.shape), Bernoulli(), digits, samples=0)
