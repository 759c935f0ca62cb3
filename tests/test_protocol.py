"""Searches for long trainings: a law chooses them; losses are functions of settings."""

import itertools
import json
import math
import shutil
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from scipy.stats import spearmanr

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.engines.executors import Engine
from safelight.errors import ConfigError, Interrupted, RunError
from safelight.evolution.evolve import resume_evolution
from safelight.evolution.folder import SearchFolder
from safelight.evolution.foresight import Foresight, relative_cost
from safelight.evolution.genes import hyper_genes
from safelight.evolution.genome import Gene
from safelight.evolution.ledger import Ledger, table_hash, trials_of
from safelight.evolution.record import SearchRecord, check_space, make_space
from safelight.evolution.report import write_search_report
from safelight.evolution.search import run_search
from safelight.evolution.trial import Outcome
from safelight.runs.training import learning_rate

BASE = RunConfig(ConvVAEConfig(), Fit(28, 28, 1), DataConfig(), TrainingConfig())
SMALL = {"population": 12, "for_epochs": 10, "budget": 110}  # at least 24 + 18 + 50


@pytest.fixture(autouse=True)
def no_waiting():
    """A database costs nothing to write: what is asked is the same."""
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", forget_safety)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", forget_safety)


def forget_safety(connection, _):
    connection.execute("PRAGMA synchronous = OFF")


