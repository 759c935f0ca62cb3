"""`finetune`, `classify`, `suggest` and `evaluate --probe` as people type them."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import safelight
from safelight.command.main import main
from safelight.latent.parquet import read_codes

SMALL = ("--threads", "1", "--epochs", "2", "--batch-size", "64")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    plain = {"likelihood": "bernoulli", "batch_size": 64, "prior": "normal"}
    safelight.train("digits", out=folder / "first", epochs=2, threads=1, **plain)
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
    suggested = command("suggest", "first", "digits", "-n", "30", "--out", "l.csv", cwd=folders)
    assert suggested.returncode == 0
    assert "safelight finetune first digits --labels l.csv --out RUN" in " ".join(suggested.stdout.split())
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
        (("finetune",), "finetune: expected a run to start from, such as runs/first"),
        (("finetune", "first", "digits"), "expected --out"),
        (("finetune", "--resume", "first", "--lr", "1"), "--resume goes on as the run began; drop --lr"),
        (("classify", "first", "digits", "--out", "new.csv"), "a run to autoencode tells no classes"),
        (
            ("classify", "first", "digits", "--out", "new.csv", "--min-probability", "2"),
            "expected 0 to 1, got 2",
        ),
        (("suggest", "first", "digits", "-n", "0", "--out", "new.csv"), "count: expected from 1 to 1437"),
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
        is_its_kind = before == verb or name == "l.csv"
        expected = "is there already; replace it with" if is_its_kind else "expected a name ending in .csv"
        assert expected in capsys.readouterr().err
    assert "a day's work" in out.read_text()
    assert main([*verb, "--out", str(out), "--overwrite"]) == 0
    assert b"a day's work" not in out.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "0"), "epochs: expected 1 to 1,000,000,000, got 0"),
        (("--batch-size", "0"), "batch_size: expected 1 to 1,000,000,000, got 0"),
        (("--lr", "0"), "lr: expected a learning rate above 0, got 0.0"),
        (("--threads", "0"), "threads: expected 1 to 1024, got 0"),
        (("--seed", "-1"), "seed: expected a whole number from 0 to 9,223,372,036,854,775,807, got -1"),
        (("--patience", "nan"), "patience: expected int, got nan"),
        (("--lr", "1" + "0" * 400), "expected numbers that a computer can hold, got a larger one"),
        (("--labels", "."), "cannot read labels from .: Is a directory; check what is there"),
        (("--labels", "/dev/zero"), "/dev/zero: expected a file, got a device or a pipe"),
    ],
)
def test_a_number_that_there_is_not_is_refused_before_anything_is_written(
    folders, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folders)
    labels = () if "--labels" in arguments else ("--labels-per-class", "1")
    assert main(["finetune", "first", "digits", *labels, *arguments, "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_no_samples_of_the_bound_are_asked_for_with_0(folders, capsys):
    assert main(["evaluate", str(folders / "first"), "--samples", "0", "--json"]) == 0
    assert "iw_bound" not in json.loads(capsys.readouterr().out)


def test_suggestions_are_of_images_that_the_run_takes(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("large.npy", np.zeros((9, 12, 12), np.uint8))
    verb = ("suggest", str(folders / "first"), "large.npy", "-n", "1", "--out", "l.csv")
    assert main(verb) == 0
    assert "9 images of 12×12 fitted to 8×8 by padding" in capsys.readouterr().err
    Path("l.csv").unlink()
    assert main([*verb[:2], "digits", "--seed", str(2**40), *verb[3:]]) == 0


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_there_is_not(folders, tmp_path, capsys, seed):
    for verb in (("sample", folders / "first"), ("suggest", folders / "first", "digits")):
        out = tmp_path / ("a.png" if verb[0] == "sample" else "a.csv")
        assert main([*map(str, verb), "-n", "2", "--seed", str(seed), "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert f"seed: expected a whole number from 0 to 9,223,372,036,854,775,807, got {seed}" in said
        assert not out.exists()


def test_names_that_are_no_utf_8_come_through(folders, tmp_path, monkeypatch, capsys):
    """Into tables, pages, charts and Parquet files, and back out of a table of labels."""
    monkeypatch.chdir(tmp_path)
    raw = os.fsdecode(b"caf\xe9")
    place, run = tmp_path / f"{raw}-images", tmp_path / f"{raw}-run"
    place.mkdir()
    for i, image in enumerate(safelight.load("digits", limit=60).pixels[:, 0] * 15):
        Image.fromarray(image).save(place / f"{i:02d}{raw}.png")
    small = ("--epochs", "1", "--batch-size", "16", "--threads", "1", "--network.channels", "4")
    for verb in (
        ("train", place, "--out", run, *small),
        ("evaluate", run),
        ("report", run),
        ("compare", run, folders / "first"),
        ("embed", run, "--out", f"{raw}.parquet"),
        ("suggest", run, place, "-n", "6", "--out", "l.csv"),
    ):
        assert main([str(word) for word in verb]) == 0, capsys.readouterr().err
    assert "caf\\udce9-run" in (run / "report.html").read_text(encoding="utf-8")
    assert all("caf\\udce9.png" in name for name in read_codes(f"{raw}.parquet").names)
    head, *lines = Path("l.csv").read_text(encoding="utf-8").splitlines()
    Path("l.csv").write_text("\n".join([head, *(line + "ab"[i % 2] for i, line in enumerate(lines))]))
    tuned = (
        "finetune",
        run,
        place,
        "--labels",
        "l.csv",
        "--epochs",
        "1",
        "--threads",
        "1",
        "--out",
        f"{raw}-tuned",
    )
    assert main([str(word) for word in tuned]) == 0, capsys.readouterr().err
    assert main(["classify", f"{raw}-tuned", str(place), "--out", "found.csv"]) == 0
    assert len(Path("found.csv").read_text(encoding="utf-8").splitlines()) == 61
