"""p(z): what codes of new images are drawn from, as it is or learned along with the network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import torch
from torch import Tensor, nn

__all__ = ["PRIORS", "Flow", "Mixture", "Normal", "Prior", "gaussian_kl", "told_by_dimension"]

COMPONENTS = 128
LAYERS = 6
WIDTH = 128
LOG_SCALE = 2.0  # by which a layer stretches or shrinks a dimension at most, as a logarithm
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Prior(nn.Module, ABC):
    """A density of codes that can be drawn from: from standard normal numbers, its noise, to codes.

    Attributes:
        extra: how many numbers of noise a code takes beyond one a dimension.
    """

    extra: ClassVar[int] = 0

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) in nats: (N, D) to (N,)."""

    @abstractmethod
    def kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """KL(q(z | x) ‖ p(z)) in nats, (N,), for q = N(mu, exp(logvar)): exact, or by one draw z of q.

        Args:
            mu: (N, D).
            logvar: (N, D).
            z: (N, D), drawn from q.
        """

    @abstractmethod
    def from_base(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (N, D + extra) to draws of p(z), (N, D)."""


@final
class Normal(Prior):
    """N(0, 1) in every dimension (Kingma & Welling 2014), which nothing is learned of.

    Example:
        >>> import torch
        >>> Normal().log_prob(torch.zeros(1, 2))  # -log 2π
        tensor([-1.8379])
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) in nats: (N, D) to (N,)."""
        return (-0.5 * z.square() - HALF_LOG_2PI).sum(1)

    def kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """The exact KL, (N,)."""
        return gaussian_kl(mu, logvar).sum(1)

    def from_base(self, noise: Tensor) -> Tensor:
        """The numbers as they are."""
        return noise


@final
class Mixture(Prior):
    """A mixture of 128 normal densities with diagonal covariances.

    Args:
        latent: D, dimensions of the code.

    Example:
        >>> import torch
        >>> mixture = Mixture(2)
        >>> mixture.log_prob(mixture.from_base(torch.randn(5, 3))).shape
        torch.Size([5])
    """

    extra = 1  # which chooses the component

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.means = nn.Parameter(0.5 * torch.randn(COMPONENTS, latent))
        # With the means' variance of ¼ the mixture begins near N(0, 1), as the codes do.
        self.log_scales = nn.Parameter(torch.full((COMPONENTS, latent), 0.5 * math.log(0.75)))
        self.logits = nn.Parameter(torch.zeros(COMPONENTS))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) in nats: (N, D) to (N,)."""
        errors = (z[:, None] - self.means) * (-self.log_scales).exp()  # (N, K, D)
        each = (-0.5 * errors.square() - self.log_scales - HALF_LOG_2PI).sum(2)  # (N, K)
        return torch.logsumexp(each + self.logits.log_softmax(0), 1)

    def kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """An unbiased estimate of the KL, (N,)."""
        return _sampled_kl(self, mu, logvar, z)

    def from_base(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (N, D + 1) to draws; the last one's quantile chooses the component."""
        quantile = 0.5 * (1 + torch.erf(noise[:, -1:] / math.sqrt(2)))  # (N, 1)
        shares = self.logits.softmax(0).cumsum(0)[:-1]
        chosen = (quantile > shares).sum(1)
        return self.means[chosen] + noise[:, :-1] * self.log_scales[chosen].exp()


@final
class Flow(Prior):
    """What becomes of N(0, 1) by six affine coupling layers (RealNVP: Dinh et al. 2017, equations 7 and 8).

    Each stretches and shifts one half of a code's dimensions by what a small network makes of the other
    half, chosen at random, and the next layer the other way round. It starts as N(0, 1) itself. A code of
    one dimension has no other half: it is stretched and shifted.

    Args:
        latent: D, dimensions of the code.

    Example:
        >>> import torch
        >>> flow, noise = Flow(3), torch.randn(5, 3)
        >>> torch.allclose(flow.to_base(flow.from_base(noise)), noise, atol=1e-5)
        True
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        halves: list[Tensor] = []
        for _ in range(LAYERS // 2):
            half = (torch.randperm(latent) < latent // 2).float()
            halves += [half, 1 - half]
        self.layers = nn.ModuleList(map(_Coupling, halves) if latent > 1 else [_Affine(latent)])

    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) in nats: (N, D) to (N,)."""
        log_scales = z.new_zeros(len(z))
        for layer in self.layers:
            log_scale, shift = layer(z)
            z = z * log_scale.exp() + shift
            log_scales = log_scales + log_scale.sum(1)
        return (-0.5 * z.square() - HALF_LOG_2PI).sum(1) + log_scales

    def kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """An unbiased estimate of the KL, (N,)."""
        return _sampled_kl(self, mu, logvar, z)

    def to_base(self, z: Tensor) -> Tensor:
        """Codes (N, D) to the numbers that they would be drawn from, (N, D)."""
        for layer in self.layers:
            log_scale, shift = layer(z)
            z = z * log_scale.exp() + shift
        return z

    def from_base(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (N, D) to draws, (N, D); reverses `to_base`."""
        for layer in reversed(self.layers):
            log_scale, shift = layer(noise)
            noise = (noise - shift) * (-log_scale).exp()
        return noise


@final
class _Coupling(nn.Module):
    """By how much one half of a code is stretched and shifted, given the other.

    Args:
        given: (D,), 1 for the dimensions that stay and decide, 0 for the others.
    """

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given: Tensor
        self.register_buffer("given", given)
        last = nn.Linear(WIDTH, 2 * len(given))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            *(nn.Linear(len(given), WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), last)
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of scales, and shifts, (N, D) each; the same before and after, as `given` stays."""
        scale, shift = self.network(z * self.given).chunk(2, dim=1)
        changed = 1 - self.given
        return _bounded(scale) * changed, shift * changed


@final
class _Affine(nn.Module):
    """The same stretch and shift for every code."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.zeros(latent)) for _ in range(2))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of scales, and shifts, (N, D) each."""
        return _bounded(self.scale).expand_as(z), self.shift.expand_as(z)


PRIORS: dict[str, Callable[[int], Prior]] = {
    "normal": lambda latent: Normal(),
    "mixture": Mixture,
    "flow": Flow,
}


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of each dimension, in nats.

    Kingma & Welling (2014), appendix B: -½ (1 + log σ² - μ² - σ²).

    Args:
        mu: (N, D).
        logvar: (N, D).

    Returns:
        (N, D).

    Example:
        >>> import torch
        >>> gaussian_kl(torch.tensor([[1.0]]), torch.tensor([[0.0]]))
        tensor([[0.5000]])
    """
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())


def told_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """What each dimension of the codes tells of an image, in nats, wherever a prior lets it be.

    The mean over images of KL(q(z | x) ‖ N(m, s²)), where m and s² are the dimension's own mean and variance
    over all of them: ½ (log s² - mean of log σ²). Of codes that are N(0, 1) as a whole it is `gaussian_kl`.

    Args:
        mu: (N, D).
        logvar: (N, D).

    Returns:
        (D,) in double precision.

    Example:
        >>> import torch
        >>> told_by_dimension(torch.tensor([[4.0], [8.0]]), torch.zeros(2, 1))  # ½ log (4 + 1)
        tensor([0.8047], dtype=torch.float64)
    """
    mu, logvar = mu.double(), logvar.double()
    variance = mu.var(0, correction=0) + logvar.exp().mean(0)
    return 0.5 * (variance.log() - logvar.mean(0))


def _sampled_kl(prior: Prior, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
    """The exact KL from N(0, 1), and by one draw z how much more or less it is from the prior, (N,).

    It has the mean of -log p(z) less q's entropy, but is as quiet as the exact KL where p is near N(0, 1).
    The noise of log p(z) alone kept codes of few images from ever telling anything: docs/lab-log.md.
    """
    return gaussian_kl(mu, logvar).sum(1) + Normal().log_prob(z) - prior.log_prob(z)


def _bounded(scale: Tensor) -> Tensor:
    return LOG_SCALE * torch.tanh(scale / LOG_SCALE)
