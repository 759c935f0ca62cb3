"""Whole searches: the same table however they are run, and nothing lost or seen too early."""

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path

import numpy as np
import psutil
import pytest

import safelight
from safelight.command.start import Start
from safelight.errors import ConfigError, Interrupted, RunError
from safelight.evolution.folder import SearchFolder
from safelight.evolution.ledger import table_hash, trials_of
from safelight.evolution.record import make_space

SMALL = {"population": 6, "generations": 3, "epochs": 1, "seed": 4, "limit": 300}


def hash_of(folder) -> str:
    return table_hash(trials_of(Path(folder) / "study.db"))


def search(out, model="conv-vae", workers=1, **changes):
    return safelight.evolve("digits", model, out, workers=workers, **(SMALL | changes))


class Stop:
    """Says stop once so many trials are done."""

    def __init__(self, seen, done):
        self.seen, self.done = seen, done

    def __call__(self):
        return bool(self.seen) and self.seen[-1].done >= self.done


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return search(tmp_path_factory.mktemp("search") / "a", workers=2)


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_the_table_is_the_same_for_any_number_of_workers(workers, found, tmp_path):
    search(tmp_path / "a", workers=workers)
    assert hash_of(tmp_path / "a") == hash_of(found.path)


def test_a_seed_makes_a_search_of_its_own(found, tmp_path):
    other = search(tmp_path / "a", seed=5, generations=1).trials
    assert not [t for t in other[1:] if t.values in [f.values for f in found.trials]]


def test_nothing_is_evaluated_twice(found):
    trials = found.trials
    assert [t.number for t in trials] == list(range(18))
    assert len({json.dumps(t.values) for t in trials}) == 18
    assert all(t.is_done and t.losses.keys() == {1} for t in trials if t.fitness)


def test_the_winner_is_the_least_of_the_finalists(found):
    result = json.loads((found.path / "result.json").read_text())
    best = sorted(t.rank_by[0] for t in found.trials)[:3]
    assert sorted(f["search"] for f in result["finalists"]) == best
    means = [np.mean(f["validation"]) for f in result["finalists"]]
    assert means == sorted(means)
    assert found.validation == result["finalists"][0]["validation"]
    assert len(set(found.validation)) == 3  # seeds differ
    assert len(found.test) == 3
    assert np.mean(found.test) == pytest.approx(np.mean(found.validation), rel=0.1)


def test_the_best_settings_train(found, tmp_path):
    config = json.loads((found.path / "best.json").read_text())
    assert config["training"]["lr"] == found.values["training.lr"]
    assert config["training"]["decay"] == found.values["training.decay"]
    command = [sys.executable, "-m", "safelight", "train", "digits", "--config", found.path / "best.json"]
    subprocess.run([*command, "--epochs", "2", "--out", tmp_path / "best"], check=True)
    run = safelight.Run(tmp_path / "best")
    assert run.config.training.batch_size == found.values["training.batch_size"]
    assert len(run.history) == 2


def test_an_interrupted_search_goes_on_to_the_same_table(found, tmp_path):
    for finished in (1, 7):
        seen = []
        out = tmp_path / str(finished)
        with pytest.raises(Interrupted, match="evolve --resume"):
            search(out, on_status=seen.append, is_stopped=Stop(seen, finished))
        kept = [t for t in trials_of(out / "study.db") if t.is_done]
        assert finished <= len(kept) < 18
        safelight.resume_evolution(out, workers=1)
        assert hash_of(out) == hash_of(found.path)


@pytest.mark.slow
def test_more_generations_begin_with_those_there_are(found, tmp_path):
    search(tmp_path / "a", generations=2)
    before = trials_of(tmp_path / "a" / "study.db")
    safelight.resume_evolution(tmp_path / "a", generations=3)
    after = trials_of(tmp_path / "a" / "study.db")
    assert after[:12] == before  # to the second that they took
    assert hash_of(tmp_path / "a") == hash_of(found.path)


KILLED = """
import sys, safelight
if __name__ == "__main__":
    safelight.evolve("digits", "conv-vae", sys.argv[1], workers=2, **{settings})
"""


