"""Folders that others had a hand in: what is theirs stays, nothing outside is reached or shown raw."""

import copy
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import safelight
from safelight.command.main import main
from safelight.config.search import SearchConfig
from safelight.config.task import Sheet
from safelight.errors import ConfigError, RunError, SafelightError
from safelight.evolution.evolve import Search
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ledger import Ledger, trials_of
from safelight.evolution.record import SearchRecord, make_space
from safelight.evolution.trial import Material
from safelight.reporting.evaluation_charts import EVALUATION_CHARTS
from safelight.reporting.report import write_report
from safelight.runs.folder import CHARTS, RunFolder

SPACE = {"training.lr": Gene("log-float", 1e-4, 0.1)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "a"
    settings = {"channels": (4,), "hidden": 8, "latent": 2, "limit": 100, "threads": 1}
    made = safelight.train("digits", out=out, epochs=2, **settings)
    made.evaluate(samples=1)
    return made.path


@pytest.fixture(scope="module")
def search(run, tmp_path_factory):
    """A finished search as far as its files go, without any training."""
    folder = SearchFolder(tmp_path_factory.mktemp("search") / "b")
    folder.path.mkdir()
    record = SearchRecord(SearchConfig(population=4, generations=1), SPACE, RunFolder(run).read_config())
    folder.write_config(record)
    ledger = Ledger(folder.study, make_space(record), record.fingerprint())
    for i in range(4):
        ledger.ask({"training.lr": 0.01 * (i + 1)}, "known", ())
        ledger.tell(i, (float(i + 1),))
    folder.write_best(record.base)
    folder.write_finalists({"final-0-0": 1.0})
    values = {"training.lr": 0.01}
    row = {"trial": 0, "values": values, "search": 1.0, "validation": [1.0]}
    folder.write_result(values, [row], [1.0])
    return folder.path


def test_what_a_user_has_in_our_folders_stays(run, tmp_path):
    mine = tmp_path / "mine" / "state"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(RunError, match="holds other files"), RunFolder(tmp_path / "mine").create():
        pass
    theirs = shutil.copytree(run, tmp_path / "theirs")
    precious = [
        theirs / name
        for name in (
            "state/thesis.txt",
            "figures/plan.svg",
            "figures/epochs/me.jpg",
            "figures/poster.png",
            "figures/loss-for-the-thesis.png",
            "figures/holiday.gif",
            "figures/epochs/holiday-2024.png",
            "figures/evaluation/mine.png",
            "state/trial-1-mine.safetensors",
            "tensorboard/notes",
            ".mine.partial",
        )
    ]
    for path in precious:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years")
    with RunFolder(theirs).create(overwrite=True):
        left = {path for path in theirs.rglob("*") if path.is_file() and path.name != ".lock"}
    assert left == set(precious)


def test_overwrite_deletes_all_that_the_project_wrote(run, tmp_path):
    theirs = safelight.Run(shutil.copytree(run, tmp_path / "theirs"))
    theirs.report()
    theirs.folder.page.touch()  # as safelight explore makes it
    assert {path.name for path in theirs.folder.figures.glob("*.*")} >= {"samples.gif", "latent-2d-dark.png"}
    with theirs.folder.create(overwrite=True):
        left = [path.name for path in theirs.path.rglob("*") if path.is_file()]
    assert left == [".lock"]


def test_a_search_leaves_what_is_a_users(search, tmp_path):
    theirs = Search(shutil.copytree(search, tmp_path / "theirs"))
    theirs.report()
    (theirs.folder.figures / "poster.png").write_text("years")
    with theirs.folder.create(overwrite=True):
        left = {path.name for path in theirs.path.rglob("*") if path.is_file()}
    assert left == {".lock", "poster.png"}


def test_a_searchs_images_replace_nothing_of_a_users(tmp_path):
    images = safelight.load("digits", limit=20)
    precious, place = tmp_path / "precious.npy", tmp_path / "images"
    place.mkdir()
    for path in (precious, place / "mine.npy"):
        path.write_text("years")
    (place / "train.npy").symlink_to(precious)
    Material(images, images).save(place)
    assert np.array_equal(np.load(place / "train.npy"), images.pixels)
    Material.forget(place)
    assert [path.name for path in place.iterdir()] == ["mine.npy"]
    assert precious.read_text() == "years"


def test_the_folder_knows_every_chart_of_a_report():
    assert set(EVALUATION_CHARTS) <= set(CHARTS)


@pytest.mark.parametrize(
    "name",
    [
        "figures/examples.png",
        "figures",
        "figures/epochs",
        "history.jsonl",
        "evaluation.json",
        "config.json",
        "best.safetensors",
        "state",
    ],
)
def test_links_are_not_followed(run, name, tmp_path):
    """Neither read nor written through, also not where they lead to just what should be there."""
    folder = shutil.copytree(run, tmp_path / "linked")
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    before = {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*"))}
    with pytest.raises(RunError, match="is a link, which is not followed"):
        use(folder)
    assert {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*"))} == before


def use(folder: Path) -> None:
    linked = safelight.Run(folder)
    linked.folder.add_evaluation("test", *linked.measure(samples=0))
    write_report(linked.folder)
    safelight.resume(folder, epochs=3)


def test_a_pictures_name_cannot_leave_the_folder():
    with pytest.raises(ConfigError, match="a name of letters"):
        Sheet("../../harm", "Harm", "")


PRINTABLE = "".join(map(chr, range(32, 127))).replace("/", "")
NAMES = [PRINTABLE, "evo?x", "a#b%20c", " ", "new\nline", "🦊👩‍🚀", ":memory:", "file:x?mode=memory"]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"\xff\xfe")], ids=range(len(NAMES) + 1))
def test_a_folder_may_have_any_name(search, name, tmp_path):
    folder = SearchFolder(tmp_path / name)
    folder.path.mkdir()
    Ledger(folder.study, Space(SPACE), "print").ask({"training.lr": 0.01}, "known", ())
    assert [trial.values for trial in trials_of(folder.study)] == [{"training.lr": 0.01}]
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([name, "study.db"])


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\x1b]0;harm\x07")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
WHOLE = VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20) | st.just(b"[" * 50_000)


