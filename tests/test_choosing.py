"""Settings that nobody named: the rules as properties, and that a run's config repeats it."""

import dataclasses
import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import DeepConvConfig, UNetConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.data.components import fit_components
from safelight.data.images import ImageSet
from safelight.networks.table import build
from safelight.runs.assembly import assemble
from safelight.runs.choosing import Choices, choose
from safelight.runs.training import fit
from safelight.tasks.autoencode import mean_loss
from safelight.tasks.fidelity import psnr
from safelight.tasks.objective import objective

DEFAULTS = DeepConvConfig(), AutoencodeConfig(), TrainingConfig()


def chosen(images: ImageSet, *named: str, network=DEFAULTS[0], task=DEFAULTS[1]) -> Choices:
    return choose(images, network, task, DEFAULTS[2], named)


def strokes(count: int, background: int = 0) -> ImageSet:
    """As black and white as MNIST: a seventh is ink, and a seventh of that is gray."""
    rng = np.random.default_rng(0)
    ink = rng.random((1000, 1, 28, 28)) < 1 / 7
    gray = rng.random(ink.shape) < 1 / 7
    pixels = abs(background - np.where(ink, np.where(gray, 128, 255), 0)).astype(np.uint8)
    return ImageSet(np.tile(pixels, (count // 1000, 1, 1, 1)))


def photographs(count: int, side: int = 32, channels: int = 3) -> ImageSet:
    """Smooth fields, as photographs are."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, channels, 5, 5), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return ImageSet((255 * smooth).byte().numpy())


def test_images_like_mnist_get_its_network_and_ten_epochs():
    found = chosen(strokes(50_000))
    assert found.network == DeepConvConfig(channels=(32, 64), latent=20)
    assert (found.task.likelihood, found.training) == (
        "bernoulli",
        TrainingConfig(epochs=10, batch_size=64, lr=4e-3),
    )
    assert len(found.reasons) == 5


@pytest.mark.parametrize("background", [0, 255])
def test_black_and_white_is_bernoulli_and_photographs_are_students(background):
    assert chosen(strokes(1000, background)).task.likelihood == "bernoulli"
    assert chosen(photographs(100)).task.likelihood == "student"
    on_white = photographs(100).pixels.copy()
    on_white[:, :, :8], on_white[:, :, -8:] = background, background
    assert chosen(ImageSet(on_white)).task.likelihood == "student"


@pytest.mark.parametrize("count", [100, 600, 1_666, 3_200, 20_000])
def test_small_sets_get_thousands_of_steps(count):
    images = ImageSet(np.resize(photographs(100).pixels, (count, 3, 32, 32)))
    training = chosen(images, "latent").training
    steps = training.epochs * len(Batches(images, training.batch_size, 0))
    assert 5 <= training.epochs <= 400
    assert training.epochs == 400 or 3_000 <= steps <= 8_500


def test_what_a_step_costs_bounds_the_steps_alone():
    """The same for any machine: large images get fewer steps, in smaller batches."""
    found = chosen(ImageSet(np.zeros((2000, 3, 256, 256), np.uint8)), "latent", "likelihood")
    assert found.training.batch_size < 64
    assert 3_000 <= found.training.epochs * 2000 / found.training.batch_size < 8_000
    unet = chosen(strokes(50_000), network=UNetConfig(), task=DenoiseConfig())
    assert (unet.network, unet.training.epochs, unet.training.lr) == (UNetConfig(), 5, 2e-3)


def test_the_code_is_what_pca_needs_and_the_images_allow():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(1000, 12)) @ rng.normal(size=(12, 256))
    exact = (128 + 10 * drawn).clip(0, 255).astype(np.uint8).reshape(-1, 1, 16, 16)
    assert 8 <= chosen(ImageSet(exact)).network.latent <= 12
    noise = ImageSet(rng.integers(0, 256, (1000, 1, 16, 16), np.uint8))
    assert chosen(noise).network.latent == 1000 // 50
    assert chosen(noise.subset(slice(100))).network.latent == 8


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (9, 15), (17, 17), (28, 28), (48, 31), (100, 128), (255, 256), (512, 512)]
)
def test_maps_are_at_most_eight_pixels_wide_and_a_step_is_trained(height, width):
    images = ImageSet(np.random.default_rng(0).integers(0, 256, (2, 3, height, width), np.uint8))
    found = chosen(images, "latent", "epochs")
    torch.manual_seed(0)
    network = build(found.network, Fit(height, width, 3))
    x = images.floats()
    for layer in network.stages.encoder:
        if isinstance(layer, torch.nn.Flatten):
            break
        x = layer(x)
    assert 1 <= min(x.shape[2:]) <= max(x.shape[2:]) <= 8
    before = network.stages.encoder[0].weight.detach().clone()
    training = dataclasses.replace(found.training, epochs=1)
    fit(network, Batches(images, 2, 0), objective(found.task), training)
    assert not torch.equal(network.stages.encoder[0].weight, before)
    assert network.reconstruct(images.floats()).shape == (2, 3, height, width)


def test_only_ways_that_leave_images_as_likely_are_chosen_to_augment_by():
    fields = photographs(400)
    assert chosen(fields).task.augment == "turn"
    x = fields.pixels
    shaded = x * np.linspace(0.2, 1, 32)[:, None]  # lighter at the bottom, as with a lamp from below
    assert chosen(ImageSet(shaded.astype(np.uint8))).task.augment == "mirror"
    lit = shaded * np.linspace(0.2, 1, 32)
    assert chosen(ImageSet(lit.astype(np.uint8))).task.augment == "none"
    assert chosen(fields.subset(slice(19))).task.augment == "none"  # too few to tell


@pytest.mark.parametrize("name", ["deep-conv-vae", "deep-conv-ae"])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (96, 72)])
def test_a_linear_path_begins_as_pca(name, height, width):
    """The PSNR of PCA before the first step, and codes of mean 0 and variance 1, uncorrelated."""
    images = ImageSet(80 + photographs(60, 96).pixels[:, :, :height, :width] // 3)
    config = RunConfig(
        DeepConvConfig(name, latent=5, linear_path="pca"),
        images.image,
        DataConfig(),
        TrainingConfig(),
        AutoencodeConfig(likelihood="student"),
    )
    network = assemble(config, train=images).network
    x = images.floats()
    with torch.no_grad():
        found, code = network.reconstruct(x), network.encode(x).mu
    size = (height, width) if height < 64 else (64, 48)
    small = torch.nn.functional.interpolate(x, size, mode="area").flatten(1).double().numpy()
    directions = np.linalg.svd(small - small.mean(0), full_matrices=False)[2][:5]
    expected = small.mean(0) + (small - small.mean(0)) @ directions.T @ directions
    drawn = torch.nn.functional.interpolate(found, size, mode="area").flatten(1).numpy()
    if height < 64:
        np.testing.assert_allclose(drawn, expected, atol=1e-4)
    else:  # enlarged and shrunk again
        np.testing.assert_allclose(drawn, expected, atol=0.02)
    np.testing.assert_allclose(np.cov(code.T.numpy()), np.eye(5), atol=0.03)


def test_images_all_alike_and_fewer_than_dimensions_have_a_linear_path_too():
    for images in (np.full((30, 1, 8, 8), 77, np.uint8), photographs(6, 8).pixels):
        run = safelight.train(
            ImageSet(images), validation=0, linear_path="pca", likelihood="student", latent=9, epochs=2
        )
        assert math.isfinite(run.history[-1]["train"]["loss"])
        assert np.isfinite(run.reconstruct(ImageSet(images))).all()


def test_long_strips_are_halved_while_they_can_be():
    found = chosen(ImageSet(np.zeros((4, 1, 8, 512), np.uint8)), "latent")
    build(found.network, Fit(8, 512, 1))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("network", "latent", 3),
        ("network", "channels", (5,)),
        ("network", "linear_path", "pca"),
        ("task", "likelihood", "bernoulli"),
        ("task", "augment", "mirror"),
        ("training", "epochs", 7),
        ("training", "batch_size", 13),
        ("training", "lr", 0.1),
    ],
)
def test_what_is_named_stays(part, name, value):
    parts = dict(zip(("network", "task", "training"), DEFAULTS, strict=True))
    parts[part] = dataclasses.replace(parts[part], **{name: value})
    found = choose(photographs(100), **parts, named={name})
    assert getattr(getattr(found, part), name) == value
    assert not any(reason.startswith(name.replace("_", " ") + " ") for reason in found.reasons)


def test_a_default_run_says_why_and_its_config_repeats_it(command, tmp_path):
    np.save(tmp_path / "own.npy", photographs(60, 12).pixels)
    done = command("train", "own.npy", "--epochs", "2", "--threads", "1", "--out", "a")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert None not in {config["training"][name] for name in ("epochs", "batch_size", "lr", "threads")}
    assert config["task"]["likelihood"] == "student"
    assert any(note.startswith("latent 8: ") for note in config["notes"])
    assert all(note in " ".join(done.stderr.split()) for note in config["notes"])
    assert "2 epochs, 6 steps: about 0:00:01 on this machine" in done.stderr
    again = command("train", "--config", "a/config.json", "--out", "b")
    assert again.returncode == 0, again.stderr
    silent = safelight.train(tmp_path / "own.npy", epochs=2, threads=1)  # no steps are tried before
    expected = safetensors.torch.load_file(tmp_path / "a/model.safetensors")
    for path in (tmp_path / "b", silent.path):
        found = safetensors.torch.load_file(path / "model.safetensors")
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        assert json.loads((path / "config.json").read_text())["training"] == config["training"]


def test_weights_to_start_from_decide_the_network(digits, tmp_path):
    safelight.train("digits", out=tmp_path / "a", epochs=1, channels=(4,), latent=3, threads=1)
    run = safelight.train("digits", init_from=tmp_path / "a", epochs=1, threads=1)
    assert (run.config.network.channels, run.config.network.latent) == ((4,), 3)


def test_an_evaluation_has_pca_beside_it(digits):
    """By the singular vectors of the training images, computed here."""
    run = safelight.train("digits", epochs=1, channels=(4,), latent=5, threads=1)
    train, test = run.images("train"), run.images("test")
    x, y = (images.floats().double().flatten(1).numpy() for images in (train, test))
    mean = x.mean(0)
    directions = np.linalg.svd(x - mean, full_matrices=False)[2][:5]
    drawn = (mean + (y - mean) @ directions.T @ directions).clip(0, 1)
    measured = run.evaluate("test")
    expected = -10 * np.log10(((drawn - y) ** 2).mean(1)).mean()
    assert measured["pca_psnr"] == pytest.approx(expected, abs=1e-3)
    assert measured["mean_psnr"] == pytest.approx(-10 * np.log10(((mean - y) ** 2).mean(1)).mean(), abs=1e-3)
    with torch.no_grad():
        ours = psnr(run.network.reconstruct(test.floats()), test.floats()).mean().item()
    assert measured["psnr"] == pytest.approx(ours, abs=1e-3)
    assert measured["latent"] == 5
    shares = fit_components(digits, 64).shares
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    assert (np.diff(shares) <= 1e-6).all()
    shrunk = fit_components(photographs(20, 100), 4, (10, 10))
    assert shrunk.directions.shape == (4, 300)


def test_losses_of_validation_are_by_its_own_variance(digits):
    run = safelight.train("digits", epochs=3, channels=(4,), latent=5, threads=1, likelihood="gaussian")
    loss = run._parts.loss
    variance = torch.exp(2 * loss.likelihood.log_sigma).item()
    images = run.images("validation")
    network = run.network

    terms = mean_loss(network, loss, images)
    assert terms["loss"] == pytest.approx(run.history[-1]["validation"]["loss"], rel=1e-4)
    assert terms["reconstruction"] == pytest.approx(32 * (1 + np.log(2 * np.pi * variance)), rel=1e-3)
