"""Images through a network in parts that fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

from safelight.networks.base import ImageNetwork
from safelight.networks.unet import DenoisingUNet

__all__ = ["MAX_PIXELS", "clean"]

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
    """One image, (1, C, H, W), in tiles that start on the grid of attention's windows."""
    margins = [-(-reach // side) * side for reach, side in zip(network.reach, network.window, strict=True)]
    room = int(max_pixels**0.5)
    steps = [
        max(1, (room - 2 * margin) // side) * side
        for margin, side in zip(margins, network.window, strict=True)
    ]
    cleaned = torch.empty_like(image)
    height, width = image.shape[2:]
    for top in range(0, height, steps[0]):
        for left in range(0, width, steps[1]):
            above, before = max(0, top - margins[0]), max(0, left - margins[1])
            bottom, right = top + steps[0], left + steps[1]
            part = image[:, :, above : bottom + margins[0], before : right + margins[1]]
            tile = _reconstruct(network, part)[:, :, top - above :, left - before :]
            cleaned[:, :, top:bottom, left:right] = tile[:, :, : steps[0], : steps[1]]
    return cleaned


def _reconstruct(network: ImageNetwork, images: Tensor) -> Tensor:
    return torch.sigmoid(network(images).float())  # bfloat16 would have 256 levels below 1
