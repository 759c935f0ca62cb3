import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import safelight
from safelight.data.images import ImageSet

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread only adds noise to the last bits and to the time."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # as a test that plays a worker may have left it


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return safelight.load("digits")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs `safelight` as a user would, in a folder of its own."""

    def run(*arguments: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            safelight_command(arguments), cwd=cwd, capture_output=True, text=True, timeout=240
        )

    return run


def safelight_command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "safelight", *map(str, arguments)]
