"""What training minimizes, in nats per image: likelihoods, the ELBO and the importance-weighted bound."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast, final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from safelight.config.task import AutoencodeConfig
from safelight.data.batches import Batch
from safelight.errors import TrainingError
from safelight.networks.base import Autoencoder
from safelight.tasks.priors import PRIORS, Normal, Prior

__all__ = [
    "LIKELIHOODS",
    "LOGVAR_RANGE",
    "Bernoulli",
    "Gaussian",
    "Likelihood",
    "NegativeELBO",
    "Student",
    "importance_weighted_bound",
    "objective",
    "sample_code",
]

LOGVAR_RANGE = (-15.0, 15.0)  # exp of either end is far from float32's limits
LEAST_SIGMA = 0.0025  # 8-bit pixels cannot be known any better
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
FREEDOM = 2  # ν of Student's t: images' errors may well differ by 6 dB
EULER = 0.5772156649015329  # γ
MEMORY = 0.05  # what a batch has of the deviation that is kept: the last twenty or so tell it


class Likelihood(nn.Module, ABC):
    """p(x | z): what a decoder's logits say of the pixels.

    Attributes:
        is_density: whether losses have no zero point, and their ratios mean nothing.
    """

    is_density: ClassVar[bool] = True

    @abstractmethod
    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, summed over pixels: (N, C, H, W) twice to (N,)."""

    @abstractmethod
    def calibrate(self, loss: float, pixels: int) -> float:
        """Take what makes some images most likely, knowing what they are worth by now.

        Args:
            loss: the images' mean -log p(x | z) in evaluation mode, in nats.
            pixels: values an image.

        Returns:
            The loss from now on.
        """


@final
class Bernoulli(Likelihood):
    """Cross-entropy on grayscale pixels taken as probabilities: x log p + (1 - x) log(1 - p).

    The convention of Kingma & Welling (2014), appendix C.1, and of the original report. On pixels between 0
    and 1 it is no normalized density, so compare it only with losses of the same convention.

    Example:
        >>> import torch
        >>> float(Bernoulli().log_prob(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)) / 64)  # log ½
        -0.6931471824645996
    """

    is_density = False

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, (N,)."""
        losses = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return -losses.flatten(1).sum(1)

    def calibrate(self, loss: float, pixels: int) -> float:
        """Nothing is left to choose."""
        return loss


@final
class Gaussian(Likelihood):
    """A normal density around sigmoid(logits), with one standard deviation for all pixels: the best there is.

    Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders, section 3.3 (σ-VAE): in
    training the variance is each batch's mean squared error, which makes the batch as likely as can be. In
    evaluation mode it is the same for all images, so that losses can be compared: that of the validation
    images where `calibrate` was told of them, else a running mean of the last batches. It is kept with the
    weights. Densities may exceed 1, so the loss may be negative.

    Example:
        >>> import torch
        >>> likelihood = Gaussian().eval()  # no batch yet: a standard deviation of 0.1
        >>> at_mean = likelihood.log_prob(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5))
        >>> round(at_mean.item() / 64, 4)  # -log(0.1) - ½ log 2π
        1.3836
    """

    log_sigma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_sigma", torch.tensor(math.log(0.1)))

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, (N,)."""
        squares = (x - torch.sigmoid(logits)).square().flatten(1)  # (N, C·H·W)
        log_sigma = self.log_sigma
        if self.training:
            # Its own gradient is zero, as it is the optimum.
            log_sigma = 0.5 * squares.detach().mean().clamp(min=LEAST_SIGMA**2).log()
            self.log_sigma.lerp_(log_sigma.to(self.log_sigma.dtype), MEMORY)
        return (-0.5 * squares * (-2 * log_sigma).exp() - log_sigma - HALF_LOG_2PI).sum(1)

    def calibrate(self, loss: float, pixels: int) -> float:
        """Take these images' mean squared error as the variance from now on."""
        log_sigma = float(self.log_sigma)
        error = 2 * (loss / pixels - log_sigma - HALF_LOG_2PI) * math.exp(2 * log_sigma)
        variance = max(error, LEAST_SIGMA**2)
        self.log_sigma.fill_(0.5 * math.log(variance))
        return pixels * (0.5 * error / variance + 0.5 * math.log(variance) + HALF_LOG_2PI)


