"""Networks for vectors, whose values have no neighbours: each layer sees all of them."""

from __future__ import annotations

import math
from typing import cast, final

from torch import Tensor, nn

from safelight.networks.base import Autoencoder, Code, Shape
from safelight.networks.classifier import ClassNetwork
from safelight.networks.linear_path import LinearPath

__all__ = ["HIDDEN", "DenseClassifier", "DenseVAE"]

HIDDEN = 64


@final
class DenseVAE(Autoencoder):
    """A hidden layer on each side of a Gaussian code, beside a linear map that begins as PCA.

    Args:
        shape: (1, 1, F) of vectors of F values from 0 to 1.
        latent: D, dimensions of the code.

    Example:
        >>> import torch
        >>> DenseVAE((1, 1, 5), 2).encode(torch.rand(3, 1, 1, 5)).mu.shape
        torch.Size([3, 2])
    """

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        values = math.prod(shape)
        self.linear = LinearPath(shape, latent)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(values, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, values))

    def encode(self, x: Tensor) -> Code:
        """Vectors (N, 1, 1, F) in [0, 1] to codes (N, D)."""
        mu, logvar = self.encoder(x).chunk(2, 1)
        return Code(mu + self.linear.encode(x), logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) to logits (N, 1, 1, F)."""
        line = self.linear.decode(z)
        return cast(Tensor, self.decoder(z)).view_as(line) + line

    def start(self, mean: Tensor, directions: Tensor, variances: Tensor, noise: float) -> None:
        """Begin as probabilistic PCA."""
        self.linear.start(mean, directions, variances)
        self.linear.lead(self.encoder[-1], self.decoder[-1], variances, noise)


@final
class DenseClassifier(ClassNetwork):
    """A hidden layer and a linear one.

    Args:
        shape: (1, 1, F) of vectors of F values from 0 to 1.
        classes: K.

    Example:
        >>> import torch
        >>> DenseClassifier((1, 1, 5), 3)(torch.rand(4, 1, 1, 5)).shape
        torch.Size([4, 3])
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), HIDDEN), nn.SiLU())
        self.head = nn.Linear(HIDDEN, classes)

    def features(self, x: Tensor) -> Tensor:
        """Vectors (N, 1, 1, F) in [0, 1] to what the last layer decides by, (N, D)."""
        return cast(Tensor, self.hidden(x))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, 1, 1, F) in [0, 1] to logits of the classes, (N, K)."""
        return cast(Tensor, self.head(self.features(x)))
