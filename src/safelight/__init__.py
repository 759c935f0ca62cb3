"""Safelight learns from images that nobody labelled.

An autoencoder turns an image into a short code and back. The names below are the whole public interface;
importing the package loads neither torch nor anything else heavy before one of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.api import Run, resume, train
    from safelight.config.data import DataConfig
    from safelight.config.network import ConvVAEConfig, DeepConvConfig
    from safelight.config.search import SearchConfig
    from safelight.config.training import TrainingConfig
    from safelight.data.images import ImageSet
    from safelight.data.sources import load
    from safelight.errors import (
        ConfigError,
        DataError,
        Interrupted,
        RunError,
        SafelightError,
        TrainingError,
    )
    from safelight.evolution.evolve import Evolution, evolve, resume_evolution
    from safelight.networks.base import Autoencoder, Code, Network
    from safelight.networks.conv_vae import ConvVAE
    from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "networks.base",
    "Code": "networks.base",
    "ConfigError": "errors",
    "ConvVAE": "networks.conv_vae",
    "ConvVAEConfig": "config.network",
    "DataConfig": "config.data",
    "DataError": "errors",
    "DeepConvAE": "networks.deep_conv",
    "DeepConvConfig": "config.network",
    "DeepConvVAE": "networks.deep_conv",
    "Evolution": "evolution.evolve",
    "ImageSet": "data.images",
    "Interrupted": "errors",
    "Network": "networks.base",
    "Run": "api",
    "RunError": "errors",
    "SafelightError": "errors",
    "SearchConfig": "config.search",
    "TrainingConfig": "config.training",
    "TrainingError": "errors",
    "evolve": "evolution.evolve",
    "load": "data.sources",
    "resume": "api",
    "resume_evolution": "evolution.evolve",
    "train": "api",
}

__all__ = [
    "Autoencoder",
    "Code",
    "ConfigError",
    "ConvVAE",
    "ConvVAEConfig",
    "DataConfig",
    "DataError",
    "DeepConvAE",
    "DeepConvConfig",
    "DeepConvVAE",
    "Evolution",
    "ImageSet",
    "Interrupted",
    "Network",
    "Run",
    "RunError",
    "SafelightError",
    "SearchConfig",
    "TrainingConfig",
    "TrainingError",
    "evolve",
    "load",
    "resume",
    "resume_evolution",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'safelight' has no attribute {name!r}")
    return getattr(importlib.import_module(f"safelight.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
