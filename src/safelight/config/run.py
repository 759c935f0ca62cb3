"""All that a run is, as its `config.json` holds it."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from safelight.config.data import DataConfig, Fit
from safelight.config.network import NETWORK_CONFIGS, CustomNetwork, NetworkConfig
from safelight.config.reading import check, tagged
from safelight.config.task import TASK_CONFIGS, AutoencodeConfig, ClassifyConfig, CustomTask, TaskConfig
from safelight.config.training import TrainingConfig

__all__ = ["FORMAT_VERSION", "RunConfig", "default_task"]

FORMAT_VERSION = 2
OWN_PRIORS = {"deep-conv-vae": "flow"}  # of networks, where no other is asked for

_NETWORKS: Mapping[str, type[Any]] = ChainMap({"custom": CustomNetwork}, NETWORK_CONFIGS)
_TASKS: Mapping[str, type[Any]] = ChainMap({"custom": CustomTask}, TASK_CONFIGS)


@dataclass(frozen=True)
class RunConfig:
    """All that is needed to build a run's network again and to continue or repeat its training.

    Attributes:
        network: which network, and its settings
        image: size and range of the images
        data: where the images came from
        training: how the network was trained
        task: what it was trained for
        notes: why settings that nobody named are what they are
        kind: what the folder holds
        versions: of safelight, torch, NumPy and Python, when the run was made
        command: the command that made the run
        format_version: of the run folder
    """

    network: NetworkConfig = field(metadata=tagged(_NETWORKS))
    image: Fit
    data: DataConfig
    training: TrainingConfig
    task: TaskConfig = field(default_factory=AutoencodeConfig, metadata=tagged(_TASKS))
    notes: tuple[str, ...] = ()
    kind: Literal["run"] = "run"
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        task = self.task
        if isinstance(task, AutoencodeConfig) and not self.network.is_variational:
            for name, none in (("beta", 1), ("beta_warmup", 0)):
                value = getattr(task, name)
                check(value == none, name, f"{none} with codes that are points, which have no KL", value)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the classes are called that the network tells apart; None where it tells none apart."""
        return self.task.class_names if isinstance(self.task, ClassifyConfig) else None


def default_task(name: str, network: str) -> Any:
    """The settings of a task where nothing else is said: the default network learns a prior along.

    Args:
        name: of the task.
        network: the network's name.

    Example:
        >>> default_task("autoencode", "deep-conv-vae").prior, default_task("autoencode", "conv-vae").prior
        ('flow', 'normal')
    """
    task = TASK_CONFIGS[name](name=name)
    if isinstance(task, AutoencodeConfig):
        return replace(task, prior=OWN_PRIORS.get(network, task.prior))
    return task
