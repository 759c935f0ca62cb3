"""Autoencoding: learning to draw an image again from its code."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.run import RunConfig
from safelight.config.task import (
    PRIORS,
    AutoencodeConfig,
    AutoencodeEvaluation,
    DenoiseConfig,
    Measure,
    Sheet,
)
from safelight.data.augmentation import mirrored, turned
from safelight.data.batches import Batch
from safelight.data.components import fit_components
from safelight.data.images import ImageSet
from safelight.data.pictures import pairs, tile
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder, device_of
from safelight.tasks.base import Beside, Evaluation, Task
from safelight.tasks.fidelity import psnr
from safelight.tasks.objective import (
    LOGVAR_RANGE,
    Likelihood,
    NegativeELBO,
    importance_weighted_bound,
    objective,
)
from safelight.tasks.priors import Normal, Prior, gaussian_kl, told_by_dimension
from safelight.tasks.sampling import latent_points, sample

__all__ = ["ACTIVE_VARIANCE", "Autoencode", "convention", "evaluate", "likelihood_words", "mean_loss"]

BLACK = 0.05
ACTIVE_VARIANCE = 0.01  # Burda et al. (2016), section 5.2
SAMPLES, SAMPLE_COLUMNS = 64, 8
NATS = "nats per image"
DIGITS = 3


@final
class Autoencode(Task):
    """Training by the negative ELBO, or by the reconstruction alone where codes are points.

    Args:
        config: the run's settings.

    Attributes:
        train: the training images, to which an evaluation fits PCA; or None, and there is no such line.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.task, AutoencodeConfig)
        self.config = config.task
        self.measures_means = config.task.likelihood != "gaussian"  # whose variance is that of all
        self._latent: int = getattr(config.network, "latent", 0)
        self.train: ImageSet | None = None
        self._convention = convention(config)
        self._prior: Prior = Normal()
        self.augment = {"none": None, "mirror": mirrored, "turn": turned}[config.task.augment]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The loss first; the other losses differ from it in their convention."""
        return (
            Measure("loss", "loss", self._convention, NATS, DIGITS),
            Measure("reconstruction", "reconstruction", "its part −log p(x | z)", NATS, DIGITS),
            Measure(
                "kl", "KL", f"its part KL(q(z | x) ‖ p(z)), p(z) {PRIORS[self.config.prior]}", NATS, DIGITS
            ),
            Measure("density", "density", "−log p(z) of codes that are points, no part of the loss", NATS, 3),
            Measure(
                "loss_at_mean",
                "loss at the mean",
                "z at the mean of q(z | x); lower, and not a bound",
                NATS,
                DIGITS,
            ),
            Measure(
                "iw_bound",
                "importance-weighted bound",
                "on −log p(x), by several samples of z an image",
                NATS,
                DIGITS,
            ),
            Measure("iw_samples", "samples of z", "of the bound, an image", digits=0),
            Measure("active_units", "active units", "dimensions of the code whose mean varies", digits=0),
            Measure("psnr", "PSNR", "of reconstructions, a mean", "dB", lower_is_better=False),
            Measure("pca_psnr", "PSNR, PCA", "with as many dimensions", "dB", lower_is_better=False),
            Measure("mean_psnr", "PSNR, mean", "one image for all", "dB", lower_is_better=False),
        )

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """Images drawn from random codes, and pairs of images and reconstructions."""
        return (
            Sheet(
                "samples",
                "Samples",
                "Images that the network drew from nothing but random numbers, the same after every epoch.",
            ),
            Sheet(
                "reconstructions",
                "Reconstructions",
                "In each pair of rows, images that the network was given above, and below them what it made "
                "of their codes.",
            ),
        )

    @property
    def transform(self) -> None:
        """The network sees the images as they are."""
        return None

    def loss(self) -> NegativeELBO:
        """The negative ELBO by the likelihood, beta and prior of the settings."""
        loss = objective(self.config, self._latent)
        self._prior = loss.prior  # as it is learned, `draw` draws from it
        return loss

    def measure(self, network: Autoencoder, loss: nn.Module, images: ImageSet) -> dict[str, float]:
        """The loss and its parts, as `mean_loss` gives them of a likelihood that was fitted to the images."""
        assert isinstance(loss, NegativeELBO)
        terms = mean_loss(network, loss, images)
        before = terms["reconstruction"]
        terms["reconstruction"] = loss.likelihood.calibrate(before, math.prod(images.shape))
        terms["loss"] += terms["reconstruction"] - before
        return terms

    def prepare(self, images: ImageSet, options: AutoencodeEvaluation, beside: Beside) -> ImageSet:
        """Fetch the images that PCA is fitted to."""
        self.train = beside.train()
        return images

    def evaluate(
        self, network: Autoencoder, loss: nn.Module, images: ImageSet, options: AutoencodeEvaluation
    ) -> Evaluation:
        """Losses under each convention, as `evaluate` gives them."""
        assert isinstance(loss, NegativeELBO)
        values = evaluate(network, loss.likelihood, images, options.samples, prior=loss.prior)
        if self.train is not None:
            values |= _linear(self.train, images, values["latent"])
        return Evaluation(values)

    @torch.no_grad()
    def draw(self, network: Autoencoder, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """Samples from fixed numbers, and reconstructions."""
        x = shown.floats(device=device_of(network))
        drawn = sample(network, latent_points(network, self._prior, SAMPLES, train))
        seen = network.reconstruct(x)
        numpy = (t.float().cpu().numpy() for t in (drawn, x, seen))
        drawn_pixels, inputs, outputs = numpy
        return {"samples": tile(drawn_pixels, SAMPLE_COLUMNS), "reconstructions": pairs(inputs, outputs)}


def convention(config: RunConfig) -> str:
    """What the number called loss means; only losses of one convention can be compared."""
    is_variational = config.network.is_variational
    measure = likelihood_words(config, "−ELBO" if is_variational else "−log p(x | z)")
    return f"{measure}, {'one sample of z' if is_variational else 'z a point'}"


def likelihood_words(config: RunConfig, what: str) -> str:
    """A loss under the likelihood of a run's task and images, in words."""
    assert isinstance(config.task, AutoencodeConfig | DenoiseConfig)
    if config.task.likelihood == "gaussian":
        return f"Gaussian {what} of the best variance"
    if config.task.likelihood == "student":
        return f"Student's t {what}"
    return (
        f"grayscale Bernoulli {what}" if config.image.channels == 1 else f"Bernoulli {what} of colour values"
    )


