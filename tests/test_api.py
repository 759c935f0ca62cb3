import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import safelight_command
from PIL import Image
from torch import nn

import safelight
from safelight import api
from safelight.command.main import main
from safelight.data import sources
from safelight.data.images import ImageSet
from safelight.data.pictures import png
from safelight.errors import ConfigError, DataError, Interrupted, RunError, TrainingError
from safelight.networks.base import Autoencoder, Code
from safelight.runs.state import PackedState

FAST = {"threads": 1, "channels": (8,), "hidden": 32, "latent": 4, "batch_size": 100, "lr": 3e-3}


class MyNet(Autoencoder):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(64, 6), nn.Linear(3, 64)

    def encode(self, x):
        return Code(*self.down(x.flatten(1)).chunk(2, 1))

    def decode(self, z):
        return self.up(z).view(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def small():
    return safelight.train("digits", epochs=1, **FAST)


def same_weights(one: Path, other: Path) -> bool:
    a, b = (safetensors.torch.load_file(p / "model.safetensors") for p in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def curve(path: Path) -> list[dict]:
    timing = ("seconds", "images_per_second")
    return [{k: v for k, v in r.items() if k not in timing} for r in safelight.Run(path).history]


def test_a_run_learns_and_loads_from_its_folder_alone(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=6, **(FAST | {"batch_size": 10, "lr": 5e-3}))
    records = run.history
    assert [r["epoch"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert set(records[0]) == {"epoch", "train", "validation", "lr", "seconds", "images_per_second"}
    first, last = records[0]["validation"], records[-1]["validation"]
    assert list(first) == list(records[0]["train"]) == ["loss", "reconstruction", "kl"]
    assert last["loss"] < first["loss"] - 1
    assert last["reconstruction"] + last["kl"] == pytest.approx(last["loss"])
    moved = tmp_path / "elsewhere"
    (tmp_path / "a").rename(moved)
    images = safelight.load("digits", split="test")
    again = safelight.Run(moved)
    assert np.array_equal(again.encode(images), safelight.Run(moved).encode(images))
    assert again.encode(images).shape == (180, 4)
    error = np.square(again.reconstruct(images) - images.floats().numpy()).mean()
    constant = np.square(images.floats().numpy() - images.floats().numpy().mean(0)).mean()
    assert error < 0.8 * constant
    assert again.sample(5).shape == (5, 1, 8, 8)
    assert not np.array_equal(again.sample(5), again.sample(5, seed=1))


def test_config_holds_everything_resolved(tmp_path):
    safelight.train("digits", out=tmp_path / "a", epochs=1, limit=500, validation=50, **FAST)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["format_version"] == 2
    assert config["network"]["name"] == "deep-conv-vae"
    assert config["network"]["activation"] == "silu"
    size = {"height": 8, "width": 8, "channels": 1, "range": [0, 16]}
    assert config["image"] == {**size, "how": "pad", "background": "border"}
    assert config["data"]["source"] == "digits"
    assert config["task"] == {
        "name": "autoencode",
        "likelihood": "student",
        "augment": "none",
        "beta": 1.0,
        "beta_warmup": 0.0,
        "prior": "flow",
    }
    assert len(config["data"]["fingerprint"]) == 64
    assert (config["data"]["validation"], config["data"]["limit"]) == (50, 500)
    assert config["training"]["device"] in ("cpu", "cuda", "mps")
    assert config["training"]["threads"] == 1
    assert config["versions"]["torch"] == torch.__version__


def test_the_same_command_gives_the_same_bits(tmp_path):
    for name in "ab":
        safelight.train("digits", out=tmp_path / name, epochs=2, **FAST)
    safelight.train("digits", out=tmp_path / "c", epochs=2, seed=1, **FAST)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


@pytest.mark.parametrize("stop_at", [1, 15, 29, 45])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, stop_at):
    safelight.train("digits", out=tmp_path / "straight", epochs=3, **FAST)
    steps = []

    def stop(progress):
        steps.append(progress)
        return len(steps) == stop_at

    with pytest.raises(Interrupted, match="continue with: safelight train --resume"):
        safelight.train("digits", out=tmp_path / "halved", epochs=3, on_step=stop, **FAST)
    assert len(safelight.Run(tmp_path / "halved").history) == (stop_at - 1) // 15
    api.resume(tmp_path / "halved")
    assert same_weights(tmp_path / "straight", tmp_path / "halved")
    assert curve(tmp_path / "straight") == curve(tmp_path / "halved")
    pictures = [sorted((tmp_path / n / "figures" / "epochs").iterdir()) for n in ("straight", "halved")]
    assert [p.read_bytes() for p in pictures[0]] == [p.read_bytes() for p in pictures[1]]


def killed_and_resumed(tmp_path: Path, moments: list[tuple[int, float]], epochs: int) -> None:
    """Train by command, `kill -9` it once per moment (lines of history, seconds more), and compare."""
    small = ["--network.channels", "8", "--network.hidden", "32", "--network.latent", "4"]
    options = ["--threads", "1", "--batch-size", "20", *small]
    start = ["train", "digits", "--epochs", str(epochs), *options]
    assert main([*start, "--out", str(tmp_path / "straight")]) == 0
    killed = tmp_path / "killed"
    arguments: list[str] = [*start, "--out", str(killed)]
    history = killed / "history.jsonl"
    for lines, seconds in moments:
        process = subprocess.Popen(safelight_command(arguments), stderr=subprocess.DEVNULL)
        while not history.exists() or len(history.read_text().splitlines()) < lines:
            assert process.poll() is None, "finished before it could be killed"
            time.sleep(0.002)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "finished before it could be killed"
        arguments = ["train", "--resume", str(killed)]
    assert main(arguments) == 0
    assert same_weights(tmp_path / "straight", killed)
    assert curve(tmp_path / "straight") == curve(killed)
    best = [safetensors.torch.load_file(tmp_path / n / "best.safetensors") for n in ("straight", "killed")]
    assert all(torch.equal(best[0][k], best[1][k]) for k in best[0])


def test_a_run_cut_off_in_its_first_epoch_keeps_its_first_weights(tmp_path):
    """Those of --init-from and of a network handed over are nowhere else."""
    safelight.train("digits", out=tmp_path / "source", epochs=3, **FAST)
    warm = FAST | {"init_from": tmp_path / "source", "epochs": 1}
    safelight.train("digits", out=tmp_path / "straight", **warm)

    def break_off(progress):
        raise ZeroDivisionError  # nothing gets the chance to save

    with pytest.raises(ZeroDivisionError):
        safelight.train("digits", out=tmp_path / "cut", on_step=break_off, **warm)
    assert not (tmp_path / "cut" / "state" / "training.safetensors").exists()
    api.resume(tmp_path / "cut")
    assert same_weights(tmp_path / "straight", tmp_path / "cut")


def test_weights_that_the_last_step_spoilt_are_not_saved(tmp_path):
    settings = FAST | {"batch_size": 1437, "lr": 1e38, "warmup": 0.0, "decay": "gamma"}
    with pytest.raises(TrainingError, match="no longer finite"):
        safelight.train("digits", out=tmp_path / "a", epochs=3, **settings)
    assert not (tmp_path / "a" / "model.safetensors").exists()
    weights = safetensors.torch.load_file(tmp_path / "a" / "state" / "initial.safetensors")
    assert all(t.isfinite().all() for t in weights.values())
    assert not (tmp_path / "a" / "best.safetensors").exists()
    assert safelight.Run(tmp_path / "a").history == []


def test_a_busy_run_is_left_alone(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)
    before = (tmp_path / "a" / "config.json").read_text()
    with run.folder.locked():
        with pytest.raises(RunError, match="another process is working"):
            api.resume(tmp_path / "a", epochs=50)
        with pytest.raises(RunError, match="another process is working"):
            safelight.train("digits", out=tmp_path / "a", overwrite=True, **FAST)
    assert (tmp_path / "a" / "config.json").read_text() == before


def test_a_damaged_state_is_refused(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)
    packed = run.folder.read_state()
    tensors, numbers = packed.tensors, packed.numbers
    for broken in (
        ({k: t for k, t in tensors.items() if k != "generator"}, numbers),
        (tensors, {k: v for k, v in numbers.items() if k != "step"}),
        (tensors | {"network.stages.encoder.0.weight": torch.zeros(2)}, numbers),
        (tensors | {"optimizer.0.exp_avg": torch.zeros(3)}, numbers),
        (tensors, numbers | {"images": -1}),
        (tensors, numbers | {"step": "a"}),
    ):
        run.folder.write_state(PackedState(*broken))
        with pytest.raises(RunError, match="the saved state does not fit this run"):
            api.resume(tmp_path / "a", epochs=2)


def test_tied_weights_and_lone_last_images_train(tmp_path):
    class Tied(MyNet):
        def __init__(self):
            super().__init__()
            self.same = self.down

    run = safelight.train("digits", Tied(), tmp_path / "tied", epochs=1, threads=1)
    assert np.array_equal(run.encode("digits"), safelight.Run(tmp_path / "tied", Tied).encode("digits"))
    assert 1437 % 4 == 1
    safelight.train("digits", epochs=1, normalization="batch", limit=401, **(FAST | {"batch_size": 4}))


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    killed_and_resumed(tmp_path, [(3, 0.01)], epochs=8)


@pytest.mark.slow
def test_a_run_killed_at_many_moments_goes_on_to_the_same_bits(tmp_path):
    moments = [(1, 0.0), (2, 0.01), (4, 0.1), (6, 0.002), (8, 0.02)]
    killed_and_resumed(tmp_path, moments, epochs=16)


def test_a_finished_run_trains_on_with_more_epochs(tmp_path):
    safelight.train("digits", out=tmp_path / "a", epochs=2, **FAST)
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    api.resume(tmp_path / "a")  # nothing left to do
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == before
    run = api.resume(tmp_path / "a", epochs=4)
    assert [r["epoch"] for r in run.history] == [1, 2, 3, 4]
    assert run.config.training.epochs == 4
    with pytest.raises(RunError, match="has 4 epochs already; ask for at least as many, got 3"):
        api.resume(tmp_path / "a", epochs=3)


def test_patience_ends_a_run_and_keeps_the_best(tmp_path):
    settings = FAST | {"lr": 0.05, "decay": "gamma", "prior": "normal"}
    run = safelight.train("digits", out=tmp_path / "a", epochs=200, patience=3, **settings)
    losses = [r["validation"]["loss"] for r in run.history]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 3 < 200
    measured = run.evaluate("validation", samples=0)["loss"]
    assert measured == pytest.approx(losses[best], rel=1e-6)
    assert measured != pytest.approx(losses[-1], rel=1e-6)
    assert len(api.resume(tmp_path / "a").history) == len(losses)


def test_a_network_of_ones_own(tmp_path):
    images = safelight.load("digits")
    run = safelight.train(images, MyNet(), tmp_path / "mine", epochs=5, lr=0.01, threads=1)
    assert run.history[-1]["validation"]["loss"] < run.history[0]["validation"]["loss"]
    again = safelight.Run(tmp_path / "mine", network=MyNet)
    assert np.array_equal(run.encode(images), again.encode(images))
    with pytest.raises(RunError, match="a network of your own, 'MyNet'"):
        safelight.Run(tmp_path / "mine").encode(images)
    assert len(api.resume(tmp_path / "mine", epochs=6, network=MyNet).history) == 6
    assert "test_api" not in (tmp_path / "mine" / "config.json").read_text()


def test_a_run_without_a_folder_goes_with_its_object():
    run = safelight.train("digits", epochs=1, **FAST)
    path = run.path
    assert (path / "model.safetensors").exists()
    del run
    assert not path.exists()


def test_init_from_starts_from_anothers_weights(tmp_path):
    safelight.train("digits", out=tmp_path / "a", epochs=3, **FAST)
    fresh = safelight.train("digits", epochs=1, **FAST)
    warm = safelight.train("digits", epochs=1, init_from=tmp_path / "a", **FAST)
    assert warm.history[0]["train"]["loss"] < fresh.history[0]["train"]["loss"] - 1
    with pytest.raises(RunError, match="does not fit the network"):
        safelight.train("digits", init_from=tmp_path / "a", **(FAST | {"latent": 5}))


def test_the_test_split_is_opened_by_evaluate_alone(tmp_path, monkeypatch):
    opened = []
    real = sources.load_for

    def load_for(source, data, options, split=None, **more):
        opened.append(split)
        return real(source, data, options, split, **more)

    monkeypatch.setattr(sources, "load_for", load_for)
    rng = np.random.default_rng(0)
    idx = tmp_path / "set"
    idx.mkdir()
    for stem, count in (("train", 60), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        header = b"".join(n.to_bytes(4, "big") for n in (2051, count, 8, 8))
        (idx / f"{stem}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    run = safelight.train(str(idx), out=tmp_path / "a", epochs=1, **(FAST | {"batch_size": 10}))
    api.resume(tmp_path / "a", epochs=2)
    assert "test" not in opened
    assert run.evaluate("test")["n"] == 10
    assert opened[-2:] == ["test", None]  # the training images, for PCA


def test_evaluation_is_kept_beside_the_run(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)
    test, validation = run.evaluate("test", samples=3), run.evaluate("validation", samples=3)
    kept = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    assert kept == {"test": test, "validation": validation}
    assert test["n"] == 180
    assert {"loss", "reconstruction", "kl", "loss_at_mean", "iw_bound", "active_units", "n", "split"} <= set(
        test
    )


def test_an_evaluation_is_forgotten_when_training_goes_on(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)
    before = run.evaluate(samples=0)["loss"]
    api.resume(tmp_path / "a")  # nothing to do, nothing forgotten
    assert run.folder.read_evaluation()["test"]["loss"] == before
    again = api.resume(tmp_path / "a", epochs=3)
    assert again.folder.read_evaluation() == {}
    assert again.evaluate(samples=0)["loss"] < before


def test_changed_data_is_noticed(tmp_path):
    array = np.random.default_rng(0).random((100, 8, 8), dtype=np.float32)
    np.save(tmp_path / "set.npy", array)
    run = safelight.train(
        str(tmp_path / "set.npy"), out=tmp_path / "a", epochs=1, **(FAST | {"batch_size": 10})
    )
    np.save(tmp_path / "set.npy", array[::-1])
    for action in (run.evaluate, lambda: api.resume(tmp_path / "a", epochs=2)):
        with pytest.raises(DataError, match="differ from them"):
            action()


def test_arrays_train_and_resume_when_handed_over_again(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (60, 3, 9, 12), dtype=np.uint8)
    safelight.train(array, out=tmp_path / "a", epochs=1, **(FAST | {"batch_size": 10}))
    with pytest.raises(DataError, match="hand over the same"):
        api.resume(tmp_path / "a", epochs=2)
    run = api.resume(tmp_path / "a", epochs=2, images=array)
    assert len(run.history) == 2
    assert run.evaluate("test", samples=0)["n"] == 6, "what was handed over stays in reach"
    opened = safelight.open(tmp_path / "a")
    assert opened.sample(3).shape == (3, 3, 9, 12), "a prior needs no images"
    with pytest.raises(DataError, match="hand over the same"):
        opened.evaluate()
    assert safelight.Run(tmp_path / "a", images=array).evaluate(samples=0)["n"] == 6


@pytest.fixture(scope="module")
def coloured():
    """Three classes by name, in colour, in memory alone."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = (rng.integers(0, 120, (60, 3, 9, 12)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    images = ImageSet(pixels, labels=labels, classes=("ash", "birch", "cedar"))
    return safelight.train(images, epochs=1, **(FAST | {"batch_size": 10})), pixels


def test_a_live_run_keeps_what_it_was_given(coloured):
    run, pixels = coloured
    assert run.evaluate(samples=0)["n"] == 6
    assert len(run.project().points) == len(run.images("train"))
    assert run.walk(0, pixels[1], steps=3).shape == (3, 3, 9, 12)
    assert run.traverse(steps=3)[1].shape == (4, 3, 3, 9, 12)
    assert run.similar(pixels[:2], k=2).places.shape == (2, 2)
    assert len(run.outliers(pixels).scores) == 60
    birches = run.sample(5, label="birch", seed=1)
    assert np.array_equal(birches, run.sample(5, label=1, seed=1))
    assert run.sample(5, label="ash").mean() < birches.mean() < run.sample(5, label="cedar").mean()
    with pytest.raises(ConfigError, match="label: expected one of ash, birch, cedar, got oak"):
        run.sample(5, label="oak")


def test_a_classifier_on_an_array_keeps_it_too(coloured, digits):
    run = safelight.finetune(coloured[0], coloured[1], np.arange(60) % 3, epochs=1, threads=1)
    assert run.evaluate("train")["n"] == 60, "every given label is trained on"
    assert run.classify(coloured[1][0]).probabilities.shape == (1, 3)


def test_one_image_is_an_image(coloured, small, digits):
    run, pixels = coloured
    codes = run.encode(pixels)
    for one in (pixels[3], pixels[3].transpose(1, 2, 0), torch.from_numpy(pixels[3])):
        assert run.encode(one).shape == (4,)
        np.testing.assert_allclose(run.encode(one), codes[3], atol=1e-5)
    assert run.reconstruct(pixels[3]).shape == run.denoise(pixels[3]).shape == (3, 9, 12)
    assert run.encode(pixels[0, 0]).shape == (4,), "a gray picture"
    assert run.encode(Image.fromarray(pixels[3].transpose(1, 2, 0))).shape == (4,)
    assert len(run.codes(pixels[3])) == run.similar(pixels[3], k=1).places.size == 1
    gray = np.asarray(digits)[:, 0]
    assert small.encode(gray[0]).shape == small.encode(gray[0][:, :, None]).shape == (4,)
    assert small.encode(gray[:3]).shape == small.encode(digits[:3]).shape == (3, 4), "three gray images"
    assert small.reconstruct(np.stack([gray[0]] * 3, 2)).shape == (1, 8, 8), "one in colour"
    assert small.denoise(gray[0]).shape == (1, 8, 8)


def test_codes_of_any_kind_are_decoded_or_told(small):
    codes = torch.randn(3, 4, requires_grad=True)
    images = small.decode(codes)
    assert images.shape == (3, 1, 8, 8)
    np.testing.assert_allclose(small.decode(codes[0]), images[0], atol=1e-6)
    for wrong in (np.zeros((2, 5)), np.zeros(3), np.zeros((0, 4)), np.zeros((1, 2, 4))):
        with pytest.raises(DataError, match=r"expected codes of 4 numbers, \(N, 4\), .* got \("):
            small.decode(wrong)


def test_a_part_of_a_set_is_not_taken_for_the_whole(tmp_path):
    part = safelight.load("digits", limit=300)
    run = safelight.train(part, out=tmp_path / "a", epochs=1, **FAST)
    assert run.config.data.source is None
    assert run.evaluate("test", samples=0, images=part)["n"] == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "lr: expected a learning rate above 0, got 0"),
        ({"lr": -1.0}, "lr: expected a learning rate above 0, got -1"),
        ({"epochs": 0}, "epochs: expected 1 to 1,000,000,000, got 0"),
        ({"batch_size": 5000}, "batch size of at most 1437, the number of training images, got 5000"),
        ({"gamma": 0.5}, "gamma: expected 1.0 with a linear decay"),
        ({"latnt": 3}, "unknown setting 'latnt'; did you mean 'latent'"),
        ({"network": "conv-va"}, "unknown network 'conv-va'; did you mean 'conv-vae'"),
        (
            {"likelihood": "poisson"},
            "likelihood: expected one of bernoulli, gaussian, student, got 'poisson'",
        ),
        ({"patience": 2, "validation": 0}, "patience: expected validation images to judge epochs by, got"),
        ({"network": "deep-conv-ae", "beta": 4.0}, "beta: expected 1 with codes that are points"),
        ({"seed": -1}, "seed: expected a whole number from 0 to 9,223,372,036,854,775,807, got -1"),
        ({"validation": 5000}, "expected between 0 and 1616 validation images, got 5000"),
        ({"limit": 0}, "limit of at least 1 training image, got 0"),
        ({"channels": (8,) * 4}, "at most 3 stages"),
        ({"network": 3}, "expected a name, or a Network such as MyNet(), got"),
        ({"network": safelight.ConvVAE((1, 9, 9))}, "does not take images of (1, 8, 8)"),
        ({"device": "meta"}, "device: expected a device that is there"),
        ({"device": "abacus"}, "device: expected a device that is there"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path, settings, message):
    with pytest.raises((ConfigError, DataError)) as caught:
        safelight.train("digits", out=tmp_path / "a", **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_not_finite_keeps_the_last_good_epoch(tmp_path):
    safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    config["training"] |= {"lr": 1e30, "decay": "gamma", "epochs": 3}
    path.write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="lower --lr"):
        api.resume(tmp_path / "a")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == before
    assert len(safelight.Run(tmp_path / "a").history) == 1


def test_a_deterministic_run_has_not_what_it_lacks(tmp_path):
    run = safelight.train("digits", "deep-conv-ae", tmp_path / "a", epochs=2, **FAST)
    assert [set(r["validation"]) for r in run.history] == [{"loss", "reconstruction"}] * 2
    found = set(run.evaluate())
    assert {"loss", "psnr", "pca_psnr", "n", "split", "weights"} < found
    assert not {"kl", "iw_bound", "active_units"} & found
    assert run.sample(4).shape == (4, 1, 8, 8)


def test_gaussian_likelihood_learns_its_spread(tmp_path):
    run = safelight.train(
        "digits",
        out=tmp_path / "a",
        epochs=6,
        likelihood="gaussian",
        **(FAST | {"batch_size": 10, "lr": 0.01}),
    )
    weights = safetensors.torch.load_file(tmp_path / "a" / "model.safetensors")
    error = run.reconstruct(safelight.load("digits")) - safelight.load("digits").floats().numpy()
    assert weights[".loss.likelihood.log_sigma"].exp().item() == pytest.approx(error.std(), rel=0.25)


def test_training_without_validation(tmp_path):
    run = safelight.train("digits", out=tmp_path / "a", epochs=1, validation=0, **FAST)
    assert run.history[0]["validation"] == {}
    assert not (tmp_path / "a" / "best.safetensors").exists()
    assert len(run.images("train")) == 1617
    with pytest.raises(DataError, match="expected validation images, but the run's data has none"):
        run.images("validation")


def test_tensorboard_gets_the_history(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    run = safelight.train("digits", out=tmp_path / "a", epochs=2, **FAST)
    events = event_accumulator.EventAccumulator(str(tmp_path / "a" / "tensorboard")).Reload()
    values = [e.value for e in events.Scalars("validation/loss")]
    assert values == pytest.approx([r["validation"]["loss"] for r in run.history])


def test_a_folder_of_pictures_trains(tmp_path):
    from safelight.data.pictures import tile

    (tmp_path / "photos").mkdir()
    images = np.random.default_rng(0).random((30, 3, 64, 64))
    for i, image in enumerate(images):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(tile(image[None], 1)))
    run = safelight.train(str(tmp_path / "photos"), epochs=1, **(FAST | {"batch_size": 8}))
    assert isinstance(run.images("test"), ImageSet)
    assert Path(run.config.data.source).is_absolute()
    assert run.sample(2).shape[:2] == (2, 3)


def test_the_default_batch_fits_fewer_images_and_another_is_refused(digits, tmp_path):
    sixty = digits.subset(slice(60))
    run = safelight.train(sixty, out=tmp_path / "a", epochs=1, threads=1)
    assert run.config.training.batch_size == 16
    assert safelight.train("digits", epochs=1, channels=(4,), threads=1).config.training.batch_size == 64
    with pytest.raises(ConfigError, match="batch size of at most 48, the number of training images, got 64"):
        safelight.train(sixty, out=tmp_path / "b", epochs=1, threads=1, batch_size=64)
    assert len(api.resume(tmp_path / "a", epochs=2, images=sixty).history) == 2


def test_a_run_without_a_finished_epoch_is_begun_anew(tmp_path):
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1 .*; begin anew") as caught:
        safelight.train("digits", out=tmp_path / "a", epochs=1, **(FAST | {"lr": 1e30}))
    assert "kept" not in str(caught.value)
    assert "float32" not in str(caught.value)
    assert len(safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST).history) == 1
    with pytest.raises(RunError, match="already holds a run"):
        safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)


def test_a_run_that_was_interrupted_in_its_first_epoch_is_not_begun_anew(tmp_path):
    with pytest.raises(Interrupted):
        safelight.train("digits", out=tmp_path / "a", epochs=1, on_step=lambda progress: True, **FAST)
    with pytest.raises(RunError, match="already holds a run; continue it with --resume"):
        safelight.train("digits", out=tmp_path / "a", epochs=1, **FAST)


def test_a_training_that_ends_worse_than_it_began_has_diverged(tmp_path):
    bernoulli = FAST | {"likelihood": "bernoulli"}
    with pytest.raises(
        TrainingError, match=r"diverged: the loss is \d.*e\+\d+, and was \d\d\.\d before"
    ) as caught:
        safelight.train("digits", out=tmp_path / "a", epochs=2, prior="normal", **(bernoulli | {"lr": 100.0}))
    assert "lower --lr, and --overwrite" in str(caught.value)
    run = safelight.Run(tmp_path / "a")
    assert run.history[-1]["train"]["loss"] > 1e6
    again = safelight.train("digits", out=tmp_path / "a", epochs=2, overwrite=True, **bernoulli)
    assert again.history[-1]["train"]["loss"] < 45
    idle = safelight.train("digits", epochs=1, **(bernoulli | {"lr": 1e-30}))  # as it was, and no worse
    assert idle.history[0]["train"]["loss"] == pytest.approx(44, abs=2)


@pytest.mark.parametrize("likelihood", ["gaussian", "student"])
def test_a_density_has_diverged_by_nats_a_value_and_not_by_its_ratio(likelihood, tmp_path):
    settings = {"channels": (8, 16), "hidden": 32, "batch_size": 50, "threads": 1, "likelihood": likelihood}
    run = safelight.train("digits", epochs=1, limit=150, lr=0.02, **settings)
    assert run.history[0]["train"]["loss"] < 32, "a few steps from principal components lead anywhere near"
    with pytest.raises(TrainingError, match="diverged"):
        safelight.train("digits", out=tmp_path / "a", epochs=2, prior="normal", lr=1.0, **settings)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda run: run.sample(1.5), r"count: expected a whole number from 1 up, got 1\.5"),
        (lambda run: run.sample("3"), "count: expected a whole number from 1 up, got '3'"),
        (lambda run: run.sample(2, seed=-1), "seed: expected a whole number from 0 to 9,2"),
        (lambda run: run.sample(2, "mixture", seed=2**63), "seed: expected a whole number from 0 to 9,2"),
        (lambda run: run.walk(0, 1, 2.5), "steps: expected a whole number from 2 to 1,000, got 2.5"),
        (lambda run: run.traverse(steps=0), "steps: expected a whole number from 2 to 1,000, got 0"),
        (lambda run: run.project(seed=-1), "seed: expected a whole number from 0 to 9,2"),
        (lambda run: run.page("x.html", n=0.5), "n: expected"),
        (
            lambda run: safelight.load("digits", limit=1.5),
            "limit: expected a whole number from 1 up, got 1.5",
        ),
        (
            lambda run: safelight.finetune(run, "digits", labels_per_class=2, seed=-1),
            "seed: expected a whole number from 0 to 9,2",
        ),
        (lambda run: safelight.evolve("digits", seed=-1), "seed: expected a whole number from 0 to 9,2"),
    ],
)
def test_numbers_that_are_none_are_told_in_a_line(do, words, tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        do(small)
    assert not list(tmp_path.iterdir())
    assert small.sample(np.int64(2), "mixture", seed=np.int64(2**40)).shape == (2, 1, 8, 8)
