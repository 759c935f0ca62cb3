"""What a search asks, remembers and does again, without training: losses are a function of the settings."""

import contextlib
import dataclasses
import json
import math
import shutil
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import DeepConvConfig
from safelight.config.run import RunConfig
from safelight.config.search import ALGORITHMS, SearchConfig
from safelight.config.training import TrainingConfig
from safelight.engines.executors import Engine, WorkersLostError
from safelight.errors import ConfigError, DataError, RunError, SafelightError
from safelight.evolution import evolve
from safelight.evolution import search as searching
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genes import apply_genes, named_genes, report_genes
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ledger import Ledger, table_hash, trials_of
from safelight.evolution.record import SearchRecord, check_space, make_space
from safelight.evolution.search import run_search
from safelight.evolution.trial import Outcome, _Watch
from safelight.networks.conv_vae import ConvVAE

BASE = RunConfig(DeepConvConfig(), Fit(28, 28, 1), DataConfig(), TrainingConfig())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """A database costs nothing to write: what is asked is the same."""
    monkeypatch.setattr(searching, "FRESH_SEEDS", 2)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", forget_safety)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", forget_safety)


def forget_safety(connection, _):
    connection.execute("PRAGMA synchronous = OFF")


class Instant(Executor):
    """Answers as a worker would: it trains from a job's state on, for an epoch at least."""

    def submit(self, fn, material, job):
        future = Future()
        future.set_result(self.outcome(job))
        return future

    def outcome(self, job):
        epochs = max(int(job.packed or 0) + 1, job.until)
        loss = value_of(job.config) + 1 / epochs
        packed = str(epochs).encode() if job.keep else None
        return Outcome(loss, 10, 0.1, (loss,) * epochs, None, packed)


class Broken(Instant):
    """Cannot start a worker."""

    def submit(self, fn, material, job):
        future = Future()
        future.set_exception(WorkersLostError("no worker process can start"))
        return future


def value_of(config) -> float:
    return abs(math.log10(config.training.lr) + 2) + config.training.seed % 97 / 1000


def record(**settings) -> SearchRecord:
    return SearchRecord(
        SearchConfig(**({} if "rungs" in settings else {"epochs": 1}) | settings), report_genes(), BASE
    )


def run(folder: Path, wanted: SearchRecord, workers: int = 1, executor: Executor | None = None):
    found = SearchFolder(folder)
    (folder / "state").mkdir(parents=True, exist_ok=True)
    found.write_config(wanted)
    return run_search(found, wanted, Engine(executor or Instant(), None, workers))


def hash_of(folder: Path) -> str:
    return table_hash(trials_of(folder / "study.db"))


def test_finalists_of_a_longer_search_are_its_own(tmp_path):
    run(tmp_path / "a", record(population=4, generations=1))
    longer = run(tmp_path / "a", record(population=4, generations=3))
    assert longer == run(tmp_path / "b", record(population=4, generations=3))
    for finalist in longer:
        losses = [value_of(config) + 1 for config in finalist.trainings.values()]
        assert finalist.losses == pytest.approx(losses)


class Noting(Instant):
    """Keeps the jobs."""

    def __init__(self):
        super().__init__()
        self.jobs = []

    def outcome(self, job):
        self.jobs.append(job)
        return super().outcome(job)