@pytest.mark.slow
def test_kills_change_nothing(found, tmp_path):
    """The coordinator at two moments, and a worker, by kill -9."""
    script = tmp_path / "evolve.py"
    script.write_text(KILLED.replace("{settings}", repr(SMALL)))
    for kill_at in (0, 8):
        out = tmp_path / str(kill_at)
        process = subprocess.Popen([sys.executable, script, out])
        wait_for(out, kill_at)
        workers = children_of(process.pid)
        process.kill()
        process.wait()
        time.sleep(3)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        safelight.resume_evolution(out)
        assert hash_of(out) == hash_of(found.path)
    out = tmp_path / "worker"
    process = subprocess.Popen([sys.executable, script, out])
    wait_for(out, 5)
    kill_a_worker(process.pid)
    assert process.wait(timeout=120) == 0
    assert hash_of(out) == hash_of(found.path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_loses_its_workers_and_nothing_else(engine, found, tmp_path):
    """Both workers of a cluster on this machine, one after the other, by kill -9."""
    script = tmp_path / "evolve.py"
    script.write_text(KILLED.replace("{settings}", repr(SMALL | {"engine": engine})))
    process = subprocess.Popen([sys.executable, script, tmp_path / "a"])
    killed = set()
    for done in (2, 8):
        wait_for(tmp_path / "a", done)
        killed.add(kill_a_worker(process.pid, but=killed))
    assert process.wait(timeout=180) == 0
    assert len(killed) == 2
    assert hash_of(tmp_path / "a") == hash_of(found.path)
    assert not [t for t in trials_of(tmp_path / "a" / "study.db") if t.failure]


@pytest.mark.slow
@pytest.mark.parametrize("size", [60_000, 120_000])
def test_a_full_disk_loses_nothing(size, found, tmp_path):
    """Files that may not grow stand for a disk that is full, while the study is made and in the middle."""
    script = tmp_path / "evolve.py"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    script.write_text(limit + KILLED.replace("{settings}", repr(SMALL)))
    done = subprocess.run([sys.executable, script, tmp_path / "a"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "RunError: " in done.stderr.splitlines()[-1]
    assert "cannot" in done.stderr.splitlines()[-1]
    safelight.resume_evolution(tmp_path / "a")
    assert hash_of(tmp_path / "a") == hash_of(found.path)


def kill_a_worker(pid: int, but: Container[int] = ()) -> int:
    """Kill one of the processes that a search trains in, as the system names them; its number."""
    names = ("spawn_main", "ray::evaluate", "ray::IDLE")
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(name in " ".join(process.cmdline()) for name in names) and process.pid not in but:
                process.kill()
                return process.pid
    raise AssertionError("no worker to kill")


def wait_for(out: Path, done: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "study.db").exists() and (out / "config.json").exists():
            try:
                if sum(t.is_done for t in trials_of(out / "study.db")) >= done:
                    return
            except RunError:
                pass  # its tables are being made
        time.sleep(0.02)
    raise AssertionError(f"no {done} trials within a minute")


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.slow
def test_the_search_cannot_open_the_test_images(tmp_path):
    """MNIST keeps its test images in files of their own; a search opens them after its last trial."""
    script = (
        "import os, sys, safelight\n"
        "opened = []\n"
        "hook = lambda event, given: opened.append(str(given[0])) if event == 'open' else None\n"
        "if __name__ == '__main__':\n"
        "    sys.addaudithook(hook)\n"
        "    def check(status):\n"
        "        assert not [name for name in opened if 't10k' in name], opened\n"
        "    safelight.evolve('mnist', 'conv-vae', sys.argv[1], workers=1, population=2, generations=1,\n"
        "        limit=300, limit_validation=100, on_status=check)\n"
        "    assert [name for name in opened if 'train-images' in name]\n"
        "    assert [name for name in opened if 't10k-images' in name]\n"
    )
    (tmp_path / "look.py").write_text(script)
    subprocess.run([sys.executable, tmp_path / "look.py", tmp_path / "a"], check=True)


def test_workers_get_no_test_images():
    from dataclasses import fields

    from safelight.evolution.trial import Material

    assert [f.name for f in fields(Material)] == ["train", "validation"]


@pytest.mark.slow
def test_rungs_train_the_better_ones_on(tmp_path):
    out = tmp_path / "rungs"
    search(out, population=6, generations=1, rungs=(1, 2, 4), epochs=4, settings={"lr": 0.003})
    trials = trials_of(out / "study.db")
    reached = [max(t.losses) for t in trials]
    assert sorted(reached) == [1, 1, 1, 2, 4, 4]  # the better half goes on, then the better half of these
    firsts = sorted((t.losses[1], max(t.losses)) for t in trials)
    assert [rung for _, rung in firsts][3:] == [1, 1, 1]
    assert all(t.fitness == (t.losses[max(t.losses)],) for t in trials)
    assert not list((out / "state").glob("trial-*"))
    whole = search(tmp_path / "whole", generations=1, epochs=4, settings={"lr": 0.003})
    by_number = {t.number: t for t in whole.trials}
    for trial in trials:
        if 4 in trial.losses:  # stopped and continued is the same as in one go
            assert trial.losses[4] == by_number[trial.number].losses[4]
            assert trial.curve == by_number[trial.number].curve


def test_structures_keep_their_bound(tmp_path):
    bound = {"space": "structure", "max_parameters": 20_000}
    found = search(tmp_path / "a", "deep-conv-vae", algorithm="truncation", generations=2, **bound)
    assert 0 < max(t.parameters for t in found.trials) <= 20_000
    assert len({t.values["network.stages"] for t in found.trials}) > 1
    assert found.values.keys() >= {"network.stages", "network.hidden", "network.activation"}


@pytest.mark.slow
def test_two_objectives_give_a_front(tmp_path):
    found = search(
        tmp_path / "a",
        "deep-conv-vae",
        space="structure",
        objective=("loss", "parameters"),
        generations=2,
    )
    fitnesses = [t.fitness for t in found.trials if t.fitness]
    assert all(len(f) == 2 for f in fitnesses)
    assert {t.parameters for t in found.trials if t.fitness} == {int(f[1]) for f in fitnesses}


@pytest.mark.slow
def test_hopeless_trials_stop_early(tmp_path):
    found = search(tmp_path / "a", stop_hopeless=True, epochs=3)
    stopped = [t for t in found.trials if t.failure and "hopeless" in t.failure]
    assert stopped
    assert all(t.number >= 6 and len(t.curve) < 10 for t in stopped)  # compared with finished generations
    search(tmp_path / "b", stop_hopeless=True, epochs=3, workers=1)
    assert hash_of(tmp_path / "a") == hash_of(tmp_path / "b")


def test_trials_that_diverge_rank_last(tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"training.lr": {"kind": "log-float", "low": 1e-3, "high": 1e30}}))
    found = search(tmp_path / "a", space=str(space), population=8)
    failed = [t for t in found.trials if t.failure]
    assert {t.failure for t in failed} == {"diverged"}
    assert all(t.rank_by == (math.inf,) for t in failed)
    parents = {p for t in found.trials for p in t.parents}
    assert parents
    assert not parents & {t.number for t in failed}


def test_a_search_of_failures_says_why(tmp_path):
    with pytest.raises(RunError, match="all 4 trials failed, the first for: took longer than 1e-06 s"):
        search(tmp_path / "a", population=2, generations=2, trial_timeout=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["truncation", "random", "nsga2", "tpe"])
def test_every_algorithm_searches(algorithm, tmp_path, found):
    other = search(tmp_path / "a", algorithm=algorithm, generations=2)
    trials = other.trials
    assert len(trials) == 12
    assert [t.values for t in trials[:6]] == [t.values for t in found.trials[:6]]  # the same start
    assert [t.fitness for t in trials[:6]] == [t.fitness for t in found.trials[:6]]


def test_another_searchs_record_is_refused(found, tmp_path):
    search(tmp_path / "a", generations=1)
    config = tmp_path / "a" / "config.json"
    values = json.loads(config.read_text())
    values["search"]["seed"] = 99
    config.write_text(json.dumps(values))
    with pytest.raises(RunError, match="got another search's"):
        safelight.resume_evolution(tmp_path / "a")
    values["search"]["seed"] = SMALL["seed"]
    values["versions"]["torch"] = "1.0"
    config.write_text(json.dumps(values))
    with pytest.raises(RunError, match="expected the versions it was begun with"):
        safelight.resume_evolution(tmp_path / "a")


def test_a_folder_in_use_is_refused(found, tmp_path):
    with pytest.raises(RunError, match="already holds a search"):
        search(found.path)
    advice = r"expected a run, but .* holds a search; see it with safelight report .*best\.json"
    with pytest.raises(RunError, match=advice):
        safelight.Run(found.path)
    with pytest.raises(RunError, match=r"expected a new or empty folder, but .* holds a search"):
        safelight.train("digits", out=found.path, epochs=1)
    with pytest.raises(ConfigError, match=r"expected run, got 'search'; of a search, give its best\.json"):
        Start.read("train", ["--config", str(found.path / "config.json")])
    assert Start.read("train", ["--config", str(found.path / "best.json")]).network.name == "conv-vae"


def test_the_default_is_among_the_first(found):
    first = found.trials[0]
    assert first.origin == "known"
    assert first.values["training.batch_size"] == safelight.TrainingConfig().images_a_step(1437)
    assert len(make_space(SearchFolder(found.path).read_config())) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"population": 1}, "population: expected at least 2, got 1"),
        ({"engine": "dsk"}, "did you mean 'dask'"),
        ({"address": "tcp://x:1"}, "--address: expected with --engine dask or ray"),
        ({"rungs": (3, 1)}, "rungs: expected growing numbers"),
        ({"objective": ("size",)}, "objective: expected loss, or loss,parameters or loss,flops or loss,cost"),
        ({"rungs": (1, 3), "epochs": 3, "equal_cost": True}, "rungs: expected none with equal_cost"),
        ({"space": "structure"}, "conv-vae has one structure"),
        ({"workers": 0}, "--workers: expected at least 1"),
        ({"generatons": 3}, "unknown key 'generatons'; did you mean 'generations'"),
    ],
)
def test_bad_input_leaves_no_folder(changes, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        search(tmp_path / "a", **changes)
    assert not (tmp_path / "a").exists()
