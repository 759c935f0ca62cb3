import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from browsing import browser, page_file, page_run, tab, visit  # noqa: F401

import safelight
from safelight.command.main import main
from safelight.data.images import ImageSet
from safelight.data.named_sets import NAMED_SETS, cache_folder

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures are kept in a folder of the tests' own; named sets in the user's, so none is fetched anew."""
    folder = tmp_path_factory.mktemp("cache")
    for name in NAMED_SETS:
        (real := cache_folder(name)).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(real)
    os.environ["SAFELIGHT_DATA"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread only adds noise to the last bits and to the time."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # as a test that plays a worker may have left it


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return safelight.load("digits")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `safelight` in a folder, without a process of its own, which would take seconds to start."""

    def run(*arguments: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


def safelight_command(arguments: Sequence[str | Path]) -> list[str]:
    """What starts `safelight` as a process of its own, as a user would."""
    return [sys.executable, "-m", "safelight", *map(str, arguments)]