def test_trials_of_equal_cost_have_epochs_of_their_own(tmp_path):
    """A small batch sweeps over the weights more often, so it gets fewer epochs for the same work."""
    executor = Noting()
    wanted = record(population=6, generations=2, epochs=20, equal_cost=True, objective=("loss", "cost"))
    found = run(tmp_path, wanted, executor=executor)
    parameters, flops = 1_691_369, 10_065_920  # of the default network

    def work(training):
        return training.epochs * (3 * flops + 200 * parameters / training.batch_size)

    base = 20 * (3 * flops + 200 * parameters / 64)
    trainings = {job.name: job.config.training for job in executor.jobs}
    assert len({training.epochs for training in trainings.values()}) > 3
    assert all(job.until == job.config.training.epochs for job in executor.jobs)
    for training in trainings.values():
        assert abs(work(training) - base) <= work(training) / training.epochs / 2
    for trial in trials_of(tmp_path / "study.db"):
        assert trial.fitness[1] == pytest.approx(work(trainings[f"trial-{trial.number}"]))
    best = SearchFolder(tmp_path).read_best()["training"]
    winner = trainings[f"trial-{found[0].number}"]
    assert (best["batch_size"], best["epochs"]) == (winner.batch_size, winner.epochs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_question_depends_on_the_number_of_workers(algorithm, tmp_path):
    wanted = record(population=3, generations=3, algorithm=algorithm)
    run(tmp_path / "1", record(population=3, generations=2, algorithm=algorithm), 2)
    for folder, workers in (("1", 1), ("4", 4)):  # the first goes on
        run(tmp_path / folder, wanted, workers)
    assert hash_of(tmp_path / "1") == hash_of(tmp_path / "4")
    assert len({json.dumps(t.values) for t in trials_of(tmp_path / "4" / "study.db")}) == 9


def test_a_kill_at_any_write_changes_nothing(tmp_path, monkeypatch):
    """Before each kind of write the folder is kept as a kill leaves it; each one goes on to the same."""
    wanted = record(population=2, generations=2, rungs=(1, 2))
    seen: dict[object, int] = {}

    def keep(kind):
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] == 1:
            shutil.copytree(tmp_path / "whole", tmp_path / f"killed-{sum(seen.values())}")

    def watched(owner, name, kind=lambda *arguments: None):
        real = getattr(owner, name)

        def write(*arguments, **named):
            keep((name, kind(*arguments)))
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, write)

    rung = lambda ledger, number, epochs, *_: epochs  # noqa: E731
    checkpoint = lambda folder, name, packed: name.partition("-")[0] + name[-2:]  # noqa: E731
    with monkeypatch.context() as monkeypatch:
        for owner, name, kind in (
            (Ledger, "begin", None), (Ledger, "ask", None), (Ledger, "report", rung),
            (Ledger, "note", None), (Ledger, "tell", None),
            (SearchFolder, "write_checkpoint", checkpoint), (SearchFolder, "write_best", None),
            (SearchFolder, "write_finalists", None), (Path, "unlink", None),
        ):  # fmt: skip
            watched(owner, name, kind or (lambda *arguments: None))
        expected = run(tmp_path / "whole", wanted)
    killed = sorted(tmp_path.glob("killed-*"))
    assert len(killed) > 8
    for folder in killed:
        assert run(folder, wanted) == expected
        assert hash_of(folder) == hash_of(tmp_path / "whole")
        assert not list((folder / "state").glob("trial-*"))


def test_workers_that_cannot_start_are_no_result(tmp_path):
    wanted = record(population=2, generations=1)
    with pytest.raises(RunError, match=r"no worker process can start.*evolve --resume"):
        run(tmp_path / "a", wanted, executor=Broken())
    assert not [t for t in trials_of(tmp_path / "a" / "study.db") if t.is_done]
    assert run(tmp_path / "a", wanted) == run(tmp_path / "b", wanted)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 25])
def test_checkpoints_are_the_same_moments_for_runs_of_any_length(steps):
    """Losses that fall with the share of the run that is done; only they are compared with others'."""
    watch = _Watch(type("Job", (), {"hopeless": (), "seconds": None}), steps, 0.0)
    state = type("State", (), {"epoch": 0, "totals": {"loss": 0.0}, "images": 0})
    for state.step in range(1, steps + 1):
        state.totals["loss"] += 1 - state.step / steps
        state.images += 1
        watch.stops(state, steps)
    assert len(watch.curve) == 10
    for i, loss in enumerate(watch.curve, 1):
        assert loss == pytest.approx(1 - i / 10, abs=max(0.1, 1 / steps))


def test_a_run_of_few_steps_is_never_hopeless():
    state = type("State", (), {"epoch": 0, "step": 1, "totals": {"loss": 9.0}, "images": 1})
    job = type("Job", (), {"hopeless": (1.0,) * 10, "seconds": None})
    assert not _Watch(job, 5, 0.0).stops(state, 5)
    assert _Watch(job, 10, 0.0).stops(state, 10)


CONTRADICTION = {
    "training.decay": Gene("categorical", choices=("linear", "gamma")),
    "training.gamma": Gene("float", 0.1, 0.9),
}


def test_genes_that_contradict_each_other_are_refused_before_anything_is_trained():
    wanted = SearchRecord(SearchConfig(), CONTRADICTION, BASE)
    with pytest.raises(ConfigError, match=r'space: training.decay linear: .*"when"'):
        check_space(wanted, make_space(wanted), 100)
    when = {"training.decay": ("gamma",)}  # as it advises
    mended = CONTRADICTION | {"training.gamma": Gene("float", 0.1, 0.9, when=when)}
    wanted = SearchRecord(SearchConfig(), mended, BASE)
    check_space(wanted, make_space(wanted), 100)


def test_batches_keep_to_the_images_there_are():
    for images in (2, 5, 50, 1000):
        wanted = SearchRecord(SearchConfig(), named_genes("hyper", BASE, images), BASE)
        check_space(wanted, make_space(wanted), images)
    with pytest.raises(ConfigError, match="batch_size: expected at most 50"):
        check_space(record(), Space(report_genes()), 50)


