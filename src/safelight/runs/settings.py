"""Settings by their names, sorted into those of network, task and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.config.network import NETWORK_CONFIGS, NetworkConfig
from safelight.config.reading import did_you_mean, fields_of, from_dict, read_tagged, to_dict
from safelight.config.run import default_task
from safelight.config.task import TASK_CONFIGS, TaskConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

__all__ = ["read_settings"]


def read_settings(
    network: str | NetworkConfig, task: str | TaskConfig, settings: Mapping[str, Any]
) -> tuple[Any, Any, TrainingConfig]:
    """Divide keyword arguments into the settings of network, task and training.

    Args:
        network: a name of `NETWORK_CONFIGS`, or settings that are complete.
        task: a name of `TASK_CONFIGS`, or settings that are complete.
        settings: by the names of the fields.

    Returns:
        The three, all resolved.

    Raises:
        ConfigError: an unknown name, or a value that does not fit.

    Example:
        >>> network, task, training = read_settings("conv-vae", "autoencode", {"latent": 2, "beta": 4.0})
        >>> network.latent, task.beta, training.epochs
        (2, 4.0, 10)
    """
    known: dict[str, type[Any]] = {}
    for what, given, table in (("network", network, NETWORK_CONFIGS), ("task", task, TASK_CONFIGS)):
        if isinstance(given, str):
            if given not in table:
                raise ConfigError(f"unknown {what} {given!r}; {did_you_mean(given, table)}")
            known[what] = table[given]
    names = {what: [n for n in fields_of(cls) if n != "name"] for what, cls in known.items()}
    names["training"] = list(fields_of(TrainingConfig))
    for name in settings:
        if not any(name in of_part for of_part in names.values()):
            every = [name for of_part in names.values() for name in of_part]
            raise ConfigError(f"unknown setting {name!r}; {did_you_mean(name, every)}")

    def part(what: str) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name in names[what]}

    made: dict[str, Any] = {"network": network, "task": task}
    if isinstance(network, str):
        made["network"] = read_tagged(NETWORK_CONFIGS, part("network") | {"name": network}, "network")
    if isinstance(task, str):
        values = to_dict(default_task(task, made["network"].name)) | part("task")
        made["task"] = read_tagged(TASK_CONFIGS, values, "task")
    return made["network"], made["task"], from_dict(TrainingConfig, part("training"), "training")
