"""What a search says is of all that it trained; what the machine did is no result."""

import contextlib
import re
import sqlite3
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool

import pytest

import safelight
from safelight.engines import executors
from safelight.engines.executors import Engine
from safelight.errors import Interrupted, RunError
from safelight.evolution.folder import SearchFolder
from safelight.evolution.report import write_search_report

SMALL = {"population": 3, "generations": 1, "limit": 60, "limit_validation": 20, "seed": 3}


class Here(Executor):
    """Runs jobs in this process; those whose names it is told lose their worker, or their key."""

    def __init__(self, dying=(), failing=()):
        self.dying, self.failing, self.names = tuple(dying), tuple(failing), []

    def submit(self, fn, material, job):
        self.names.append(job.name)
        future = Future()
        if any(re.fullmatch(pattern, job.name) for pattern in self.dying):
            future.set_exception(BrokenProcessPool("killed"))
        elif any(re.fullmatch(pattern, job.name) for pattern in self.failing):
            future.set_result(fn(None, job))  # an error in a trial: there are no images
        else:
            future.set_result(fn(material, job))
        return future


@pytest.fixture
def here(monkeypatch):
    """Puts searches into this process, and gives what ran there."""

    def use(**faults):
        executor = Here(**faults)

        @contextlib.contextmanager
        def opened(material, workers, place, address):
            yield Engine(executor, material, 1)

        monkeypatch.setitem(executors.ENGINES, "local", opened)
        return executor

    return use


def search(out, **changes):
    return safelight.evolve("digits", "conv-vae", out, **(SMALL | changes))


def test_a_result_goes_before_anything_new_is_trained(here, tmp_path):
    here()
    found = search(tmp_path / "a")
    assert found.test
    seen = []
    with pytest.raises(Interrupted):
        safelight.resume_evolution(
            tmp_path / "a", 2, on_status=seen.append, is_stopped=lambda: bool(seen) and seen[-1].done > 3
        )
    stopped = safelight.open(tmp_path / "a")
    assert (stopped.values, stopped.validation, stopped.test) == ({}, [], [])
    page = write_search_report(SearchFolder(tmp_path / "a")).read_text()
    assert re.search(r"Only \d of 6 trials are finished", page)
    assert "winner's test loss" not in page
    assert "measured on the test images" not in page
    best = min((t for t in stopped.trials if t.fitness), key=lambda t: (t.fitness, t.number))
    assert stopped.best["training"]["lr"] == best.values["training.lr"]


def test_no_training_is_measured_twice_on_the_test_images(here, tmp_path, monkeypatch):
    here()
    found = search(tmp_path / "a")
    page = write_search_report(found.folder).read_text()
    assert "only it was measured on the test images, once" in page
    before = found.folder.read_result()
    measured = found.folder.read_tested()
    assert list(measured.values()) == found.test
    monkeypatch.setattr("safelight.evolution.evolve.assemble", None)  # so nothing can be measured
    again = safelight.resume_evolution(tmp_path / "a")
    assert again.folder.read_result() == before
    monkeypatch.undo()
    here()
    for generations in range(2, 6):
        more = safelight.resume_evolution(tmp_path / "a", generations)
        if len(more.folder.read_tested()) > len(measured):
            break
    winners = {name.split("-")[1] for name in more.folder.read_tested()}
    page = write_search_report(more.folder).read_text()
    assert len(winners) == 2
    assert "measured on the test images, as were 1 that had won before the search went on" in page


def test_the_best_settings_stay_the_winners_when_nothing_is_new(here, tmp_path):
    here()
    found = search(tmp_path / "a", population=4)
    best, seen = found.best, []
    safelight.resume_evolution(tmp_path / "a", on_status=lambda status: seen.append(found.folder.read_best()))
    assert seen
    assert all(content == best for content in seen)


def test_finalists_that_the_machine_failed_are_no_result(here, tmp_path):
    here(dying=["final-.*"])
    with pytest.raises(RunError, match=r"all 9 .*finalists failed, .*its worker died .*evolve --resume"):
        search(tmp_path / "a")
    assert not (tmp_path / "a" / "result.json").exists()
    executor = here()
    found = safelight.resume_evolution(tmp_path / "a")
    assert [name for name in executor.names if name.startswith("final")] == executor.names
    assert len(found.validation) == 3 == len(found.test)
    assert found.notes == []


def test_one_of_three_that_failed_is_said_and_tried_again(here, tmp_path):
    here(dying=["final-0-1"])
    found = search(tmp_path / "a")
    assert found.notes[0].startswith("1 of 3 trainings of finalist 0 failed: its worker died (BrokenPro")
    assert found.notes[1] == f"to try again: safelight evolve --resume {tmp_path / 'a'}"
    assert "1 of 3 trainings of finalist 0 failed: its worker died" in found.report().read_text()
    assert found.finalists[-1]["trial"] == 0  # of those that have all their losses the best wins
    executor = here()
    again = safelight.resume_evolution(tmp_path / "a")
    assert executor.names == ["final-0-1"]
    assert again.notes == []


def test_a_trial_that_the_machine_failed_is_trained_when_the_search_goes_on(here, tmp_path):
    here()
    whole = search(tmp_path / "whole")
    here(dying=["trial-1"], failing=["trial-2"])
    found = search(tmp_path / "a")
    failures = {trial.number: trial.failure for trial in found.trials}
    assert failures == {
        0: None,
        1: "its worker died (BrokenProcessPool: killed)",
        2: "AttributeError: 'NoneType' object has no attribute 'train'",  # its message too
    }
    assert [note.split(":")[0] for note in found.notes] == [
        *("trial 1 was not judged", "trial 2 was not judged", "to try again"),
    ]
    assert "Only 1 of 3 trials are finished, as for trial 1 its worker died" in found.report().read_text()
    here()
    again = safelight.resume_evolution(tmp_path / "a")
    assert [trial.losses for trial in again.trials] == [trial.losses for trial in whole.trials]
    assert again.validation == whole.validation


def test_finalists_are_counted_and_their_time_is_left(here, tmp_path):
    here()
    seen = []
    search(tmp_path / "a", population=2, epochs=1, on_status=seen.append)
    assert [status.finals for status in seen if status.finals] == [(i, 6) for i in range(7)]
    last_of_search = [status for status in seen if not status.finals][-1]
    assert last_of_search.done == last_of_search.planned
    # Two finalists are trained from three seeds each.
    assert last_of_search.seconds_left == pytest.approx(6 * 3600 / last_of_search.trials_an_hour, rel=0.01)
    assert seen[-1].seconds_left == 0


@pytest.mark.parametrize("tables", [None, 0, 2, 99])
def test_a_search_killed_in_its_first_second_is_reported_and_extended(tables, here, tmp_path):
    """Of its study there is nothing, an empty file, or tables without a row."""
    here()
    found = search(tmp_path / "a", generations=1, population=2)
    with contextlib.closing(sqlite3.connect(found.folder.study)) as study:
        made = study.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND sql NOT NULL").fetchall()
    for path in (*found.path.glob("*.json"), *found.path.glob("state/*"), found.folder.study):
        if path.name != "config.json":
            path.unlink()
    if tables is not None:
        with contextlib.closing(sqlite3.connect(found.folder.study)) as study:
            for (statement,) in made[:tables]:
                study.execute(statement)
    assert safelight.open(found.path).trials == []
    with pytest.raises(RunError, match=r"got none of 0; continue the search with safelight evolve --resume"):
        safelight.open(found.path).report()
    assert len(safelight.resume_evolution(found.path, 2).trials) == 4
