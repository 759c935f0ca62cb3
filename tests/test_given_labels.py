"""Every given label is used, and what is told of a classifier is what was measured, and on how many."""

import json
from dataclasses import replace

import numpy as np
import pytest

import safelight
from safelight.data.images import ImageSet
from safelight.data.label_files import Labels, read_labels
from safelight.errors import DataError
from safelight.labels.cross_validation import cross_validate, folds_of, try_both
from safelight.labels.probes import probe_network
from safelight.labels.suggestion import suggest_images
from safelight.reporting.summary import counted, summarize
from safelight.tasks.classify import Classify

SMALL = {"batch_size": 64, "threads": 1}


@pytest.fixture(scope="module")
def few(digits):
    """(N,) labels of 60 images, wherever they are; every other one is unknown."""
    given = np.full(len(digits), -1)
    chosen = np.random.default_rng(0).choice(len(digits), 60, replace=False)
    given[chosen] = digits.labels[chosen]
    return given


@pytest.fixture(scope="module")
def tuned(page_run, few):
    return safelight.finetune(page_run, "digits", few.tolist(), epochs=2, **SMALL)


def test_labels_of_test_and_validation_images_are_trained_on_and_that_is_said(digits, few, tuned):
    rows = digits.split(tuned.config.data.validation).rows
    kept = int(sum((few[rows[part]] >= 0).sum() for part in ("validation", "test")))
    assert kept > 5, "or there is nothing to see"
    assert (tuned.images("train").labels >= 0).sum() == 60
    assert len(tuned.images("test")) == len(rows["test"]) - (few[rows["test"]] >= 0).sum()
    assert (
        tuned.config.notes[0]
        == f"labels: {kept} of 60 were of images kept from training, which are trained on now"
    )
    with pytest.raises(
        DataError, match="images with labels to measure on, got none; label some, and write test"
    ):
        tuned.evaluate()


def test_a_run_goes_on_with_the_same_division(page_run, few, tuned):
    cut = safelight.finetune(
        page_run, "digits", few.tolist(), epochs=2, on_epoch=lambda record: True, **SMALL
    )
    whole = safelight.resume(cut.path)
    assert [record["train"] for record in whole.history] == [record["train"] for record in tuned.history]


def test_without_other_labels_the_accuracy_is_cross_validated_and_called_so(tuned, digits):
    found = tuned.folder.read_evaluation()["cross-validated"]
    assert found["n"] <= 60
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]
    assert sum(map(sum, found["confusion"]["counts"])) == found["n"]
    page = tuned.report().read_text(encoding="utf-8")
    assert "cross-validated accuracy" in page
    assert f"of {found['n']} labelled of {found['images']:,} images" in page
    assert (
        json.loads((tuned.path / "evaluation.json").read_text())["cross-validated"]["weights"]
        == tuned.weights
    )


def test_cross_validation_agrees_with_what_other_labels_say():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    codes = (truth + rng.normal(0, 0.5, 2000))[:, None].astype(np.float32)  # Bayes: 84% right
    labels = np.where(np.arange(2000) < 400, truth, -1)
    for is_spread in (True, False):
        found = cross_validate(codes, labels, ("a", "b"), is_spread)
        assert found["n"], found["images"] == (400, 2000)
        assert found["accuracy_low"] < 84.1 < found["accuracy_high"]
    assert cross_validate(codes[:3], np.array([0, 1, -1]), ("a", "b"), True) is None


def test_folds_hold_each_class_alike():
    labels = np.array([0] * 10 + [1] * 5 + [2])
    folds = folds_of(labels)
    assert np.bincount(folds[:10]).tolist() == [2] * 5
    assert np.bincount(folds[10:15]).tolist() == [1] * 5
    assert folds[15] == -1


def test_the_last_weights_are_kept_where_a_handful_would_judge(digits):
    train, test = Classify.least_labels, len(digits) // 10
    for known, is_judged in ((train - 1, False), (train, True)):
        given = digits.labels.copy()
        given[digits.split().rows["validation"][known:]] = -1
        assert test > train
        run = safelight.finetune(None, replace(digits, labels=given, source=None), epochs=2, lr=1e-6, **SMALL)
        assert (run.path / "best.safetensors").exists() == is_judged
        assert (summarize(run.folder).best is not None) == is_judged
        assert run.history[0]["validation"], "it is told all the same"


def test_what_an_evaluation_rests_on_is_told(digits):
    given = digits.labels.copy()
    rows = digits.split().rows["test"]
    given[rows[7:]] = -1
    images = replace(digits, labels=given, source=None)
    run = safelight.finetune(None, images, epochs=1, **SMALL)
    measured = run.evaluate(images=images)
    assert (measured["n"], measured["images"]) == (7, 180)
    assert counted(measured) == "7 labelled of 180"
    found = run.evaluate("validation", images)["calibration_error"]
    assert run.history[0]["validation"]["calibration_error"] == pytest.approx(found, 1e-5), (
        "it means the same"
    )
    page = run.report(images).read_text(encoding="utf-8")
    assert "7 labelled of 180" in page
    tiles = page[page.index('class="tiles"') :]
    assert f"{measured['accuracy']:.2f}" in tiles[: tiles.index("</div>")], "the headline is the task's"


def test_classes_with_few_labels_are_trained_on_and_never_refused():
    rng = np.random.default_rng(0)
    labels = np.arange(360) % 120  # three each
    pixels = rng.integers(0, 256, (120, 1, 8, 8), np.uint8)[labels]
    images = ImageSet(pixels, labels=labels)
    assert len(np.unique(labels[images.split().rows["train"]])) < 120, "the split takes some classes whole"
    run = safelight.finetune(None, images, epochs=1, **SMALL)
    assert len(np.unique(run.images("train", images).labels)) == 120
    assert sum("are not measured" in note for note in run.config.notes) == 1


