"""The one table from names to networks, and what a network costs."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from safelight.config.reading import did_you_mean, from_dict
from safelight.config.run import RunConfig
from safelight.errors import ConfigError
from safelight.networks.base import Autoencoder
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE

__all__ = ["NETWORKS", "build", "cost"]

MAX_PARAMETERS = 1 << 28  # a gigabyte of float32


NETWORKS: dict[str, type[ConvVAE] | type[DeepConvVAE] | type[DeepConvAE]] = {
    "deep-conv-vae": DeepConvVAE,
    "deep-conv-ae": DeepConvAE,
    "conv-vae": ConvVAE,
}


def build(config: RunConfig) -> Autoencoder:
    """The network that a run's config names, with fresh weights.

    Raises:
        ConfigError: the name is not in `NETWORKS`, its fields do not fit, or the network is too large.
    """
    size, _ = cost(config)
    if size > MAX_PARAMETERS:
        raise ConfigError(
            f"network: expected at most {MAX_PARAMETERS:,} parameters, got {size:,}; "
            "use fewer channels or a narrower hidden layer"
        )
    return _make(config)


def cost(config: RunConfig) -> tuple[int, int]:
    """What a config's network costs, found without allocating it.

    Returns:
        The number of parameters, and the FLOPs of reconstructing one image: two for a multiplication and an
        addition, in convolutions and matrix products alone.

    Raises:
        ConfigError: the name is not in `NETWORKS`, or its fields do not fit.

    Example:
        >>> from safelight.config.data import DataConfig, ImageConfig
        >>> from safelight.config.network import NetworkSpec
        >>> from safelight.config.training import TrainingConfig
        >>> spec, image = NetworkSpec("conv-vae"), ImageConfig(28, 28, 1)
        >>> cost(RunConfig(spec, image, DataConfig(), TrainingConfig()))
        (1320201, 3374592)
    """
    with torch.device("meta"):
        network = _make(config).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.reconstruct(torch.empty(1, *config.image.shape))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


def _make(config: RunConfig) -> Autoencoder:
    name = config.network.name
    if name not in NETWORKS:
        raise ConfigError(f"network.name: unknown network {name!r}; {did_you_mean(name, NETWORKS)}")
    network_class = NETWORKS[name]
    fields: Any = from_dict(network_class.config_class, config.network.fields, "network.fields")
    return network_class(config.image.shape, fields)
