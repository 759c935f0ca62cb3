"""How good a trained network is: losses under each convention, and what its code holds."""

from __future__ import annotations

from typing import Any

import torch

from safelight.data.images import ImageSet
from safelight.errors import ConfigError
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder
from safelight.tasks.objective import (
    LOGVAR_RANGE,
    Likelihood,
    NegativeELBO,
    gaussian_kl,
    importance_weighted_bound,
)

__all__ = ["ACTIVE_VARIANCE", "evaluate", "mean_loss"]

ACTIVE_VARIANCE = 0.01  # Burda et al. (2016), section 5.2
CHUNK = 500


@torch.no_grad()
def mean_loss(network: Autoencoder, loss: NegativeELBO, images: ImageSet, seed: int = 0) -> dict[str, float]:
    """The -ELBO with one sample of z, always the same one, and with a full-weight KL.

    Args:
        network: any autoencoder; it is left in evaluation mode.
        loss: its likelihood is used, its beta is not.
        images: to evaluate on.
        seed: fixes the noise.

    Returns:
        "loss", "reconstruction" and, for a variational network, "kl": means in nats per image.

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> terms = mean_loss(DeepConvVAE((1, 8, 8)), NegativeELBO(Bernoulli()), safelight.load("digits"))
        >>> abs(terms["loss"] - terms["reconstruction"] - terms["kl"]) < 1e-4
        True
    """
    network.eval()
    device = next(network.parameters()).device
    plain = NegativeELBO(loss.likelihood)
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "evaluation"))
    totals: dict[str, float] = {}
    for first in range(0, len(images), CHUNK):
        batch = images.floats(slice(first, first + CHUNK), str(device))
        for name, term in plain(network, batch, generator).items():
            totals[name] = totals.get(name, 0.0) + term.item() * len(batch)
    return {name: total / len(images) for name, total in totals.items()}


@torch.no_grad()
def evaluate(
    network: Autoencoder, likelihood: Likelihood, images: ImageSet, samples: int = 50, seed: int = 0
) -> dict[str, Any]:
    """All measures of a network on a set of images, in nats per image.

    Args:
        network: any autoencoder; it is left in evaluation mode.
        likelihood: p(x | z) that it was trained with.
        images: to evaluate on.
        samples: k of the importance-weighted bound.
        seed: fixes the noise.

    Returns:
        loss: -ELBO with one sample of z (the original report's convention).
        reconstruction, kl: its two parts.
        loss_at_mean: the same with z at the mean of q(z | x); lower, and not a bound.
        iw_bound: -log p(x) bounded with k samples (Burda et al. 2016, equation 8); iw_samples is k.
        active_units: dimensions whose mean varies by more than 0.01 over the images (ibid., section 5.2).
        kl_per_dimension: the KL of each dimension of the code; their sum is kl.
        n: number of images.

        A deterministic autoencoder has None for kl, iw_bound, active_units and kl_per_dimension.

    Raises:
        ConfigError: a negative number of samples.

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> images = safelight.load("digits", split="test")
        >>> measures = evaluate(DeepConvVAE((1, 8, 8)), Bernoulli(), images, samples=5)
        >>> measures["n"], abs(measures["loss"] - measures["reconstruction"] - measures["kl"]) < 1e-4
        (180, True)
    """
    if samples < 0:
        raise ConfigError(f"samples: expected 0 or more, got {samples}")
    terms = mean_loss(network, NegativeELBO(likelihood), images, seed)
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "importance weights"))
    at_mean, bound = 0.0, 0.0
    means, kls = [], []
    for first in range(0, len(images), CHUNK):
        x = images.floats(slice(first, first + CHUNK), str(device))
        mu, logvar = network.encode(x)
        at_mean -= likelihood.log_prob(network.decode(mu), x).sum().item()
        if logvar is not None:
            means.append(mu.cpu().double())
            kls.append(gaussian_kl(mu, logvar.clamp(*LOGVAR_RANGE)).cpu().double())
            if samples:
                bounds = importance_weighted_bound(network, likelihood, x, samples, generator)
                bound += bounds.sum().item()
    n = len(images)
    measures: dict[str, Any] = {
        "loss": terms["loss"],
        "reconstruction": terms["reconstruction"],
        "kl": terms.get("kl"),
        "loss_at_mean": at_mean / n + terms.get("kl", 0.0),
        "iw_bound": None,
        "iw_samples": samples,
        "active_units": None,
        "kl_per_dimension": None,
        "n": n,
    }
    if means:
        variances = torch.cat(means).var(0, correction=0)
        measures["active_units"] = int((variances > ACTIVE_VARIANCE).sum())
        measures["kl_per_dimension"] = torch.cat(kls).mean(0).tolist()
        measures["iw_bound"] = bound / n if samples else None
    return measures