def test_genes_of_stages_count_by_their_numbers():
    swapped = {"network.channels.1": 16, "network.channels.0": 8}
    assert apply_genes(swapped, BASE).network.channels == (8, 16)
    assert apply_genes({"network.channels.1": 16}, BASE).network.channels == (32, 16)
    assert apply_genes({"network.stages": 3}, BASE).network.channels == (32, 64, 64)
    assert apply_genes({"network.kernels.1": 2}, BASE).network.kernels == (4, 2)


@pytest.fixture
def here(monkeypatch):
    """Trials really train, on a thread of this process; the folders that the images go to."""
    places = []

    @contextlib.contextmanager
    def opened(name, material, workers, place, address=None):
        with ThreadPoolExecutor(1) as executor:
            yield Engine(executor, material, 1, prepare=lambda: places.append(place))

    monkeypatch.setattr(evolve, "open_engine", opened)
    return places


def test_a_search_on_an_array_ends_and_goes_on_with_the_same(here, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    out = tmp_path / "a"
    found = safelight.evolve(pixels, "conv-vae", out, population=2, generations=1)
    assert len(found.test) == 2
    assert here == [out / "state" / "images"]  # where no cleaner of temporary files comes
    longer = evolve.resume_evolution(out, 2, pixels)
    assert len(longer.trials) == 4
    with pytest.raises(RunError, match="has 2 generations already"):
        evolve.resume_evolution(out, 1, pixels)
    with pytest.raises(DataError, match="differ from them"):
        evolve.resume_evolution(out, 3, pixels[:-1])


def test_a_search_takes_no_network_of_a_users_own(tmp_path):
    for network in (ConvVAE((1, 8, 8)), ConvVAE):
        with pytest.raises(ConfigError, match=r"network: a search takes names.*got a ConvVAE"):
            safelight.evolve("digits", network, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_script_without_a_guard_writes_nothing(tmp_path):
    script = "import safelight; safelight.evolve('digits', 'conv-vae', 'out', population=2, generations=1)"
    done = subprocess.run(
        [sys.executable, "-"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "__name__ == '__main__'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_batches_of_one_are_not_normalized_over():
    genes = {
        "training.batch_size": Gene("integer", 1, 8),
        "network.normalization": Gene("categorical", choices=("none", "batch")),
    }
    wanted = SearchRecord(SearchConfig(), genes, BASE)
    with pytest.raises(ConfigError, match="batch_size: expected at least 2 with a network"):
        check_space(wanted, make_space(wanted), 100)
    mended = genes | {"training.batch_size": Gene("integer", 2, 8)}
    wanted = SearchRecord(SearchConfig(), mended, BASE)
    check_space(wanted, make_space(wanted), 100)
    alone = {"network.normalization": genes["network.normalization"]}
    one = dataclasses.replace(BASE, training=TrainingConfig(batch_size=1))
    wanted = SearchRecord(SearchConfig(), alone, one)
    with pytest.raises(ConfigError, match="normalization batch: batch_size: expected at least 2"):
        check_space(wanted, make_space(wanted), 100)


@pytest.mark.parametrize(
    ("settings", "search", "words"),
    [
        (
            {"normalization": "batch", "batch_size": 1},
            {"space": "structure"},
            "trained on 1 images at a time",
        ),
        ({}, {"task": "classify", "network": "classifier"}, "expected images with labels, got none"),
        ({}, {"task": "denoise", "network": "classifier"}, "expected a network that gives"),
        ({}, {"task": "classify"}, "expected logits of classes"),
        ({"beta": 2.0}, {"network": "deep-conv-ae"}, "beta: expected 1 with codes that are points"),
        ({}, {"epochs": 5, "rungs": (1, 3)}, "epochs: expected those of the last rung, 3, or none, got 5"),
        ({}, {"max_parameters": 1000}, "max_parameters, max_flops: expected none where no gene"),
    ],
)
def test_a_search_whose_settings_do_not_go_together_is_refused(settings, search, words, tmp_path):
    images = np.zeros((60, 8, 8), np.uint8)
    with pytest.raises(SafelightError, match=words):
        safelight.evolve(images, out=tmp_path / "a", settings=settings, **search)
    assert not (tmp_path / "a").exists()


def test_a_search_on_few_images_has_batches_that_fit(here, tmp_path):
    few = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    found = safelight.evolve(few, out=tmp_path / "a", space="structure", population=2, generations=1)
    assert found.config.base.training.batch_size == 48
    assert all(trial.failure is None for trial in found.trials)
