"""`finetune`, `classify`, `suggest` and `evaluate --probe` as people type them."""

import csv
import json

import numpy as np
import pytest

import safelight
from safelight.command.main import main

SMALL = ("--threads", "1", "--epochs", "2", "--batch-size", "64")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    safelight.train("digits", out=folder / "first", epochs=2, threads=1)
    return folder


def test_from_labels_to_predictions(command, folders, digits):
    made = command(
        *("finetune", "first", "digits", "--labels-per-class", "5", "--out", "tuned", *SMALL), cwd=folders
    )
    assert made.returncode == 0, made.stderr
    assert "Labels:     50 of 10 classes, 5 to 5 of each" in made.stdout
    assert "epoch   2  train" in made.stderr
    measured = command("evaluate", "tuned", cwd=folders)
    assert "accuracy" in measured.stdout
    done = command("classify", "tuned", "digits", "--out", "p.csv", "--min-probability", "0.5", cwd=folders)
    assert done.returncode == 0, done.stderr
    with (folders / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(digits)
    for row in rows:
        probabilities = [float(row[name]) for name in "0123456789"]
        likeliest = str(int(np.argmax(probabilities)))
        assert row["label"] == (likeliest if max(probabilities) >= 0.5 else "")
    empty = sum(not row["label"] for row in rows)
    assert f"{empty}  less probable than 0.5" in done.stdout
    assert command("classify", "tuned", "digits", "--out", "p.npy", cwd=folders).returncode == 0
    assert np.load(folders / "p.npy").shape == (len(digits), 10)


def test_suggest_then_finetune_on_what_was_filled_in(command, folders, digits):
    assert command("suggest", "first", "digits", "-n", "30", "--out", "l.csv", cwd=folders).returncode == 0
    unfilled = command("finetune", "first", "digits", "--labels", "l.csv", "--out", "x", cwd=folders)
    assert unfilled.returncode == 2
    assert "expected labels of at least two classes, got no label at all" in unfilled.stderr
    lines = (folders / "l.csv").read_text().splitlines()
    filled = [lines[0]] + [line + "ab"[int(digits.labels[int(line[:-1])]) % 2] for line in lines[1:]]
    (folders / "l.csv").write_text("\n".join(filled))
    made = command(
        *("finetune", "first", "digits", "--labels", "l.csv", "--out", "mine", "--validation", "0", *SMALL),
        cwd=folders,
    )
    assert made.returncode == 0, made.stderr
    assert safelight.Run(folders / "mine").classify(digits).classes == ("a", "b")


def test_probe(command, folders):
    done = command("evaluate", "first", "--probe", "--json", cwd=folders)
    judged = json.loads(done.stdout)
    assert judged["linear"] > 60
    kept = json.loads((folders / "first" / "evaluation.json").read_text())
    assert kept["test"]["probe"] == judged
    assert "logistic regression" in command("evaluate", "first", "--probe", cwd=folders).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetune", "first"), "finetune: expected a run and images, such as runs/first mnist"),
        (("finetune", "first", "digits"), "expected --out"),
        (("finetune", "--resume", "first", "--lr", "1"), "--resume goes on as the run began; drop --lr"),
        (("classify", "first", "digits", "--out", "p.csv"), "a run to autoencode tells no classes"),
        (
            ("classify", "first", "digits", "--out", "p.csv", "--min-probability", "2"),
            "expected 0 to 1, got 2",
        ),
        (("suggest", "first", "digits", "-n", "0", "--out", "l.csv"), "count: expected from 1 to 1797"),
    ],
)
def test_mistakes(command, folders, words, message):
    done = command(*words, cwd=folders)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "name"),
    [(("suggest", "first", "digits", "-n", "3"), "l.csv"), (("compare", "first", "first"), "c.png")],
)
def test_what_was_filled_in_is_not_written_over(folders, tmp_path, monkeypatch, capsys, verb, name):
    monkeypatch.chdir(folders)
    out = tmp_path / name
    out.write_text("filename,label\n1,a day's work\n")
    for before in (verb, ("classify", "first", "digits")):
        assert main([*before, "--out", str(out)]) == 2
        assert "is there already; replace it with --overwrite" in capsys.readouterr().err or name == "c.png"
    assert "a day's work" in out.read_text()
    assert main([*verb, "--out", str(out), "--overwrite"]) == 0
    assert b"a day's work" not in out.read_bytes()