def places(value, way=()):
    """Where in a JSON value something could stand in another's place."""
    yield way
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*way, key))


def changed(content: bytes, way, new) -> bytes:
    """One value of a JSON file for another, or none."""
    whole = json.loads(content)
    if not way:
        return json.dumps(new).encode()
    at = whole
    for key in way[:-1]:
        at = at[key]
    if new == "nothing":
        del at[way[-1]]
    else:
        at[way[-1]] = new
    return json.dumps(whole).encode()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_or_hostile_file_is_told_in_one_line(run, search, tmp_path_factory, data):
    folder = data.draw(st.sampled_from([run, search]))
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl"))
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    if data.draw(st.booleans()):
        first, *rest = before.splitlines(keepends=True) if path.suffix == ".jsonl" else [before]
        way = data.draw(st.sampled_from(list(places(json.loads(first)))))
        content = (
            changed(first, way, data.draw(SCALARS | VALUES | st.just("nothing"))) + b"\n" + b"".join(rest)
        )
    else:
        content = data.draw(WHOLE)
    path.write_bytes(content)
    said = ""
    try:
        if folder == run:
            opened = safelight.Run(folder)
            assert opened.history is not None
            opened.folder.read_evaluation()
            write_report(opened.folder) if data.draw(st.integers(0, 9)) == 0 else None
        else:
            found = Search(folder)
            assert found.best is not None
            assert all(type(value) in (int, float, str) for value in found.values.values())
            assert all(type(loss) in (int, float) for loss in (*found.validation, *found.test))
            make_space(found.config)
            found.folder.read_finalists()
    except SafelightError as error:
        said = str(error)
    finally:
        path.write_bytes(before)
    assert "\n" not in said


def read(folder: Path) -> tuple[object, ...]:
    opened = safelight.Run(folder)
    return opened.history, opened.folder.read_evaluation()


