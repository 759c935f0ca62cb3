"""From few labels to a classifier: what it learns, what it never sees, and how it goes on."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import safelight
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, DataError, Interrupted, RunError
from safelight.runs.labels import RunLabels
from safelight.runs.typical import Typical

PLAIN = {"likelihood": "bernoulli", "batch_size": 64, "prior": "normal"}
FEW = {"labels_per_class": 5, "epochs": 4, "batch_size": 64, "threads": 1}


@pytest.fixture(scope="module")
def first(digits, tmp_path_factory):
    """A run that never saw a label."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    return safelight.train(replace(digits, labels=None), out=folder, epochs=3, threads=1, **PLAIN)


@pytest.fixture(scope="module")
def tuned(first):
    return safelight.finetune(first, "digits", labels_per_class=5, epochs=10, batch_size=64, threads=1)


@pytest.fixture(scope="module")
def whole(first):
    """A run that was never cut off."""
    return safelight.finetune(first, "digits", **FEW)


def weights(run):
    return {name: tensor.clone() for name, tensor in run.network.state_dict().items()}


def same(a, b):
    return all(torch.equal(t, b[name]) for name, t in a.items())


class TestLearning:
    def test_the_unlabelled_rest_helps(self, first, tuned):
        alone = safelight.finetune(
            None, "digits", labels_per_class=5, epochs=10, batch_size=64, threads=1, supervised_only=True
        )
        accuracy = tuned.evaluate()["accuracy"]
        assert accuracy > 94
        assert accuracy > alone.evaluate()["accuracy"] + 3

    def test_opened_again_it_classifies_an_array(self, tuned, digits):
        found = safelight.Run(tuned.path).classify(digits.floats()[:50].numpy())
        assert found.classes == tuple("0123456789")
        assert np.allclose(found.probabilities.sum(1), 1, atol=1e-5)
        assert np.mean([int(name) for name in found.names()] == digits.labels[:50]) > 0.8
        sure = [name for name in found.names(min_probability=0.9) if name]
        assert len(sure) < 50

    def test_it_tells_images_unlike_those_it_was_trained_on(self, tuned, digits):
        assert tuned.classify(tuned.images("test")).unlike.mean() < 0.06
        noise = np.random.default_rng(0).random((200, 1, 8, 8)).astype(np.float32)
        assert tuned.classify(noise).unlike.mean() > 0.8
        assert tuned.classify(1 - digits.floats()[:200].numpy()).unlike.mean() > 0.8

    def test_an_evaluation_agrees_with_its_predictions(self, tuned):
        test, measured = tuned.images("test"), tuned.evaluate()
        found = tuned.classify(test).probabilities.argmax(1)
        assert measured["accuracy"] == pytest.approx(100 * np.mean(found == test.labels))
        counts = np.array(measured["confusion"]["counts"])
        assert counts.sum() == measured["n"] == len(test)
        assert counts.sum(1).tolist() == np.bincount(test.labels).tolist()
        assert np.trace(counts) / len(test) == pytest.approx(measured["accuracy"] / 100)
        assert measured["calibration_error"] < 8  # its temperature is that of what the labels were spread to
        assert measured["temperature"] < 0.8
        assert measured["accuracy_low"] < measured["accuracy"] < measured["accuracy_high"]

    def test_the_encoder_itself_can_be_tuned_and_keeps_its_decoder(self, first, digits):
        start = safelight.finetune(first, "digits", **FEW | {"epochs": 1, "lr": 1e-9}, supervised_only=True)
        tuned = safelight.finetune(first, "digits", **FEW | {"epochs": 8}, supervised_only=True)
        assert tuned.config.network.name == "fine-tuned"
        accuracy = [run.evaluate()["accuracy"] for run in (start, tuned)]
        assert 60 < accuracy[0] < accuracy[1]  # the head alone is already as good as a linear probe
        codes = torch.zeros(1, first.config.network.latent)
        kept = safelight.Run(tuned.path).network.autoencoder
        with torch.no_grad():
            assert torch.equal(kept.decode(codes), first.network.decode(codes))

    def test_from_scratch_neither_weights_nor_codes_of_the_run_count(self, first, digits, tmp_path):
        other = safelight.train(digits, out=tmp_path / "other", epochs=1, seed=5, threads=1, **PLAIN)
        options = FEW | {"epochs": 1, "from_scratch": True}
        for more in ({}, {"supervised_only": True}):
            runs = [safelight.finetune(run, "digits", **options, **more) for run in (first, other)]
            assert same(*map(weights, runs))


