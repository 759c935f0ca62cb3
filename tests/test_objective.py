"""Every loss is checked against a computation in float64 that shares no code with it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import nn

from safelight.config.task import AutoencodeConfig
from safelight.data.batches import Batch
from safelight.errors import TrainingError
from safelight.networks.base import Autoencoder, Code, Network
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE
from safelight.tasks.objective import (
    Bernoulli,
    Gaussian,
    NegativeELBO,
    Student,
    importance_weighted_bound,
    objective,
    sample_code,
)
from safelight.tasks.priors import gaussian_kl


class LinearGaussian(Autoencoder):
    """z ~ N(0, 1), x = sigmoid(w z): its q(z | x) is fixed, so that every quantity can be worked out."""

    def __init__(self, mu: float, logvar: float, slope: float = 0.7) -> None:
        super().__init__()
        self.mu, self.logvar = mu, logvar
        self.slope = nn.Parameter(torch.tensor(slope))

    def encode(self, x):
        return Code(torch.full((len(x), 1), self.mu), torch.full((len(x), 1), self.logvar))

    def decode(self, z):
        return (z * self.slope).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def batch(x: torch.Tensor) -> Batch:
    return Batch(x, x, None, torch.arange(len(x)))


def rng():
    return np.random.default_rng(0)


def test_bernoulli_is_cross_entropy_on_grayscale():
    logits, x = rng().normal(0, 3, (4, 1, 5, 5)), rng().random((4, 1, 5, 5))
    p = 1 / (1 + np.exp(-logits))
    expected = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3))
    ours = Bernoulli().log_prob(torch.tensor(logits), torch.tensor(x))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_bernoulli_stays_finite_at_extreme_logits():
    ours = Bernoulli().log_prob(torch.tensor([[[[1e4, -1e4]]]]), torch.tensor([[[[0.0, 1.0]]]]))
    assert ours.item() == pytest.approx(-2e4)


def test_gaussian_is_a_normal_density():
    likelihood = Gaussian().eval()
    likelihood.log_sigma.fill_(-0.3)
    logits, x = rng().normal(0, 2, (4, 3, 5, 5)), rng().random((4, 3, 5, 5))
    mean = 1 / (1 + np.exp(-logits))
    expected = stats.norm(mean, np.exp(np.float32(-0.3))).logpdf(x).sum((1, 2, 3))
    ours = likelihood.log_prob(torch.tensor(logits), torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_gaussian_trains_by_the_variance_that_is_best_for_the_batch():
    """The batch's mean squared error: no other makes the batch likelier, so it has no gradient of its own."""
    likelihood = Gaussian()
    logits, x = rng().normal(0, 2, (4, 3, 5, 5)), rng().random((4, 3, 5, 5))
    mean = 1 / (1 + np.exp(-logits))
    sigma = np.sqrt(np.mean((x - mean) ** 2))
    given = torch.tensor(logits, requires_grad=True)
    ours = likelihood.log_prob(given, torch.tensor(x))
    expected = stats.norm(mean, sigma).logpdf(x).sum((1, 2, 3))
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-6)
    for other in (0.99 * sigma, 1.01 * sigma):
        assert stats.norm(mean, other).logpdf(x).sum() < expected.sum()
    ours.sum().backward()
    through_all = torch.tensor(logits, requires_grad=True)
    error = (torch.tensor(x) - torch.sigmoid(through_all)).square().mean()
    (-0.5 * x.size * error.log()).backward()
    np.testing.assert_allclose(given.grad.numpy(), through_all.grad.numpy(), rtol=1e-6)


def test_gaussian_keeps_what_its_batches_tell_and_takes_what_it_is_told():
    likelihood = Gaussian()
    x = 0.5 + 0.2 * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        likelihood.log_prob(torch.zeros_like(x), x)
    assert likelihood.log_sigma.exp().item() == pytest.approx(0.2, rel=0.03)
    likelihood.eval()
    before = -likelihood.log_prob(torch.zeros_like(x), 0.5 * x).mean().item()
    after = likelihood.calibrate(before, 64)
    assert after < before
    assert -likelihood.log_prob(torch.zeros_like(x), 0.5 * x).mean().item() == pytest.approx(after, rel=1e-4)
    root = (0.5 * x - 0.5).square().mean().sqrt().item()
    assert likelihood.log_sigma.exp().item() == pytest.approx(root, rel=1e-4)
    assert Bernoulli().calibrate(before, 64) == before


