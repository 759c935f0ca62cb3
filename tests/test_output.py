"""What is measured is stored before it is printed, whoever reads."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import safelight_command

import safelight


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "vae"
    return safelight.train("digits", "conv-vae", folder, epochs=1, limit=60, threads=1)


def evaluated(run):
    return json.loads((run.path / "evaluation.json").read_text()).get("test")


@pytest.mark.parametrize(
    ("options", "key"),
    [(["--samples", "2"], "loss"), (["--json", "--samples", "2"], "loss"), (["--probe"], "probe")],
)
def test_a_reader_that_left_loses_no_measurement(options, key, run):
    (run.path / "evaluation.json").unlink(missing_ok=True)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        safelight_command(["evaluate", run.path, *options]), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
    assert key in evaluated(run)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_named_and_loses_nothing(unbuffered, run):
    (run.path / "evaluation.json").unlink(missing_ok=True)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            safelight_command(["evaluate", run.path, "--json", "--samples", "2"]),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (
        2,
        "safelight: the output: No space left on device; free some space\n",
    )
    assert evaluated(run)["iw_samples"] == 2


def test_what_cannot_be_stored_is_printed_all_the_same(run, command):
    (run.path / "evaluation.json").unlink(missing_ok=True)
    (run.path / "evaluation.json").mkdir()
    done = command("evaluate", run.path, "--samples", "2", "--json")
    (run.path / "evaluation.json").rmdir()
    assert done.returncode == 2
    assert "evaluation.json" in done.stderr
    assert json.loads(done.stdout)["iw_samples"] == 2


def test_a_comparison_is_drawn_before_it_is_printed(run, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["compare", run.path, run.path, "--out", tmp_path / "a.png"]
    subprocess.run(safelight_command(arguments), stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    assert (tmp_path / "a.png").exists()
