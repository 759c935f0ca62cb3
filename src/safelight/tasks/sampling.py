"""Writing new codes, and the images they decode to."""

from __future__ import annotations

import torch
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder, device_of
from safelight.tasks.priors import Normal, Prior

__all__ = ["latent_points", "sample"]

CHUNK = 100  # images encoded at a time
COVARIANCE_CODES = 2000  # enough for the covariance of some tens of dimensions


@torch.no_grad()
def latent_points(network: Autoencoder, prior: Prior, count: int, images: ImageSet, seed: int = 0) -> Tensor:
    """Codes to decode into new images, made of the same standard normal numbers for every network.

    A prior makes draws of them. Where codes are points, and none was fitted to them, they are stretched to
    the mean and covariance of the codes of `images`.

    Args:
        network: any autoencoder, in evaluation mode.
        prior: the network's, on the same device.
        count: number of codes.
        images: whose codes a deterministic network's draws should resemble.
        seed: fixes the draws.

    Returns:
        (count, D).

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.priors import Normal
        >>> latent_points(DeepConvVAE((1, 8, 8)), Normal(), 4, safelight.load("digits")).shape
        torch.Size([4, 20])
    """
    device = device_of(network)
    generator = torch.Generator().manual_seed(derive_seed(seed, "latent points"))
    chunks = []
    for first in range(0, min(COVARIANCE_CODES, len(images)), CHUNK):
        mu, logvar = network.encode(images.floats(slice(first, min(first + CHUNK, COVARIANCE_CODES)), device))
        if logvar is not None or not isinstance(prior, Normal):
            numbers = mu.shape[1] + prior.extra
            noise = torch.randn(count, numbers, generator=generator, dtype=torch.float32)
            return prior.from_base(noise.to(device))
        chunks.append(mu)
    mu = torch.cat(chunks)
    points = torch.randn(count, mu.shape[1], generator=generator, dtype=torch.float32).to(device)
    covariance = torch.cov(mu.T.cpu().double(), correction=0).reshape(mu.shape[1], -1)
    values, vectors = torch.linalg.eigh(covariance)  # unlike Cholesky's, also for dead dimensions
    root = (vectors * values.clamp(min=0).sqrt()).to(mu)
    stretched: Tensor = mu.mean(0) + points @ root.T
    return stretched


@torch.no_grad()
def sample(network: Autoencoder, points: Tensor) -> Tensor:
    """Decode codes (N, D) to images (N, C, H, W) in [0, 1]."""
    return torch.sigmoid(network.decode(points).float()).clamp(0, 1)
