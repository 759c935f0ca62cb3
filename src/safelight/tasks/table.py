"""The one table from names to tasks."""

from __future__ import annotations

from collections.abc import Callable

from safelight.config.run import RunConfig
from safelight.tasks.autoencode import Autoencode
from safelight.tasks.base import Task
from safelight.tasks.classify import Classify
from safelight.tasks.denoise import Denoise

__all__ = ["TASKS", "make_task"]

TASKS: dict[str, Callable[[RunConfig], Task]] = {
    "autoencode": Autoencode,
    "denoise": Denoise,
    "classify": Classify,
}


def make_task(config: RunConfig) -> Task:
    """The task that a run's settings name; not for a user's own."""
    return TASKS[config.task.name](config)
