"""Real processes that die, hang and are orphaned; a real Dask and a real Ray cluster."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.training import TrainingConfig
from safelight.data.sources import load
from safelight.engines.executors import LocalExecutor, open_engine
from safelight.errors import ConfigError
from safelight.evolution.trial import Job, Material, evaluate


def die_until(folder: str, times: int) -> int:
    """Kill the own process the first few times; say how often it was tried."""
    tried = len(list(Path(folder).iterdir()))
    Path(folder, f"{tried}").touch()
    if tried < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tried + 1


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture(scope="module")
def material():
    splits = load("digits").split()
    return Material(splits.train, splits.validation)


@pytest.fixture
def job():
    training = TrainingConfig(epochs=1, lr=0.01)
    config = RunConfig(ConvVAEConfig(), Fit(8, 8, 1, (0, 16)), DataConfig(), training)
    return Job("trial", config, until=1)


def test_a_worker_that_dies_takes_down_only_its_own_trial(tmp_path):
    (tmp_path / "twice").mkdir()
    (tmp_path / "always").mkdir()
    with LocalExecutor(2) as executor:
        always = executor.submit(die_until, str(tmp_path / "always"), 99)
        twice = executor.submit(die_until, str(tmp_path / "twice"), 2)
        others = [executor.submit(pid_after, 0.05) for _ in range(6)]
        pids = {future.result() for future in others}
        assert 1 <= len(pids) <= 2
        for pid in pids:
            os.kill(pid, 0)  # none was taken down, nor was what it had done asked for again
        assert twice.result() == 3
        with pytest.raises(BrokenProcessPool):
            always.result()
        assert len(list((tmp_path / "always").iterdir())) == 3  # tried again at most twice
        assert executor.submit(pow, 2, 3).result() == 8


def test_each_worker_is_started_once():
    with LocalExecutor(2) as executor:
        pids = [future.result() for future in [executor.submit(pid_after, 0.1) for _ in range(8)]]
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    for pid in set(pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_die_with_a_parent_that_was_killed(tmp_path):
    script = (
        "import sys, os, time\n"
        "from safelight.engines.executors import LocalExecutor\n"
        "if __name__ == '__main__':\n"
        "    executor = LocalExecutor(2)\n"
        "    for future in [executor.submit(os.getpid) for _ in range(2)]:\n"
        "        print(future.result(), flush=True)\n"
        "    executor.submit(time.sleep, 600); executor.submit(time.sleep, 600)\n"
        "    print('ready', flush=True); time.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True
    )
    lines = []
    while not lines or lines[-1] != "ready":
        lines.append(parent.stdout.readline().strip())
    time.sleep(1)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    pids = {*lines[:-1], *children}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if is_running(pid)]


def is_running(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_trial_whose_time_is_up_says_so(material, job):
    from dataclasses import replace

    outcome = evaluate(material, replace(job, seconds=1e-6))
    assert outcome.loss is None
    assert outcome.failure == "took longer than 1e-06 s"


def test_a_trial_that_hangs_where_no_step_ends_is_killed(monkeypatch, job):
    from dataclasses import replace

    from safelight.engines import executors

    monkeypatch.setattr(executors, "GRACE", 0.5)
    with LocalExecutor(1) as executor:
        before = executor.submit(os.getpid).result()
        with pytest.raises(TimeoutError):
            executor.submit(sleep_through, replace(job, seconds=0.1)).result()
        assert executor.submit(os.getpid).result() != before


def sleep_through(job: Job) -> None:
    time.sleep(600)


@pytest.mark.parametrize("engine", ["local", "dask", "ray"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_every_engine_gives_the_same_bits(engine, material, job, tmp_path):
    here = evaluate(material, job)
    with open_engine(engine, material, 1, tmp_path / "images") as opened:
        opened.prepare()
        there = opened.submit(evaluate, job).result()
    assert there.loss == here.loss
    assert there.curve == here.curve
    assert there.parameters == here.parameters
    assert not (tmp_path / "images").exists()


def test_images_are_mapped_not_copied(material, tmp_path):
    material.save(tmp_path)
    mapped = Material.mapped(tmp_path, material.train.value_range)
    assert isinstance(mapped.train.pixels, np.memmap)
    assert np.array_equal(mapped.train.pixels, material.train.pixels)
    assert np.array_equal(mapped.validation.pixels, material.validation.pixels)


@pytest.mark.parametrize(
    ("engine", "address"),
    [("dask", "tcp://127.0.0.1:9"), ("dask", "nonsense"), ("ray", "ray://127.0.0.1:9"), ("ray", "nonsense")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_cluster_that_does_not_answer(engine, address, material):
    words = "Dask scheduler" if engine == "dask" else "Ray cluster"
    with pytest.raises(ConfigError, match=words), open_engine(engine, material, 1, Path(), address):
        pass
