"""Learning to clean from noisy images alone: pixels are hidden, and told from those around them."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from safelight.data.batches import Batch
from safelight.errors import TrainingError
from safelight.networks.base import ImageNetwork

__all__ = ["BlindSpot", "hide"]

MOST_SURE = 6.0  # a logit, within 0.3% of black or white
SPACING = 3  # of hidden pixels, so that none is among those around another


@final
class BlindSpot(nn.Module):
    """The loss of hidden pixels, which a network that sees only the others cannot fit the noise of.

    Batson & Royer (2019), Noise2Self, equation 2. Where noise was clipped to [0, 1] its mean is no longer
    zero, and a network trained on the pixels as they are would learn gray for black. So a pixel at either
    end stands for what it is expected to have been before the clipping, by the network's own prediction and
    a standard deviation that is learned along: expectation and maximization for censored data (Tobin 1958;
    Dempster et al. 1977).

    Example:
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvAE
        >>> batch = Batch.of(safelight.load("digits"), slice(4))
        >>> sorted(BlindSpot()(DeepConvAE((1, 8, 8)), batch, torch.Generator(), 0.0))
        ['loss', 'sigma']
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.3)))

    def forward(
        self, network: ImageNetwork, batch: Batch, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """The terms of the loss.

        Args:
            network: gives logits of images.
            batch: noisy images.
            generator: chooses the pixels.
            progress: not needed.

        Returns:
            "loss": mean over the hidden pixels, in nats; "sigma": the standard deviation learned so far.

        Raises:
            TrainingError: the network gives something else than images of the same shape.
        """
        hidden, inputs = hide(batch.inputs, generator)
        hidden = hidden.expand_as(inputs)
        made = network(inputs)
        check_made(made, inputs)
        logits = made.float()[hidden]
        noisy, sigma = batch.inputs[hidden], self.log_sigma.exp()
        predicted = torch.sigmoid(logits.detach())
        unclipped = _unclipped(noisy, predicted, sigma.detach())
        cross_entropy = F.binary_cross_entropy_with_logits(logits, unclipped)
        # The mean of what was not clipped may lie beyond black or white, where no logit is far enough.
        bound = 0.5 * F.relu(logits.abs() - MOST_SURE).square().mean()
        fit = -_censored_log_prob(noisy, predicted, sigma).mean()
        return {"loss": cross_entropy + bound + fit, "sigma": sigma.detach()}


def check_made(made: Tensor, images: Tensor) -> None:
    """Refuse a network that makes something else of images than images.

    Raises:
        TrainingError: it does.
    """
    if made.shape != images.shape:
        raise TrainingError(
            f"expected a network that gives {tuple(images.shape)}, as its input, got {tuple(made.shape)}; to "
            "denoise, choose another --model"
        )


def hide(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace every ninth pixel, on a grid placed at random, by the mean of the up to eight around it.

    Args:
        images: (N, C, H, W).
        generator: places each image's grid.

    Returns:
        Which pixels, (N, 1, H, W), and the images without them, (N, C, H, W).

    Example:
        >>> import torch
        >>> hidden, inputs = hide(torch.eye(3)[None, None], torch.Generator().manual_seed(0))
        >>> int(hidden.sum()), int((inputs != torch.eye(3)).sum())
        (1, 1)
    """
    hidden = torch.ones_like(images[:, :1], dtype=torch.bool)
    for axis in (2, 3):
        place = torch.arange(images.shape[axis], device=images.device)
        place = place.view([-1 if i == axis else 1 for i in range(4)])
        size = len(images), 1, 1, 1
        start = torch.randint(SPACING, size, generator=generator, device=images.device)
        hidden = hidden & (place % SPACING == start)
    # The sum of nine pixels but the one in their middle, over the number that there are.
    around = 9 * F.avg_pool2d(images, 3, 1, 1) - images
    count = 9 * F.avg_pool2d(torch.ones_like(images[:1, :1]), 3, 1, 1) - 1
    return hidden, torch.where(hidden, around / count, images)


def _unclipped(y: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """E[y before clipping | y], for a normal density: the means of its two tails at 0 and at 1."""
    low, high = -mean / sigma, (mean - 1) / sigma  # standardized distances into the tails
    below = mean - sigma * _tail_mean(low)
    above = mean + sigma * _tail_mean(high)
    return torch.where(y <= 0, below, torch.where(y >= 1, above, y))


def _tail_mean(z: Tensor) -> Tensor:
    """φ(z) / Φ(z), the inverse Mills ratio; z is at most 0 here, so the logarithms are safe."""
    log_density = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    ratio: Tensor = (log_density - torch.special.log_ndtr(z)).exp()
    return ratio


def _censored_log_prob(y: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    density = -0.5 * ((y - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    at_white = torch.where(y >= 1, torch.special.log_ndtr((mean - 1) / sigma), density)
    return torch.where(y <= 0, torch.special.log_ndtr(-mean / sigma), at_white)