class TestHonesty:
    def test_the_labels_of_test_and_validation_images_change_nothing(self, first, digits):
        numbered = replace(digits, labels=np.arange(len(digits))).split()
        others = digits.labels.copy()
        for part in (numbered.validation, numbered.test):
            others[part.labels] = (others[part.labels] + 1) % 10
        runs = [
            safelight.finetune(first, replace(digits, labels=labels), **FEW)
            for labels in (digits.labels, others)
        ]
        assert same(*map(weights, runs))
        scores = [run.evaluate(images=digits)["accuracy"] for run in runs]
        assert scores[0] > 80
        assert scores[1] < 20

    def test_a_named_test_split_is_not_opened(self, first, digits, monkeypatch):
        opened = []
        monkeypatch.setattr(
            "safelight.data.sources.load", lambda source, split="train", **_: opened.append(split) or digits
        )
        whole = replace(digits, source="digits", has_test_split=True)
        safelight.finetune(None, whole, **FEW | {"epochs": 1})
        assert opened == []

    def test_only_the_given_labels_count(self, digits):
        few = np.full(len(digits), -1)
        train = replace(digits, labels=np.arange(len(digits))).split().train.labels
        for number in range(10):
            few[train[digits.labels[train] == number][:3]] = number
        run = safelight.finetune(None, "digits", few, epochs=1, batch_size=64, threads=1)
        assert (run.folder.read_labels().given >= 0).sum() == 30
        assert run.history[0]["validation"] == {}

    def test_validation_is_on_given_labels_and_sets_the_temperature(self, digits):
        run = safelight.finetune(None, "digits", epochs=3, batch_size=64, threads=1)
        assert run.history[-1]["validation"]["accuracy"] > 90
        assert not run.config.task.spread  # nothing is unlabelled
        measured = run.evaluate("validation")
        assert measured["temperature"] != 1
        assert measured["loss"] == pytest.approx(
            min(record["validation"]["loss"] for record in run.history), 1e-6
        )


class TestLabels:
    def test_a_file_of_names(self, tmp_path, digits):
        names = tuple(f"{i}.png" for i in range(len(digits)))
        words = ["even" if label % 2 == 0 else "odd" for label in digits.labels]
        path = tmp_path / "labels.csv"
        parts = ["test" if i % 10 == 0 else "" for i in range(len(digits))]
        rows = map(";".join, zip(names, words, parts, strict=True))
        path.write_text("filename;label;part\n" + "\n".join(rows))
        images = replace(digits, names=names, labels=None, source=None)
        run = safelight.finetune(None, images, path, epochs=2, batch_size=64, threads=1)
        assert run.classify(digits.pixels[:3]).classes == ("even", "odd")
        measured = run.evaluate(images=images)
        assert measured["accuracy"] > 80
        assert measured["n"] == len(run.images("test", images)) == 180
        assert set(names[::10]) <= set(run.images("test", images).names), "what is marked is tested on"
        trained = run.images("train", images)
        assert (trained.labels >= 0).sum() == len(digits) - 180, "and all others are trained on"

    def test_classes_of_which_the_test_images_know_more(self, digits):
        threes = [label if label in (3, 5) else None for label in digits.labels]
        whole = replace(digits, has_test_split=True)  # whose test images are `digits` test images
        run = safelight.finetune(None, whole, threes, epochs=1, batch_size=64, threads=1, limit=1000)
        assert run.classify(digits.pixels[:2]).classes == ("3", "5")
        test = run.images("test", images=whole)
        own = safelight.load("digits", split="test").labels
        assert np.array_equal(test.labels, np.where(own == 3, 0, np.where(own == 5, 1, -1)))

    def test_unequal_classes_can_be_drawn_alike(self, digits):
        given = np.where((digits.labels == 1) & (np.arange(len(digits)) > 200), -1, digits.labels)
        given[digits.labels > 1] = -1
        shares = []
        for balance in (False, True):
            run = safelight.finetune(
                None, "digits", given, epochs=1, batch_size=64, supervised_only=True, balance=balance
            )
            found = run.folder.read_labels()
            shares.append(found.weights[found.labels == 1].sum() / found.weights.sum())
        assert shares[0] < 0.15
        assert shares[1] == pytest.approx(0.5, abs=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"labels_per_class": 1000}, DataError, "from 1 to .* labels a class, .* got 1000"),
            ({"labels_per_class": 0}, DataError, "from 1 to"),
            ({"labels": [1, 2]}, DataError, "a label or None for each of 1797 images, got 2"),
            ({"labels": [3] * 1797}, DataError, "at least two classes, got only '3'"),
            ({"network": "conv-vae"}, ConfigError, "expected classifier or fine-tuned, got 'conv-vae'"),
            ({"network": "fine-tuned"}, ConfigError, "fine-tuned needs a run of an autoencoder"),
            ({"lr": -1.0}, ConfigError, "lr: expected a learning rate above 0"),
            ({"latent": 3}, ConfigError, "unknown setting 'latent'"),
        ],
    )
    def test_what_cannot_be_learned_from(self, arguments, error, message, tmp_path):
        with pytest.raises(error, match=message):
            safelight.finetune(None, "digits", out=tmp_path / "none", **arguments)
        assert not (tmp_path / "none").exists()

    def test_images_without_labels_of_their_own(self, digits):
        with pytest.raises(DataError, match="the images have no labels of their own"):
            safelight.finetune(None, digits.pixels)

    def test_images_of_another_size_than_the_runs(self, first):
        images = ImageSet(np.zeros((20, 1, 12, 12), np.uint8), labels=np.arange(20) % 2)
        tuned = safelight.finetune(first, images, epochs=1, threads=1)
        assert tuned.config.image.shape == first.config.image.shape  # fitted as the run's own

    def test_a_class_with_a_single_example_and_a_hundred_classes(self):
        rng = np.random.default_rng(0)
        prototypes = rng.integers(0, 256, (100, 1, 8, 8))
        pixels = np.concatenate([prototypes] * 12) + rng.integers(-20, 21, (1200, 1, 8, 8))
        truth = np.arange(1200) % 100
        train = (
            replace(ImageSet(pixels.clip(0, 255).astype(np.uint8), labels=np.arange(1200)))
            .split()
            .train.labels
        )
        given = np.full(1200, -1)
        for number in range(100):
            given[train[truth[train] == number][0]] = number
        images = ImageSet(pixels.clip(0, 255).astype(np.uint8))
        run = safelight.finetune(None, images, given, epochs=1, batch_size=64, threads=1)
        assert run.network.head.out_features == 100
        assert run.classify(images.pixels[:3]).probabilities.shape == (3, 100)


