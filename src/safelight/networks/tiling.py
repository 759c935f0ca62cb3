"""Images through a network in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from safelight.networks.base import ImageNetwork
from safelight.networks.unet import DenoisingUNet

__all__ = ["MAX_PIXELS", "Span", "clean", "tiles"]

MAX_PIXELS = 1 << 21  # of an image that goes through whole, which takes a gigabyte
CHUNK_PIXELS = 1 << 18  # of small images that go through together


@torch.no_grad()
def clean(
    network: ImageNetwork, images: Tensor, precision: str = "float32", max_pixels: int = MAX_PIXELS
) -> Tensor:
    """A network's version of images of any number and, by `DenoisingUNet`, any size.

    An image that is too large goes through in tiles with margins as wide as the network's reach, so that each
    pixel comes out as if the image had been whole: there is nothing to blend, and no seam.

    Args:
        network: in evaluation mode; its device is the images'.
        images: (N, C, H, W) in [0, 1].
        precision: bfloat16, or float32.
        max_pixels: the most that go through at once, where tiles need no more for their margins.

    Returns:
        (N, C, H, W) in [0, 1].

    Example:
        >>> import torch
        >>> network, image = DenoisingUNet((1, 8, 8)).eval(), torch.rand(1, 1, 90, 70)
        >>> bool((clean(network, image) - clean(network, image, max_pixels=4000)).abs().max() < 1e-5)
        True
    """
    height, width = images.shape[2:]
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if height * width > max_pixels and isinstance(network, DenoisingUNet):
            return torch.cat([_in_tiles(network, image, max_pixels) for image in torch.split(images, 1)])
        count = max(1, CHUNK_PIXELS // (height * width))
        return torch.cat([_reconstruct(network, chunk) for chunk in torch.split(images, count)])


def _in_tiles(network: DenoisingUNet, image: Tensor, max_pixels: int) -> Tensor:
    """One image, (1, C, H, W), in tiles."""
    cleaned = torch.empty_like(image)
    down, across = tiles(network, image.shape[2:], max_pixels)
    for rows in down:
        for columns in across:
            tile = _reconstruct(network, image[:, :, rows.seen, columns.seen])
            cleaned[:, :, rows.kept, columns.kept] = tile[:, :, rows.inner, columns.inner]
    return cleaned


class Span(NamedTuple):
    """Where a tile lies along one side of an image.

    Attributes:
        seen: what goes through the network, with margins.
        kept: what of it comes out as it would have of the whole image.
    """

    seen: slice
    kept: slice

    @property
    def inner(self) -> slice:
        """What is kept, counted from where the tile begins."""
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


def tiles(network: DenoisingUNet, size: Sequence[int], max_pixels: int) -> list[list[Span]]:
    """Tiles that start on the grid of attention's windows and cover an image: spans of rows and of columns.

    Args:
        network: its reach says how wide margins are.
        size: (H, W) of the image.
        max_pixels: the most in a tile, where margins leave room.

    Example:
        >>> rows, columns = tiles(DenoisingUNet((1, 8, 8)), (200, 90), 128**2)
        >>> [(span.seen, span.kept) for span in columns]
        [(slice(0, 88, None), slice(0, 32, None)), (slice(0, 90, None), slice(32, 64, None)), \
(slice(8, 90, None), slice(64, 90, None))]
    """
    found = []
    for length, reach, side in zip(size, network.reach, network.window, strict=True):
        margin = -(-reach // side) * side
        step = max(1, (int(max_pixels**0.5) - 2 * margin) // side) * side
        found.append(
            [
                Span(
                    slice(max(0, start - margin), min(length, start + step + margin)),
                    slice(start, min(length, start + step)),
                )
                for start in range(0, length, step)
            ]
        )
    return found


def _reconstruct(network: ImageNetwork, images: Tensor) -> Tensor:
    return torch.sigmoid(network(images).float())  # bfloat16 would have 256 levels below 1
