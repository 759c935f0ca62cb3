"""The one table from names to networks, and what a network costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from safelight.config.data import Fit
from safelight.config.network import NetworkConfig
from safelight.config.run import RunConfig
from safelight.config.training import BATCH_SIZE
from safelight.errors import ConfigError
from safelight.networks.base import Network, Shape
from safelight.networks.classifier import ENCODERS, Classifier, FineTuned
from safelight.networks.unet import DenoisingUNet

__all__ = ["NETWORKS", "build", "cost", "image_cost"]

MAX_PARAMETERS = 1 << 28  # a gigabyte of float32

NETWORKS: dict[str, Callable[[Shape, Any], Network]] = {
    **ENCODERS,
    "denoising-unet": DenoisingUNet,
    "classifier": Classifier,
    "fine-tuned": FineTuned,
}


def build(config: NetworkConfig, image: Fit) -> Network:
    """The network of some settings, with fresh weights.

    Raises:
        ConfigError: the images do not fit it, or it is too large.
    """
    size = _size(_sketch(config, image))
    if size > MAX_PARAMETERS:
        raise ConfigError(
            f"network: expected at most {MAX_PARAMETERS:,} parameters, got {size:,}; "
            "use fewer channels or a narrower hidden layer"
        )
    return NETWORKS[config.name](image.shape, config)


@lru_cache(maxsize=256)  # searches ask again and again
def cost(config: NetworkConfig, image: Fit) -> tuple[int, int]:
    """What a network costs, found without allocating it.

    Returns:
        The number of parameters, and the FLOPs of one image's way through: two for a multiplication and an
        addition, in convolutions and matrix products alone.

    Raises:
        ConfigError: the images do not fit it.

    Example:
        >>> from safelight.config.network import ConvVAEConfig
        >>> cost(ConvVAEConfig(), Fit(28, 28, 1))
        (1320201, 3374592)
    """
    network = _sketch(config, image).eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *image.shape))
    return _size(network), counter.get_total_flops()


def image_cost(config: RunConfig) -> float:
    """What training on one image once costs, in FLOPs: the same on every machine, and near its time.

    Three ways through the network, one forward and as much as two back, and the image's share of a sweep of
    Adam over the weights at each step, whose memory takes the time of some 200 FLOPs a weight.

    Raises:
        ConfigError: the images do not fit the network.

    Example:
        >>> from safelight.config.data import DataConfig
        >>> from safelight.config.network import ConvVAEConfig
        >>> from safelight.config.training import TrainingConfig
        >>> parts = ConvVAEConfig(), Fit(28, 28, 1), DataConfig()
        >>> [image_cost(RunConfig(*parts, TrainingConfig(batch_size=size))) / 1e6 for size in (10, 100)]
        [36.527796, 12.764178]
    """
    parameters, flops = cost(config.network, config.image)
    return 3 * flops + 200 * parameters / (config.training.batch_size or BATCH_SIZE)


def _sketch(config: NetworkConfig, image: Fit) -> Network:
    """The network in shapes alone, without memory."""
    with torch.device("meta"):
        return NETWORKS[config.name](image.shape, config)


def _size(network: Network) -> int:
    return sum(p.numel() for p in network.parameters())