@final
class Student(Likelihood):
    """Student's t around sigmoid(logits): a Gaussian whose variance is each image's own, and not known.

    The variance has an inverse gamma density and is integrated out (Lange et al. 1989, Robust Statistical
    Modeling Using the t Distribution), so that an image counts by the logarithm of its squared error, as in
    PSNR: smooth images are drawn as faithfully as rough ones, to which a Gaussian of one variance gives its
    all. The scale is that of training batches, by the mean of their errors' logarithms, and is kept with the
    weights as a running mean. To a squared error is added what 8-bit pixels leave open, so that it is no
    density below that.

    Example:
        >>> likelihood = Student().eval()  # no batch yet: a scale of 0.1
        >>> at_mean = likelihood.log_prob(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5))
        >>> round(at_mean.item() / 64, 4)
        2.6478
    """

    log_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_scale", torch.tensor(math.log(0.1)))

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, (N,)."""
        errors = (x - torch.sigmoid(logits)).square().flatten(1)  # (N, C·H·W)
        pixels = errors.shape[1]
        logs = (errors.mean(1) + LEAST_SIGMA**2).log()
        log_scale = self.log_scale
        if self.training:
            # Of an inverse gamma density, log σ² has a mean of log s² + log(ν/2) - ψ(ν/2): + γ for ν = 2.
            log_scale = 0.5 * (logs.detach().mean() - EULER)
            self.log_scale.lerp_(log_scale.to(self.log_scale.dtype), MEMORY)
        half = (FREEDOM + pixels) / 2
        constant = math.lgamma(half) - math.lgamma(FREEDOM / 2) - 0.5 * pixels * math.log(FREEDOM * math.pi)
        ratios = logs - 2 * log_scale + math.log(pixels / FREEDOM)  # log of squared error / (ν s²)
        return constant - pixels * log_scale - half * F.softplus(ratios)

    def calibrate(self, loss: float, pixels: int) -> float:
        """The scale hardly matters, as each image tells its own variance; it stays that of training."""
        return loss


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian] | type[Student]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "student": Student,
}


class _Clamp(torch.autograd.Function):
    """`Tensor.clamp` from which a gradient leads back: beyond an end it passes if a step down it returns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.range
        leads_away = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0), None, None


def _clamp(x: Tensor, low: float, high: float) -> Tensor:
    return cast(Tensor, _Clamp.apply(x, low, high))  # type: ignore[no-untyped-call]


