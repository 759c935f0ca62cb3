"""All that a run is, as its `config.json` holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from safelight.config.data import DataConfig, ImageConfig
from safelight.config.network import NetworkSpec
from safelight.config.training import TrainingConfig

__all__ = ["FORMAT_VERSION", "LIKELIHOODS", "RunConfig"]

FORMAT_VERSION = 1
LIKELIHOODS = ("bernoulli", "gaussian")


@dataclass(frozen=True)
class RunConfig:
    """All that is needed to build a run's network again and to continue or repeat its training.

    Attributes:
        network: which network, and its settings
        image: size and range of the images
        data: where the images came from
        training: how the network was trained
        likelihood: what the decoder's output means
        kind: what the run holds
        versions: of safelight, torch, NumPy and Python, when the run was made
        command: the command that made the run
        format_version: of the run folder
    """

    network: NetworkSpec
    image: ImageConfig
    data: DataConfig
    training: TrainingConfig
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    kind: Literal["autoencoder"] = "autoencoder"
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    format_version: int = FORMAT_VERSION