class Learner(Executor):
    """Learns as networks do: by its rates, less the noise that the last of them leave."""

    def __init__(self):
        self.jobs = []

    def submit(self, fn, material, job):
        self.jobs.append(job)
        future = Future()
        future.set_result(self.outcome(job))
        return future

    def outcome(self, job):
        before = int(job.packed or 0)
        loss = self.loss(job.config.training, max(before + 1, job.until))
        if loss is None:
            return Outcome(failure="diverged")
        packed = str(max(before + 1, job.until)).encode() if job.keep else None
        return Outcome(loss, 10, 0.1, (), None, packed)

    def loss(self, training, epochs):
        return self.known(training, epochs) + training.seed % 97 / 500

    def known(self, training, epochs):
        steps = 50 * training.epochs
        rates = [learning_rate(training, step, steps) for step in range(50 * epochs)]
        batch = training.images_a_step(10_000)
        progress = sum(rates) / batch * 100
        noise = np.mean(rates[-max(1, len(rates) // 10) :]) / math.sqrt(batch)
        return 95 + 7 * (progress + 0.05) ** -0.5 + 2500 * noise + 30 * training.lr


class Fickle(Learner):
    """What comes of its longer trainings has nothing to do with what came of short ones."""

    def known(self, training, epochs):
        own = super().known(training, epochs)
        return own if training.epochs == 1 else 200 - own + training.epochs


class Collapsing(Learner):
    """All trainings diverge."""

    def loss(self, training, epochs):
        return None


class Failing(Learner):
    """All but short trainings diverge."""

    def loss(self, training, epochs):
        return super().loss(training, epochs) if training.epochs == 1 else None


def record(genes=None, **changes):
    return SearchRecord(SearchConfig(**(SMALL | changes)), genes or hyper_genes(), BASE)


def run(folder, wanted, executor=None, workers=1, **more):
    found = SearchFolder(folder)
    (folder / "state").mkdir(parents=True, exist_ok=True)
    found.write_config(wanted)
    return run_search(found, wanted, Engine(executor or Learner(), None, workers), **more)


def rows_of(folder):
    return trials_of(folder / "study.db")


def hash_of(folder):
    return table_hash(rows_of(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search to its end: its folder and finalists."""
    folder = tmp_path_factory.mktemp("protocol") / "whole"
    return folder, run(folder, record())


def test_what_is_trained_and_for_how_long(whole):
    folder, finalists = whole
    rows = rows_of(folder)
    schedules = [row.schedule for row in rows]
    assert schedules[:30] == [None] * 24 + [3] * 6
    assert set(schedules[30:]) == {10}
    assert 3 <= len(schedules[30:]) <= 5
    assert all(row.losses.keys() == {row.schedule or 1} for row in rows)
    assert all((row.forecast is None) == (row.schedule is None) for row in rows)
    assert all(row.parents for row in rows if row.forecast)  # a family to show
    assert len({json.dumps([row.values, row.schedule]) for row in rows}) == len(rows)
    again = [f.number for f in finalists if len(f.losses) > 1]
    assert len(again) == 2
    assert Foresight.of(record(), rows, again).spent <= 110
    best = SearchFolder(folder).read_best()["training"]
    assert (best["epochs"], best["lr"]) == (10, finalists[0].values["training.lr"])


def test_the_winner_is_the_least_mean_of_the_best_two(whole):
    folder, finalists = whole
    long = sorted((row for row in rows_of(folder) if row.schedule == 10), key=lambda row: row.rank_by)
    assert {f.number for f in finalists[:2]} == {row.number for row in long[:2]}
    assert [len(f.losses) for f in finalists] == [2, 2] + [1] * (len(long) - 2)
    assert np.mean(finalists[0].losses) <= np.mean(finalists[1].losses)
    for finalist in finalists:
        for loss, (name, config) in zip(finalist.losses, finalist.trainings.items(), strict=True):
            assert config.training.epochs == 10
            assert loss == Learner().loss(config.training, 10)
            assert SearchFolder(folder).checkpoint(name).exists()  # it can be measured


def test_it_finds_what_short_trials_do_not(whole):
    """110 units, 11 long trainings' worth, find what is among the best fiftieth of 1,500 long trainings."""
    folder, finalists = whole
    space = make_space(record())
    rng = np.random.default_rng(0)

    def known(values):
        training = {name.removeprefix("training."): value for name, value in values.items()}
        return Learner().known(TrainingConfig(epochs=10, **training), 10)

    others = [known(space.decode(tuple(rng.random(len(space))))) for _ in range(1500)]
    short = min((row for row in rows_of(folder) if row.schedule is None), key=lambda row: row.rank_by)
    assert known(finalists[0].values) < np.quantile(others, 0.02)
    assert known(finalists[0].values) < known(short.values)


def test_forecasts_come_true(whole):
    folder, _ = whole
    foresight = Foresight.of(record(), rows_of(folder))
    told = [row.forecast[2] for row in foresight.middle]
    came = [row.losses[3] for row in foresight.middle]
    assert foresight.correlation == pytest.approx(spearmanr(told, came)[0])
    assert foresight.correlation >= 0.5
    assert not foresight.halved
    assert f"rank correlation of {foresight.correlation:.2f}" in foresight.verdict(record())
    errors = [abs(row.forecast[0] - row.losses[10]) for row in foresight.long]
    assert max(errors) < 3


def test_finalists_are_not_all_of_one_kind(whole):
    folder, _ = whole
    first = [row.values for row in rows_of(folder) if row.schedule == 10][:3]
    differ = [
        abs(relative_cost(record(), a) / relative_cost(record(), b) - 1) >= 0.1
        or a["training.decay"] != b["training.decay"]
        for a, b in itertools.combinations(first, 2)
    ]
    assert any(differ)


@pytest.mark.slow
def test_workers_and_kills_change_nothing(whole, tmp_path, monkeypatch):
    """Before each kind of write of each stage the folder is kept as a kill leaves it, and goes on."""
    expected, seen = whole[1], set()

    def keep(kind):
        rows = rows_of(tmp_path / "a") if (tmp_path / "a" / "study.db").exists() else []
        stage = (kind, rows[-1].schedule if rows else 0, sum(row.schedule == 10 for row in rows))
        if stage not in seen:
            seen.add(stage)
            shutil.copytree(tmp_path / "a", tmp_path / f"killed-{len(seen):02}")

    with monkeypatch.context() as patched:
        for owner, name in (
            *((Ledger, name) for name in ("begin", "ask", "report", "tell")),
            *((SearchFolder, name) for name in ("write_checkpoint", "write_best", "write_finalists")),
        ):
            watch(patched, owner, name, keep)
        assert run(tmp_path / "a", record(), workers=4) == expected
    assert hash_of(tmp_path / "a") == hash_of(whole[0])
    killed = sorted(tmp_path.glob("killed-*"))
    assert len(killed) > 20
    for folder in killed[::4]:  # from the first write to the last; each takes as long as a search
        assert run(folder, record()) == expected
        assert hash_of(folder) == hash_of(whole[0])


def watch(patched, owner, name, keep):
    real = getattr(owner, name)

    def write(*arguments, **named):
        keep(name)
        return real(*arguments, **named)

    patched.setattr(owner, name, write)


def test_nothing_is_trained_twice(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "a")
    executor = Learner()
    assert run(tmp_path / "a", record(), executor) == whole[1]
    assert executor.jobs == []


@pytest.mark.parametrize("done", [27, 31])  # among the law's choices, and in the long trainings
def test_an_interrupted_search_goes_on_to_the_same(whole, tmp_path, done):
    statuses = []
    with pytest.raises(Interrupted, match="evolve --resume"):
        run(
            tmp_path,
            record(),
            on_status=statuses.append,
            is_stopped=lambda: statuses and statuses[-1].done >= done,
        )
    assert run(tmp_path, record()) == whole[1]
    assert {status.generations for status in statuses} == {4}
    assert statuses[-1].spent > 24


def test_a_law_that_does_not_hold_gives_way_to_halving(tmp_path):
    """The best so far on the long schedule, at each rung half of them; and it is said."""
    finalists = run(tmp_path, record(budget=140), Fickle())
    rows = rows_of(tmp_path)
    foresight = Foresight.of(record(), rows, [f.number for f in finalists if len(f.losses) > 1])
    assert foresight.correlation < 0.5
    assert len(foresight.middle) == 6
    assert not foresight.long
    assert foresight.spent <= 140
    words = foresight.verdict(record())
    assert "less than 0.5" in words
    assert "successive halving" in words
    reached = sorted(max(row.losses) for row in foresight.halved)
    assert len(reached) >= 4
    assert reached.count(10) >= 2
    for rung, following in itertools.pairwise((2, 3, 5, 10)):
        beyond = [row for row in foresight.halved if max(row.losses) > rung]
        stopped = [row.losses[rung] for row in foresight.halved if max(row.losses) == rung]
        assert all(row.losses[rung] <= min(stopped, default=math.inf) for row in beyond), following
    assert len(finalists[0].losses) == 2
    assert hash_of(tmp_path) == hash_of_another(tmp_path / "again", record(budget=140), Fickle())


def hash_of_another(folder, wanted, executor):
    run(folder, wanted, executor, workers=3)
    return hash_of(folder)


def test_genes_that_the_law_does_not_know_are_halved(tmp_path):
    genes = {"training.lr": hyper_genes()["training.lr"], "task.beta": Gene("float", 0.5, 2.0)}
    run(tmp_path, record(genes))
    foresight = Foresight.of(record(genes), rows_of(tmp_path))
    assert not foresight.middle
    assert foresight.halved
    assert foresight.verdict(record(genes)).startswith("the law of training knows nothing of task.beta, so")


def test_long_trainings_that_all_fail_are_said(tmp_path):
    with pytest.raises(RunError, match="all trainings of 10 epochs failed, the first for: diverged; narrow"):
        run(tmp_path, record(), Failing())


def test_short_trials_that_all_fail_are_said(tmp_path):
    """Nothing longer is trained, and nothing is written that looks like a result."""
    executor = Collapsing()
    with pytest.raises(RunError, match="all 24 trials failed"):
        run(tmp_path, record(), executor)
    assert {job.config.training.epochs for job in executor.jobs} == {1}
    assert not (tmp_path / "best.json").exists()
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 3, "for_epochs": 2}, "for_epochs: expected at least the epochs of a trial, 3, got 2"),
        (
            {"budget": 91},
            "budget: expected at least 92 epochs, for 24 trials of 1, 6 of 3, and 3 of 10 of wh",
        ),
        ({"objective": ("loss", "cost")}, "objective: expected loss alone with for_epochs, got loss,cost"),
        ({"rungs": (1, 3)}, "rungs: expected none with for_epochs"),
        ({"equal_cost": True}, "equal_cost: expected none with for_epochs"),
        ({"for_epochs": 0}, "for_epochs: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        SearchConfig(**(SMALL | changes))
    SearchConfig(**SMALL | {"budget": 92})  # the least that is said to do does


def test_a_space_without_a_rate_is_refused():
    wanted = record({"training.weight_decay": Gene("log-float", 1e-7, 1e-4)})
    with pytest.raises(ConfigError, match=r"space: expected training.lr among its genes with for_epochs"):
        check_space(wanted, make_space(wanted), 1000)


def test_a_small_search_of_real_trainings_says_what_it_foretold(command, tmp_path):
    out = tmp_path / "evo"
    small = "--population 8 --for-epochs 2 --budget 34 --limit 200 --limit-validation 100 --workers 1"
    done = command("evolve", "digits", "--model", "conv-vae", *small.split(), "--out", out)
    assert done.returncode == 0, done.stderr
    assert "of 34 epochs of the starting settings" in done.stdout
    assert "Law: " in done.stdout
    found = safelight.open(out)
    assert len(found.validation) == len(found.test) == 2
    assert found.foresight.spent <= 34
    with pytest.raises(RunError, match="was begun for trainings of 2 epochs at a budget of 34"):
        resume_evolution(out, 5)
    more = command("evolve", "--resume", out, "--for-epochs", "4")
    assert more.returncode == 2
    assert "--resume: expected its own for-epochs (2), got 4" in more.stderr


def test_the_page_shows_forecasts_and_outcomes(whole, tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(whole[0], folder)
    page = Path(write_search_report(SearchFolder(folder))).read_text()
    table = page.split('<table id="foretold">')[1].split("</table>")[0]
    for row in rows_of(folder):
        if row.forecast:
            assert f"{row.forecast[0]:.3f} ± {row.forecast[1]:.2f}" in table
            assert f"{row.rank_by[0]:.3f}" in table
    assert "orders them with a rank correlation of" in page
    assert (folder / "figures" / "forecast.png").exists()