def test_student_is_a_multivariate_t_density():
    likelihood = Student().eval()
    likelihood.log_scale.fill_(math.log(0.2))
    logits, x = rng().normal(0, 2, (4, 1, 3, 4)), rng().random((4, 1, 3, 4))
    ours = likelihood.log_prob(torch.tensor(logits), torch.tensor(x)).numpy()
    for drawn, given, value in zip(1 / (1 + np.exp(-logits)), x, ours, strict=True):
        density = stats.multivariate_t(drawn.ravel(), 0.04 * np.eye(12), df=2)
        assert value == pytest.approx(
            density.logpdf(given.ravel()), abs=2e-3
        )  # but for what 8 bits leave open


def test_student_learns_the_scale_that_errors_were_drawn_by_and_counts_in_decibels():
    generator = np.random.default_rng(0)
    variances = 0.03**2 * stats.invgamma(1).rvs((200, 64, 1), random_state=generator)  # ν = 2, s = 0.03
    likelihood = Student()
    x = 0.5 + np.sqrt(variances) * generator.normal(size=(200, 64, 256))
    for batch in torch.from_numpy(x).view(200, 64, 1, 16, 16):
        likelihood.log_prob(torch.zeros_like(batch), batch)
    assert likelihood.log_scale.exp().item() == pytest.approx(0.03, rel=0.1)
    likelihood.eval()
    smooth, rough = (torch.full((1, 1, 16, 16), 0.5 + error) for error in (0.05, 0.2))
    zeros = torch.zeros_like(smooth)
    gains = [
        likelihood.log_prob(zeros, 0.5 + (image - 0.5) / 2) - likelihood.log_prob(zeros, image)
        for image in (smooth, rough)
    ]
    for gain in gains:  # half the error is worth a bit a pixel, wherever
        assert gain.item() == pytest.approx(256 * math.log(2), rel=0.03)


def test_kl_equals_numerical_integration():
    grid = np.linspace(-30, 30, 400_001)
    for mu, logvar in [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.2)]:
        q = stats.norm(mu, math.exp(logvar / 2))
        integrand = q.pdf(grid) * (q.logpdf(grid) - stats.norm.logpdf(grid))
        expected = np.trapezoid(integrand, grid)
        ours = gaussian_kl(torch.tensor(mu, dtype=torch.float64), torch.tensor(logvar, dtype=torch.float64))
        assert ours.item() == pytest.approx(expected, abs=1e-9)


