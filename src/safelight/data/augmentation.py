"""Images moved, turned, stretched and partly covered, as a classifier should not mind them to be."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["Augmentation", "mirrored", "move", "turned"]


@final
@dataclass(frozen=True)
class Augmentation:
    """A transform of batches: of each image a version drawn anew, two times in three.

    Nothing is mirrored: letters and digits would no longer be themselves. The covered square is that of
    DeVries & Taylor (2017), Cutout; it takes the image's mean value.

    Attributes:
        shift: the furthest way, as a share of the sides.
        rotation: the largest angle, in degrees.
        scale: the largest growth or shrinkage; 0.15 is 1 / 1.15 to 1.15 times the size.
        shear: the furthest that a side's end is pushed sideways, as a share of its length.
        cut_out: side of the covered square, as a share of the image's shorter side.
        probability: of an image to be changed at all.

    Example:
        >>> import torch
        >>> images, generator = torch.rand(4, 1, 28, 28), torch.Generator().manual_seed(0)
        >>> Augmentation()(images, generator).shape
        torch.Size([4, 1, 28, 28])
    """

    shift: float = 0.1
    rotation: float = 15.0
    scale: float = 0.15
    shear: float = 0.2
    cut_out: float = 0.3
    probability: float = 2 / 3

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to their versions, the same shape and range."""
        n, device = len(images), images.device

        def draw(*shape: int) -> Tensor:  # uniform in [-1, 1)
            return 2 * torch.rand(n, *shape, generator=generator, device=device) - 1

        angle, shear = radians(self.rotation) * draw(), self.shear * draw()
        scale = (1 + self.scale) ** draw()
        turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
        sheared = torch.eye(2, device=device).repeat(n, 1, 1)
        sheared[:, 0, 1] = shear
        shifts = 2 * self.shift * draw(2)  # the sides go from -1 to 1
        changed = _cover(
            move(images, (turned @ sheared) / scale.view(n, 1, 1), shifts), self.cut_out, draw(2)
        )
        chosen = torch.rand(n, generator=generator, device=device) < self.probability
        return torch.where(chosen.view(n, 1, 1, 1), changed, images)


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image mirrored, left to right, or not, as the generator draws; (N, C, H, W) to the same shape."""
    return _flipped(images, 3, generator)


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image in one of the eight ways that a square can lie, four where height and width differ.

    Args:
        images: (N, C, H, W).
        generator: draws the ways.

    Example:
        >>> import torch
        >>> image = torch.arange(4.0).view(1, 1, 2, 2).expand(99, 1, 2, 2)
        >>> len(turned(image, torch.Generator().manual_seed(0)).unique(dim=0))
        8
    """
    images = _flipped(_flipped(images, 3, generator), 2, generator)
    if images.shape[2] != images.shape[3]:
        return images
    return torch.where(_half(images, generator), images.transpose(2, 3), images)


def _flipped(images: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    return torch.where(_half(images, generator), images.flip(axis), images)


def _half(images: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return drawn < 0.5


def move(images: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    """What an affine map of the plane makes of images; the border goes on beyond their edges.

    A pixel at p, counted from the center, shows what was at `matrix @ p + shift`.

    Args:
        images: (N, C, H, W).
        matrices: (N, 2, 2), of (x, y) in pixels.
        shifts: (N, 2), of (x, y), in halves of the sides.

    Returns:
        (N, C, H, W), interpolated between four pixels.

    Example:
        >>> import torch
        >>> image, quarter = torch.arange(4.0).view(1, 1, 2, 2), torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
        >>> move(image, quarter, torch.zeros(1, 2)).flatten().tolist()
        [1.0, 3.0, 0.0, 2.0]
    """
    height, width = images.shape[2:]
    sides = torch.tensor([width, height], dtype=images.dtype, device=images.device)
    relative = matrices * sides / sides.view(2, 1)  # from pixels to halves of the sides
    grid = F.affine_grid(
        torch.cat([relative, shifts[:, :, None]], 2), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _cover(images: Tensor, share: float, centers: Tensor) -> Tensor:
    """Cover a square around each center, (N, 2) of (x, y) in [-1, 1], with the image's mean."""
    height, width = images.shape[2:]
    half = share * min(height, width) / 2
    x = torch.arange(width, device=images.device) + 0.5 - width / 2 * (1 + centers[:, :1])  # (N, W)
    y = torch.arange(height, device=images.device) + 0.5 - height / 2 * (1 + centers[:, 1:])  # (N, H)
    covered = (x.abs() <= half)[:, None, :] & (y.abs() <= half)[:, :, None]  # (N, H, W)
    return torch.where(covered[:, None], images.mean((2, 3), keepdim=True), images)