def test_the_limit_says_how_many_labels_it_leaves_out(digits):
    run = safelight.finetune(None, "digits", limit=300, epochs=1, **SMALL)
    kept = sum(len(run.images(part)) for part in ("train", "validation", "test"))
    assert (
        f"labels: {1797 - kept:,} of 1,797 are left out, as their images are beyond the limit"
        in run.config.notes
    )


def test_a_file_sends_images_to_parts(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("filename,label,part\na,x,Test\nb,y,\nc,y,train\n")
    labels = read_labels(path, ["a", "b", "c", "d"])
    assert labels.parts.tolist() == [2, -1, 0, -1]
    assert labels.trained_on(labels.numbers >= 0).parts.tolist() == [2, 0, 0, -1]
    path.write_text("filename,label,part\na,x,tset\nb,y,\n")
    with pytest.raises(
        DataError, match="line 2: expected train, validation, test or nothing as the part, got 'tset'"
    ):
        read_labels(path, ["a", "b"])


def test_training_on_a_file_keeps_its_test_images_out(tmp_path, digits):
    np.save(tmp_path / "a.npy", digits.pixels[:100, 0])
    rows = [f"{i},{label},{'test' if i < 30 else ''}" for i, label in enumerate(digits.labels[:100])]
    (tmp_path / "l.csv").write_text("filename,label,part\n" + "\n".join(rows))
    images = safelight.load(tmp_path / "a.npy", labels=str(tmp_path / "l.csv"))
    assert set(range(30)) <= set(images.split().rows["test"])


def test_classes_are_matched_by_name():
    images = ImageSet(
        np.zeros((4, 1, 8, 8), np.uint8), labels=np.array([0, 1, 2, -1]), classes=("b", "a", "z")
    )
    assert Labels(np.zeros(0, np.int64), ("a", "b")).renumber(images).tolist() == [1, 0, -1, -1]


@pytest.mark.slow
def test_a_judge_reads_by_name_and_leaves_the_unknown_out(digits):
    names = tuple("abcdefghij")
    judge = safelight.finetune(None, replace(digits, classes=names, source=None), epochs=3, **SMALL)
    turned = replace(
        digits, labels=9 - digits.labels, classes=names[::-1]
    )  # the same names, numbered backwards
    turned.labels[::2] = -1
    cleaner = safelight.train(turned, "denoising-unet", task="denoise", epochs=1, channels=(4, 8), **SMALL)
    found = cleaner.evaluate(images=turned, judge=str(judge.path))
    assert found["identity_true"] > 80


def test_probes_leave_the_unknown_out(page_run, digits):
    train, test = page_run.images("train"), page_run.images("test")
    known = np.where(np.arange(len(test)) < 90, test.labels, -1)
    some = probe_network(page_run.network, train, replace(test, labels=known))
    assert (some["n"], some["images"]) == (90, 180)
    half = probe_network(page_run.network, train, test.subset(slice(90)))
    assert some["linear"] == half["linear"]


def test_only_training_images_are_suggested(page_run):
    images, places = page_run.whole()
    assert set(suggest_images(page_run.network, images, 30, among=places)) <= set(places)


def test_balance_draws_every_class_as_often_in_plain_training_too(digits):
    kept = np.flatnonzero((digits.labels == 0) | ((digits.labels == 1) & (np.arange(len(digits)) < 200)))
    images = replace(digits.subset(kept), classes=("zero", "one"))
    run = safelight.train(images, "classifier", task="classify", balance=True, epochs=1, lr=1e-6, **SMALL)
    batches = run._parts.batches(run.config, run.images("train", images))
    shares = np.bincount(np.concatenate([batch.labels.numpy() for batch in batches.epoch(0)]))
    assert 0.4 < shares[1] / shares.sum() < 0.6 < np.mean(images.labels == 0)
    assert run.config.task.class_names == ("zero", "one")
    assert run.config.network.classes == 2, "as many as the set has"


def test_labels_are_checked_as_a_whole_before_an_older_run_goes(digits, tmp_path):
    options = {"task": "classify", "out": tmp_path / "run", "epochs": 1, **SMALL}
    safelight.train("digits", "classifier", **options)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    one_unknown = digits.labels.copy()
    one_unknown[digits.split().rows["train"][-1]] = -1
    for labels, classes, says in ((one_unknown, 10, "got images without"), (digits.labels, 9, "got 0 to 9")):
        images = replace(digits, labels=labels)
        with pytest.raises(DataError, match=says):
            safelight.train(images, "classifier", classes=classes, overwrite=True, **options)
        assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_labels_are_spread_only_where_that_tells_more_of_the_hidden_ones_right():
    rng = np.random.default_rng(0)
    half = np.arange(600) % 2
    labels = np.where(np.arange(600) < 60, half, -1)
    islands = rng.normal(0, 0.1, (600, 2)) + 3 * half[:, None]  # where spreading is right
    slope = np.stack(
        [3 * half - 1.5 + rng.normal(0, 0.5, 600), *rng.normal(0, 3, (8, 600))], 1
    )  # and where not
    assert try_both(islands.astype(np.float32), labels, ("a", "b"))[1] == ""
    found, why = try_both(slope.astype(np.float32), labels, ("a", "b"))
    assert "they are not spread" in why
    assert f"{found['accuracy']:.1f}% of those hidden right" in why