@torch.no_grad()
def mean_loss(network: Autoencoder, loss: NegativeELBO, images: ImageSet, seed: int = 0) -> dict[str, float]:
    """The -ELBO with one sample of z, always the same one, and with a full-weight KL.

    Args:
        network: any autoencoder; it is left in evaluation mode.
        loss: its likelihood and prior are used, its beta is not.
        images: to evaluate on.
        seed: fixes the noise.

    Returns:
        "loss", "reconstruction" and, for a variational network, "kl": means in nats per image; "density" as
        in `NegativeELBO`.

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> terms = mean_loss(DeepConvVAE((1, 8, 8)), NegativeELBO(Bernoulli()), safelight.load("digits"))
        >>> abs(terms["loss"] - terms["reconstruction"] - terms["kl"]) < 1e-4
        True
    """
    network.eval()
    device = device_of(network)
    plain = NegativeELBO(loss.likelihood, prior=loss.prior).eval()
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "evaluation"))
    totals: dict[str, float] = {}
    for chunk in images.chunks():
        batch = Batch.of(images, chunk, device)
        for name, term in plain(network, batch, generator).items():
            totals[name] = totals.get(name, 0.0) + term.item() * len(batch)
    return {name: total / len(images) for name, total in totals.items()}


@torch.no_grad()
def evaluate(
    network: Autoencoder,
    likelihood: Likelihood,
    images: ImageSet,
    samples: int = 50,
    seed: int = 0,
    prior: Prior | None = None,
) -> dict[str, Any]:
    """All measures of a network on a set of images, in nats per image.

    Args:
        network: any autoencoder; it is left in evaluation mode.
        likelihood: p(x | z) that it was trained with.
        images: to evaluate on.
        samples: k of the importance-weighted bound.
        seed: fixes the noise.
        prior: p(z) that it was trained with, N(0, 1) by default.

    Returns:
        loss: -ELBO with one sample of z (the original report's convention).
        reconstruction, kl: its two parts.
        loss_at_mean: the same with z at the mean of q(z | x); lower, and not a bound.
        iw_bound: -log p(x) bounded with k samples (Burda et al. 2016, equation 8); iw_samples is k.
        active_units: dimensions whose mean varies by more than 0.01 over the images (ibid., section 5.2).
        kl_per_dimension: the KL of each dimension of the code; their sum is kl.

        With a prior that is learned, dimensions may have any scale, and the KL is of all at once: a mean
        varies by a share of its dimension's whole variance, and kl_per_dimension is `told_by_dimension`.
        latent: dimensions of the code.
        psnr: of reconstructions, mean of the images, in dB.
        black: share of reconstructions without any pixel above 0.05.
        n: number of images.

        A deterministic autoencoder has only loss, n and, where a prior is fitted to its codes, density.

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> images = safelight.load("digits", split="test")
        >>> measures = evaluate(DeepConvVAE((1, 8, 8)), Bernoulli(), images, samples=5)
        >>> measures["n"], abs(measures["loss"] - measures["reconstruction"] - measures["kl"]) < 1e-4
        (180, True)
    """
    prior = prior or Normal()
    terms = mean_loss(network, NegativeELBO(likelihood, prior=prior), images, seed)
    device = device_of(network)
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "importance weights"))

    widths: list[int] = []

    def bound(x: Tensor) -> Tensor:
        return importance_weighted_bound(network, likelihood, x, samples, generator, prior)

    def look(x: Tensor) -> Tensor:
        mu, logvar = network.encode(x)
        logits = network.decode(mu)
        drawn = torch.sigmoid(logits)
        columns = [-likelihood.log_prob(logits, x)[:, None], psnr(drawn, x)[:, None]]
        columns.append(drawn.flatten(1).amax(1, keepdim=True))
        widths.append(mu.shape[1])
        if logvar is not None:
            columns += [mu, logvar.clamp(*LOGVAR_RANGE)]
            if samples:
                columns.append(bound(x)[:, None])
        return torch.cat(columns, 1)

    likelihood.eval()
    found = images.mapped(look, device)
    means = found.mean(0, dtype=np.float64)
    measures: dict[str, Any] = {
        "loss": terms["loss"],
        "n": len(images),
        "psnr": float(means[1]),
        "black": float((found[:, 2] < BLACK).mean()),
        "latent": widths[0],
    }
    measures |= {name: term for name, term in terms.items() if name == "density"}
    if "kl" in terms:
        mu, logvar = np.split(found[:, 3 : found.shape[1] - bool(samples)], 2, axis=1)  # (N, D) each
        halves = torch.from_numpy(np.ascontiguousarray(mu)), torch.from_numpy(np.ascontiguousarray(logvar))
        variances = mu.var(0, dtype=np.float64)
        if isinstance(prior, Normal):
            told = gaussian_kl(*halves).double().mean(0)
        else:
            told = told_by_dimension(*halves)
            variances /= variances + np.exp(logvar).mean(0, dtype=np.float64)
        measures |= {
            "reconstruction": terms["reconstruction"],
            "kl": terms["kl"],
            "loss_at_mean": float(means[0]) + terms["kl"],
            "active_units": int((variances > ACTIVE_VARIANCE).sum()),
            "kl_per_dimension": told.tolist(),
        }
        if samples:
            measures |= {"iw_bound": float(means[-1]), "iw_samples": samples}
    return measures


@torch.no_grad()
def _linear(train: ImageSet, images: ImageSet, dimensions: int) -> dict[str, float]:
    """How near PCA of the training images comes to others: what any autoencoder should be ahead of."""
    found = fit_components(train, dimensions)

    def look(x: Tensor) -> Tensor:
        mean = found.mean.view_as(x[0]).expand_as(x)
        return torch.stack([psnr(found.reconstruct(x), x), psnr(mean, x)], 1)

    pca_psnr, mean_psnr = images.mapped(look).mean(0, dtype=np.float64)
    return {"pca_psnr": float(pca_psnr), "mean_psnr": float(mean_psnr), "train_n": len(train)}
