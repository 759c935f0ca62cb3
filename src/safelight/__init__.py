"""Safelight learns from images that nobody labelled.

An autoencoder turns an image into a short code and back. The names below are the whole public interface;
importing the package loads neither torch nor anything else heavy before one of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.api import finetune, open, resume, train
    from safelight.config.data import DataConfig
    from safelight.config.network import ConvVAEConfig, DeepConvConfig
    from safelight.config.search import SearchConfig
    from safelight.config.task import Measure, Sheet
    from safelight.config.training import TrainingConfig
    from safelight.data.batches import Batch
    from safelight.data.images import ImageSet
    from safelight.data.sources import load
    from safelight.errors import ConfigError, DataError, Interrupted, RunError, SafelightError, TrainingError
    from safelight.estimators import AutoencoderTransformer, FewLabelsClassifier, OutlierDetector
    from safelight.evolution.evolve import Search, evolve, resume_evolution
    from safelight.networks.base import Autoencoder, Code, Network
    from safelight.networks.conv_vae import ConvVAE
    from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
    from safelight.run import Run
    from safelight.tasks.base import Evaluation, Task

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "networks.base",
    "AutoencoderTransformer": "estimators",
    "Batch": "data.batches",
    "Code": "networks.base",
    "ConfigError": "errors",
    "ConvVAE": "networks.conv_vae",
    "ConvVAEConfig": "config.network",
    "DataConfig": "config.data",
    "DataError": "errors",
    "DeepConvAE": "networks.deep_conv",
    "DeepConvConfig": "config.network",
    "DeepConvVAE": "networks.deep_conv",
    "Evaluation": "tasks.base",
    "FewLabelsClassifier": "estimators",
    "ImageSet": "data.images",
    "Interrupted": "errors",
    "Measure": "config.task",
    "Network": "networks.base",
    "OutlierDetector": "estimators",
    "Run": "run",
    "RunError": "errors",
    "SafelightError": "errors",
    "Search": "evolution.evolve",
    "SearchConfig": "config.search",
    "Sheet": "config.task",
    "Task": "tasks.base",
    "TrainingConfig": "config.training",
    "TrainingError": "errors",
    "evolve": "evolution.evolve",
    "finetune": "api",
    "load": "data.sources",
    "open": "api",
    "resume": "api",
    "resume_evolution": "evolution.evolve",
    "train": "api",
}

__all__ = [
    "Autoencoder",
    "AutoencoderTransformer",
    "Batch",
    "Code",
    "ConfigError",
    "ConvVAE",
    "ConvVAEConfig",
    "DataConfig",
    "DataError",
    "DeepConvAE",
    "DeepConvConfig",
    "DeepConvVAE",
    "Evaluation",
    "FewLabelsClassifier",
    "ImageSet",
    "Interrupted",
    "Measure",
    "Network",
    "OutlierDetector",
    "Run",
    "RunError",
    "SafelightError",
    "Search",
    "SearchConfig",
    "Sheet",
    "Task",
    "TrainingConfig",
    "TrainingError",
    "evolve",
    "finetune",
    "load",
    "open",
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