def test_a_file_without_end_is_not_read(run):
    for name in ("history.jsonl", "evaluation.json", "config.json"):
        path = run / name
        before = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(1 << 30)  # takes no room
        try:
            with pytest.raises(RunError, match="MiB"):
                read(run)
        finally:
            path.write_bytes(before)


def test_the_numbers_arrive_on_any_terminal(run):
    """One that has few letters, a narrow one, and one whose standard error is closed."""
    done = subprocess.run(
        [sys.executable, "-m", "safelight", "evaluate", run],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "COLUMNS": "20"},
    )
    said = done.stdout.decode("cp1252")
    loss = safelight.Run(run).folder.read_evaluation()["test"]["loss"]
    assert f"{loss:.3f}" in said
    assert "\\u2225" in said or "\\u2016" in said or "\\u2212" in said


@pytest.mark.parametrize("options", [(), ("--json",), ("--probe",)])
def test_the_numbers_of_a_run_that_cannot_be_written_arrive(run, tmp_path, options):
    folder = shutil.copytree(run, tmp_path / "read-only")
    (folder / "evaluation.json").unlink()
    folder.chmod(0o555)
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "safelight", "evaluate", folder]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(r"\d\d\.\d\d", done.stdout)
    assert "Permission denied; check the permissions" in done.stderr
    assert "space" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_python_the_numbers_arrive_too(run, tmp_path):
    opened = safelight.Run(shutil.copytree(run, tmp_path / "a"))
    expected = opened.evaluate(samples=0)
    (opened.path / "evaluation.json").unlink()
    (opened.path / "evaluation.json").mkdir()
    with pytest.warns(UserWarning, match="the numbers are not kept: .*Is a directory; check what is there"):
        assert opened.evaluate(samples=0) == expected


def test_nothing_from_a_folder_orders_a_terminal_about(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "a\x1b]0;harm\x07")
    main(["evaluate", str(folder), "--split", "nowhere"])
    main(["evaluate", str(folder)])
    config = json.loads((folder / "config.json").read_text())
    config["network"]["name"] = "\x1b[31mharm"
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(folder)]) == 2
    shown = "".join(capsys.readouterr())
    assert "harm" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_the_command_works_in_a_thread(run, tmp_path, capsys):
    arguments = [
        "train",
        "digits",
        "--limit",
        "60",
        "--batch-size",
        "20",
        "--epochs",
        "1",
        "--network.channels",
        "4",
    ]
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(main, [*arguments, "--out", str(tmp_path / "a")]).result() == 0
    assert "Run folder" in capsys.readouterr().out


def test_a_page_shows_what_numbers_there_are(run):
    path = run / "evaluation.json"
    before, weights = path.read_bytes(), safelight.Run(run).weights
    names = ("loss", "kl", "n", "kl_per_dimension")
    for hostile in ([], {}, "\x1b[31m", 10**400, None, True):
        path.write_text(json.dumps({"test": dict.fromkeys(names, hostile) | {"weights": weights}}))
        assert "–" in write_report(RunFolder(run)).read_text()
    path.write_bytes(before)


def test_a_temporary_run_lives_as_long_as_anything_that_opens_it():
    path = safelight.train("digits", epochs=1, channels=(4,), limit=100, threads=1).path
    assert not path.exists()
    run = safelight.train("digits", epochs=1, channels=(4,), limit=100, threads=1)
    path, again, copied = run.path, safelight.resume(run.path, epochs=2), copy.deepcopy(run)
    del run
    gc.collect()
    assert len(again.history) == 2
    del again
    gc.collect()
    assert len(copied.history) == 2
    del copied
    gc.collect()
    assert not path.exists()


def test_evaluations_beside_each_other_are_all_kept(run, tmp_path):
    folder = RunFolder(shutil.copytree(run, tmp_path / "a"))
    splits = [f"split-{i}" for i in range(20)]
    found = {"loss": 1.0, "weights": safelight.Run(run).weights}
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda split: RunFolder(folder.path).add_evaluation(split, found), splits))
    assert folder.read_evaluation().keys() >= set(splits)
