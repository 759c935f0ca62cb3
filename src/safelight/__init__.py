"""Safelight learns from images that nobody labelled.

An autoencoder turns an image into a short code and back. The names below are the whole public interface;
importing the package loads neither torch nor anything else heavy before one of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.api import Run, resume, train
    from safelight.config import ConvVAEConfig, DataConfig, DeepConvConfig, SearchConfig, TrainingConfig
    from safelight.errors import (
        ConfigError,
        DataError,
        Interrupted,
        RunError,
        SafelightError,
        TrainingError,
    )
    from safelight.images import ImageSet
    from safelight.networks import Autoencoder, Code, ConvVAE, DeepConvAE, DeepConvVAE, Network
    from safelight.searching import Evolution, evolve, resume_evolution
    from safelight.sources import load

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "networks",
    "Code": "networks",
    "ConfigError": "errors",
    "ConvVAE": "networks",
    "ConvVAEConfig": "config",
    "DataConfig": "config",
    "DataError": "errors",
    "DeepConvAE": "networks",
    "DeepConvConfig": "config",
    "DeepConvVAE": "networks",
    "Evolution": "searching",
    "ImageSet": "images",
    "Interrupted": "errors",
    "Network": "networks",
    "Run": "api",
    "RunError": "errors",
    "SafelightError": "errors",
    "SearchConfig": "config",
    "TrainingConfig": "config",
    "TrainingError": "errors",
    "evolve": "searching",
    "load": "sources",
    "resume": "api",
    "resume_evolution": "searching",
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
