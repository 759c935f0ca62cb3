import numpy as np
import pytest
import torch
from torch import nn

from safelight.networks.base import Autoencoder, Code
from safelight.networks.deep_conv import DeepConvVAE
from safelight.tasks.priors import Normal
from safelight.tasks.sampling import latent_points, sample


class Points(Autoencoder):
    """Deterministic: the first three pixels are the code, the third a copy of the second."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, x):
        first = x.flatten(1)[:, 20:23]
        return Code(torch.stack([first[:, 0], first[:, 1], first[:, 1]], 1), None)

    def decode(self, z):
        return z.sum(1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def test_a_vae_draws_from_its_prior(digits):
    network = DeepConvVAE(digits.shape).eval()
    points = latent_points(network, Normal(), 5000, digits)
    np.testing.assert_allclose(points.mean(0).numpy(), 0, atol=0.06)
    np.testing.assert_allclose(points.std(0).numpy(), 1, atol=0.05)
    other = DeepConvVAE(digits.shape).eval()
    again = latent_points(other, Normal(), 5000, digits)
    assert torch.equal(points, again), "the same for every network"
    assert not torch.equal(points, latent_points(network, Normal(), 5000, digits, seed=1))


def test_a_plain_autoencoder_draws_like_its_codes(digits):
    network = Points().eval()
    codes = network.encode(digits.floats()).mu
    points = latent_points(network, Normal(), 20_000, digits)
    np.testing.assert_allclose(points.mean(0).numpy(), codes.mean(0).numpy(), atol=0.02)
    np.testing.assert_allclose(torch.cov(points.T).numpy(), torch.cov(codes.T).numpy(), atol=0.01)
    assert torch.allclose(points[:, 1], points[:, 2], atol=1e-4), "dead directions stay dead"


def test_samples_are_images():
    drawn = sample(Points().eval(), torch.tensor([[0.0, 0, 0], [100.0, 0, 0]]))
    assert drawn.shape == (2, 1, 8, 8)
    assert drawn[0, 0, 0, 0].item() == pytest.approx(0.5)
    assert drawn.max().item() == 1.0
