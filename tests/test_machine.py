"""Denormal numbers, threads and seeds: what holds inside a training, and that nothing of it stays."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading

import pytest
import ray.cloudpickle as ray_pickle
import torch
from torch import nn

from safelight.command.main import main
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.engines.executors import open_engine
from safelight.evolution.trial import Material
from safelight.machine import SPIN, compute_thread, cpu_threads, shorten_spinning
from safelight.networks.base import Autoencoder, Code
from safelight.networks.conv_vae import ConvVAE
from safelight.runs import training
from safelight.runs.training import fit
from safelight.tasks.objective import Bernoulli, NegativeELBO

SMALLEST = torch.finfo(torch.float32).tiny


def denormals_left(elements: int = 1 << 21) -> int:
    """How many elements of a large product that is below float32's normal range are not zero."""
    return int(((torch.full((elements,), 1e-20) * 1e-20) != 0).sum())


@pytest.fixture
def two_threads():
    with cpu_threads(2):
        denormals_left()  # the caller's own pool is there before
        yield


def test_the_callers_own_arithmetic_keeps_denormals(two_threads):
    assert denormals_left() == 1 << 21


def test_every_thread_of_the_compute_thread_takes_denormals_for_zero(two_threads):
    with compute_thread() as run:
        assert run(torch.get_num_threads) == 2
        assert run(denormals_left) == 0
    assert denormals_left() == 1 << 21


def test_a_process_without_denormals_computes_where_it_is(two_threads):
    """Handing each step to another thread costs a fifth of it."""
    with compute_thread() as run:
        assert run(threading.get_ident) != threading.get_ident()
    code = (
        "import threading, torch\n"
        "from safelight.machine import compute_thread, prepare_process\n"
        "prepare_process()\n"
        "with compute_thread() as run:\n"
        "    print(run(threading.get_ident) == threading.get_ident())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_training_computes_gradients_wherever_it_is_called(digits, mode, monkeypatch):
    inline = contextlib.nullcontext(lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(training, "compute_thread", lambda: inline)
    with mode():
        state = fit(
            HalfDead(), Batches(digits, 500, 0), NegativeELBO(Bernoulli()), TrainingConfig(epochs=1, lr=0.1)
        )
    assert state.network.logit.item() != pytest.approx(0.3)


def test_what_the_compute_thread_raises_arrives():
    with compute_thread() as run, pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


class Probe(NegativeELBO):
    """A loss that notes what denormal arithmetic gives where it is computed."""

    def __init__(self):
        super().__init__(Bernoulli())
        self.left = []

    def forward(self, *arguments, **options):
        self.left.append(denormals_left())
        return super().forward(*arguments, **options)


def test_training_computes_without_denormals_and_leaves_the_caller_as_it_was(digits, two_threads):
    loss = Probe()
    config = TrainingConfig(epochs=1, batch_size=500)
    fit(ConvVAE(digits.shape), Batches(digits, 500, 0), loss, config)
    assert loss.left == [0] * 4
    assert denormals_left() == 1 << 21


class HalfDead(Autoencoder):
    """Some weights do nothing, so that nothing but their decay moves them, ever more slowly."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.3))
        self.dead = nn.Parameter(torch.full((50,), 1e-28))

    def encode(self, x):
        return Code(x.new_zeros(len(x), 1), None)

    def decode(self, z):
        return (self.logit + 0 * self.dead.sum()).expand(len(z), 1, 8, 8)


def count_denormals(digits) -> int:
    """In weights and moments, after three epochs with a strong decay for weights so small."""
    config = TrainingConfig(epochs=3, batch_size=10, lr=0.02, decay="gamma", weight_decay=2e-7)
    state = fit(HalfDead(), Batches(digits, 10, 0), NegativeELBO(Bernoulli()), config)
    tensors = [t for t in state.pack().tensors.values() if t.is_floating_point()]
    assert state.epoch == 3
    return sum(int(((t != 0) & (t.abs() < SMALLEST)).sum()) for t in tensors)


def test_no_weight_and_no_moment_decays_into_denormals(digits, monkeypatch):
    assert count_denormals(digits) == 0
    inline = contextlib.nullcontext(lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(training, "compute_thread", lambda: inline)
    assert count_denormals(digits) > 0  # it does come to that


@dataclasses.dataclass(frozen=True)
class Question:
    """Asks a worker; stands where an executor expects a job."""

    seconds: float | None = None


def ask(material: Material, question: Question) -> int:
    splits = material.train
    loss = Probe()
    fit(ConvVAE(splits.shape), Batches(splits, 500, 0), loss, TrainingConfig(epochs=1, batch_size=500))
    return sum(loss.left)


@pytest.mark.parametrize(
    "engine",
    ["local", pytest.param("dask", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.slow)],
)
def test_the_workers_of_a_search_compute_without_denormals(digits, engine, tmp_path):
    splits = digits.split()
    material = Material(splits.train, splits.validation)
    if engine == "ray":  # whose workers cannot import the tests
        ray_pickle.register_pickle_by_value(sys.modules[__name__])
    with open_engine(engine, material, 1, tmp_path) as opened:
        assert opened.executor.submit(ask, material, Question()).result(120) == 0


@pytest.mark.parametrize("own", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"])
def test_what_the_user_said_of_waiting_threads_holds(monkeypatch, own):
    for name in ("OMP_WAIT_POLICY", *SPIN):
        monkeypatch.delenv(name, raising=False)
    shorten_spinning()
    assert {name: os.environ[name] for name in SPIN} == SPIN
    for name in SPIN:
        monkeypatch.delenv(name)
    monkeypatch.setenv(own, "7")
    shorten_spinning()
    assert os.environ[own] == "7"
    assert not (set(SPIN) - {own}) & set(os.environ)


def test_the_command_sets_up_its_own_process_and_no_other(monkeypatch, two_threads):
    for name in ("OMP_WAIT_POLICY", *SPIN):
        monkeypatch.delenv(name, raising=False)
    assert main(["data", "list"]) == 0
    assert denormals_left() == 1 << 21
    assert not set(SPIN) & set(os.environ)
    code = (
        "import os, sys\n"
        "from safelight.command.main import main\n"
        "sys.argv = ['safelight', 'data', 'list']\n"
        "main()\n"
        "import torch\n"
        "product = torch.full((1 << 21,), 1e-20) * 1e-20\n"
        "print(int((product != 0).sum()), os.environ['GOMP_SPINCOUNT'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"0 {SPIN['GOMP_SPINCOUNT']}"