def test_sampled_codes_have_the_posteriors_moments():
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4.0)]])
    z = sample_code(mu.expand(200_000, 2), logvar.expand(200_000, 2), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(z.mean(0).numpy(), [1, -2], atol=0.02)
    np.testing.assert_allclose(z.std(0).numpy(), [1, 2], rtol=0.01)


def test_elbo_of_a_batch_equals_a_computation_by_hand():
    torch.manual_seed(0)
    network = ConvVAE().double()
    x = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    noise = torch.randn(6, 20, generator=torch.Generator().manual_seed(3))
    mu, logvar = (t.detach().float().numpy().astype(float) for t in network.encode(x))
    z = mu + noise.numpy() * np.exp(logvar / 2)
    logits = network.decode(torch.tensor(z)).detach().numpy()
    p = 1 / (1 + np.exp(-logits))
    pixels = x.numpy()
    reconstruction = -(pixels * np.log(p) + (1 - pixels) * np.log(1 - p)).sum((1, 2, 3)).mean()
    kl = (0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)).sum(1).mean()
    network.float()
    terms = NegativeELBO(Bernoulli())(network, batch(x.float()), torch.Generator().manual_seed(3))
    assert terms["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-5)
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(reconstruction + kl, rel=1e-5)


@pytest.mark.parametrize(
    ("beta", "warmup", "progress", "weight"), [(4, 0, 0, 4), (4, 0.5, 0.25, 2), (4, 0.5, 0.9, 4)]
)
def test_beta_weighs_the_kl_and_warms_up(beta, warmup, progress, weight):
    loss = NegativeELBO(Bernoulli(), beta, warmup)
    terms = loss(LinearGaussian(1.0, -1.0), batch(torch.rand(3, 1, 2, 2)), progress=progress)
    expected = terms["reconstruction"] + weight * terms["kl"]
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_a_deterministic_network_has_reconstruction_alone():
    terms = NegativeELBO(Bernoulli(), beta=3)(DeepConvAE(), batch(torch.rand(2, 1, 28, 28)))
    assert set(terms) == {"loss", "reconstruction"}
    assert terms["loss"] == terms["reconstruction"]


def test_extreme_log_variances_stay_finite():
    for logvar in (-1e9, 80.0):
        terms = NegativeELBO(Bernoulli())(LinearGaussian(0.0, logvar), batch(torch.rand(3, 1, 2, 2)))
        assert math.isfinite(terms["loss"].item())


def test_output_of_another_shape_is_refused():
    class Wrong(LinearGaussian):
        def decode(self, z):
            return torch.zeros(len(z), 1, 3, 3)

    with pytest.raises(TrainingError, match=r"expected decode to give \(2, 1, 2, 2\).*got \(2, 1, 3, 3\)"):
        NegativeELBO(Bernoulli())(Wrong(0, 0), batch(torch.rand(2, 1, 2, 2)))


def test_inputs_are_encoded_and_images_are_what_should_come_out():
    torch.manual_seed(0)
    network, clean, noisy = DeepConvAE(), torch.rand(2, 1, 28, 28), torch.rand(2, 1, 28, 28)
    terms = NegativeELBO(Bernoulli())(network, Batch(clean, noisy, None, torch.arange(2)))
    expected = -Bernoulli().log_prob(network.decode(network.encode(noisy).mu), clean).mean()
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_a_network_without_codes_is_refused():
    class Flat(Network):
        def forward(self, x):
            return x

    with pytest.raises(TrainingError, match="expected a network with encode and decode, got Flat"):
        NegativeELBO(Bernoulli())(Flat(), batch(torch.rand(2, 1, 2, 2)))


def exact_log_likelihood(x: np.ndarray, slope: float) -> np.ndarray:
    grid = np.linspace(-12, 12, 20_001)
    p = 1 / (1 + np.exp(-slope * grid))
    log_px = x.sum(1)[:, None] * np.log(p) + (x.shape[1] - x.sum(1))[:, None] * np.log(1 - p)
    return logsumexp(log_px + stats.norm.logpdf(grid), axis=1) + np.log(grid[1] - grid[0])


def test_importance_weighted_bound_falls_to_the_exact_likelihood():
    x = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    network = LinearGaussian(0.4, -0.5)
    exact = -exact_log_likelihood(x.flatten(1).double().numpy(), 0.7)
    generator = torch.Generator().manual_seed(0)
    few = [importance_weighted_bound(network, Bernoulli(), x, 5, generator).mean().item() for _ in range(400)]
    many = importance_weighted_bound(network, Bernoulli(), x, 20_000, generator)
    one = [
        importance_weighted_bound(network, Bernoulli(), x, 1, generator).mean().item() for _ in range(2000)
    ]
    np.testing.assert_allclose(many.detach().numpy(), exact, atol=0.01)
    assert exact.mean() < np.mean(few) < np.mean(one)
    losses = [NegativeELBO(Bernoulli())(network, batch(x), generator)["loss"].item() for _ in range(2000)]
    assert np.mean(one) == pytest.approx(np.mean(losses), abs=0.02)  # k = 1 is the -ELBO


def test_a_deterministic_network_has_no_such_bound():
    with pytest.raises(ValueError, match="variational"):
        importance_weighted_bound(DeepConvAE(), Bernoulli(), torch.rand(1, 1, 28, 28), 3)


def test_objective_takes_beta_and_warmup_from_the_settings():
    loss = objective(AutoencodeConfig("autoencode", "gaussian", beta=3, beta_warmup=0.5))
    assert isinstance(loss.likelihood, Gaussian)
    assert (loss.beta, loss.beta_warmup) == (3, 0.5)