def sample_code(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw z = μ + σ ε, the reparametrization of Kingma & Welling (2014), section 2.4; (N, D)."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + noise * (0.5 * logvar).exp()


@final
class NegativeELBO(nn.Module):
    """-ELBO of a batch: reconstruction + beta · KL, with one sample of z (Kingma & Welling 2014, equation 7).

    For a deterministic autoencoder it is the reconstruction alone; a prior that is no `Normal` is fitted to
    its codes, and does not change them.

    Args:
        likelihood: p(x | z); what it has to learn is learned along with the network.
        beta: weight of the KL (Higgins et al. 2017, equation 4).
        beta_warmup: share of training over which the weight rises from 0 to beta (Bowman et al. 2016).
        prior: p(z), N(0, 1) by default; its parameters are learned along, too.

    Example:
        >>> import torch
        >>> import safelight
        >>> from safelight.data.batches import Batch
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> batch = Batch.of(safelight.load("digits"), slice(4))
        >>> sorted(NegativeELBO(Bernoulli())(DeepConvVAE((1, 8, 8)), batch))
        ['kl', 'loss', 'reconstruction']
    """

    def __init__(
        self,
        likelihood: Likelihood,
        beta: float = 1.0,
        beta_warmup: float = 0.0,
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.prior = prior or Normal()
        self.beta = beta
        self.beta_warmup = beta_warmup

    def forward(
        self,
        network: Autoencoder,
        batch: Batch,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> dict[str, Tensor]:
        """The terms of the loss.

        Args:
            network: the autoencoder.
            batch: its inputs are encoded, its images are what should be decoded.
            generator: source of the noise of z.
            progress: share of training done, for the warm-up.

        Returns:
            "loss", "reconstruction" and, for a variational network, "kl", or "density" where a prior is
            fitted to points: means over the batch, in nats.

        Raises:
            TrainingError: the network has no code, or its output has not the images' shape.
        """
        if not isinstance(network, Autoencoder):
            raise TrainingError(
                f"expected a network with encode and decode, got {type(network).__name__}, which has no "
                "code; choose another --model or --task"
            )
        mu, logvar = network.encode(batch.inputs)
        if logvar is None:
            reconstruction = -self._log_prob(network.decode(mu), batch.images).mean()
            terms = {"loss": reconstruction, "reconstruction": reconstruction}
            return terms if isinstance(self.prior, Normal) else terms | self._density(mu, reconstruction)
        mu, logvar = mu.float(), _clamp(logvar.float(), *LOGVAR_RANGE)
        z = sample_code(mu, logvar, generator)
        reconstruction = -self._log_prob(network.decode(z), batch.images).mean()
        with torch.autocast(z.device.type, enabled=False):  # a difference of large sums
            kl = self.prior.kl(mu, logvar, z).mean()
        beta = self.beta * min(1.0, progress / self.beta_warmup) if self.beta_warmup else self.beta
        return {"loss": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": kl}

    def _density(self, points: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """A prior fitted to codes that are points: its gradient joins the loss, which it does not change."""
        density = -self.prior.log_prob(points.detach().float()).mean()
        return {"loss": loss + (density - density.detach()), "density": density}

    def _log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        if logits.shape != x.shape:
            raise TrainingError(
                f"expected decode to give {tuple(x.shape)}, as its input, got {tuple(logits.shape)}; "
                "change the network or the images' size"
            )
        log_prob: Tensor = self.likelihood.log_prob(logits.float(), x)
        return log_prob


def objective(config: AutoencodeConfig, latent: int = 0) -> NegativeELBO:
    """The loss that a task's settings describe.

    Args:
        config: the settings.
        latent: dimensions of the code, which learned priors need to know.
    """
    likelihood, prior = LIKELIHOODS[config.likelihood](), PRIORS[config.prior](latent)
    return NegativeELBO(likelihood, config.beta, config.beta_warmup, prior)


def importance_weighted_bound(
    network: Autoencoder,
    likelihood: Likelihood,
    x: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
    prior: Prior | None = None,
) -> Tensor:
    """-log p(x), bounded from above with k samples of z each: -log (1/k) Σ p(x, z) / q(z | x).

    Burda et al. (2016), equation 8. It falls as k grows; with k = 1 its mean is the -ELBO.

    Args:
        network: a variational autoencoder.
        likelihood: p(x | z).
        x: (N, C, H, W) in [0, 1].
        samples: k.
        generator: source of the noise.
        prior: p(z), N(0, 1) by default.

    Returns:
        (N,) nats.

    Raises:
        ValueError: the network is deterministic.

    Example:
        >>> import torch
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> importance_weighted_bound(DeepConvVAE(), Bernoulli(), torch.rand(2, 1, 28, 28), 5).shape
        torch.Size([2])
    """
    mu, logvar = network.encode(x)
    if logvar is None:
        raise ValueError("expected a variational autoencoder, got one without logvar; it has no such bound")
    logvar = logvar.clamp(*LOGVAR_RANGE)
    standard = Normal()
    prior = prior or standard
    weights = []
    for _ in range(samples):  # one sample of every image at a time keeps memory flat
        z = sample_code(mu, logvar, generator)
        errors = (z - mu) * (-0.5 * logvar).exp()
        log_posterior = standard.log_prob(errors) - 0.5 * logvar.sum(1)
        weights.append(likelihood.log_prob(network.decode(z), x) + prior.log_prob(z) - log_posterior)
    return math.log(samples) - torch.stack(weights).logsumexp(0)  # (k, N) to (N,)