class TestGoingOn:
    @pytest.mark.parametrize("stop", [(1, 3), (2, 23)])
    def test_interrupted_anywhere_it_ends_in_the_same_bits(self, first, whole, tmp_path, stop):
        folder = tmp_path / "cut"
        with pytest.raises(Interrupted):
            safelight.finetune(
                first, "digits", out=folder, on_step=lambda p: (p.epoch, p.step) == stop, **FEW
            )
        assert same(weights(safelight.resume(folder)), weights(whole))

    def test_stopped_between_epochs_before_or_after_its_labels_were_spread(self, first, whole, tmp_path):
        folder = tmp_path / "cut"
        run = safelight.finetune(first, "digits", out=folder, on_epoch=lambda r: r["epoch"] == 2, **FEW)
        assert run.folder.read_labels().epoch == 1
        assert len(run.history) == 2
        ended = safelight.resume(folder, on_epoch=lambda record: record["epoch"] == 3)
        assert ended.folder.read_labels().epoch == 2
        assert same(weights(safelight.resume(folder)), weights(whole))

    def test_killed(self, first, whole, tmp_path):
        folder = tmp_path / "killed"
        code = (
            "import safelight, torch; torch.set_num_threads(1)\n"
            f"safelight.finetune({str(first.path)!r}, 'digits', out={str(folder)!r}, **{FEW!r})"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        history = folder / "history.jsonl"
        deadline = time.monotonic() + 60
        while not history.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert same(weights(safelight.resume(folder)), weights(whole))

    def test_a_folder_that_lost_or_was_given_other_labels(self, first, tmp_path):
        folder = tmp_path / "cut"
        safelight.finetune(first, "digits", out=folder, on_epoch=lambda record: True, **FEW)
        path = folder / "labels.safetensors"
        kept = path.read_bytes()
        path.write_bytes(kept[:50])
        with pytest.raises(RunError, match=r"labels\.safetensors: no labels"):
            safelight.resume(folder)
        few = np.zeros(3, np.int64)
        path.write_bytes(RunLabels(few, np.zeros(3, np.int8), few, np.ones(3, np.float32)).to_bytes())
        with pytest.raises(DataError, match="labels are not those of these images"):
            safelight.resume(folder)


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(500, 6)).astype(np.float32), rng.integers(0, 3, 500)
    typical = Typical.from_bytes(Typical.of(features, classes).to_bytes())
    expected = cdist(features, typical.means, "mahalanobis", VI=typical.precision).min(1) ** 2
    assert np.allclose(typical.distances(features), expected, rtol=1e-3)
    assert typical.unlike(features).mean() == pytest.approx(0.01, abs=0.003)
    labels = RunLabels(classes, np.zeros(500, np.int8), classes, np.ones(500, np.float32))
    with pytest.raises(ValueError, match="no typical features"):
        Typical.from_bytes(labels.to_bytes())


def test_labels_are_read_as_they_were_written():
    given, parts = np.array([0, -1]), np.array([-1, 2], np.int8)
    labels = RunLabels(given, parts, np.array([0, 1]), np.array([0.5, 0.25], np.float32), epoch=3)
    again = RunLabels.from_bytes(labels.to_bytes())
    assert again.epoch == 3
    for name in ("given", "parts", "labels", "weights"):
        assert np.array_equal(getattr(again, name), getattr(labels, name))
    with pytest.raises(ValueError, match="no labels"):
        RunLabels.from_bytes(b"nothing")


def test_patience_without_labelled_validation_images_is_refused(first, digits, tmp_path):
    with pytest.raises(ConfigError, match=r"patience: expected at least 100 validation images .*, got 0"):
        safelight.finetune(first, "digits", out=tmp_path / "a", patience=2, **FEW)
    assert not (tmp_path / "a").exists()
    run = safelight.finetune(first, "digits", epochs=9, patience=1, lr=1e-9, threads=1, supervised_only=True)
    assert len(run.history) < 9  # where they have labels it acts
