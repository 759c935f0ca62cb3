"""Cleaning images: the U-Net, tiles, blind spots, fidelity and the task."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

import safelight
from deep_learning_hw2.denoising import figure_4
from safelight.cleaning.files import clean_files
from safelight.command.main import main
from safelight.config.corruption import CORRUPTIONS, CorruptionKind
from safelight.config.network import UNetConfig
from safelight.config.task import DenoiseConfig, DenoiseEvaluation
from safelight.data.batches import Batch
from safelight.data.corruption import CORRUPTERS, Corruption
from safelight.errors import ConfigError
from safelight.networks.base import ImageNetwork, Network
from safelight.networks.tiling import clean
from safelight.networks.unet import DenoisingUNet
from safelight.tasks.blind_spot import BlindSpot, hide
from safelight.tasks.fidelity import psnr, read, ssim

SMALL = UNetConfig(channels=(8, 16), heads=2)


def sharp(network: DenoisingUNet) -> DenoisingUNet:
    """Fresh weights leave everything gray; these answer loudly to what they see."""
    with torch.no_grad():
        network.head.weight.mul_(20)
        for layer in network.bottom:
            if hasattr(layer, "out"):
                layer.out.weight.mul_(4)
                layer.query_key.weight.mul_(4)
    return network.eval()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 13), (1, 28, 28), (3, 65, 31), (1, 130, 9)], ids=str)
def test_any_size_comes_out_as_it_went_in(shape):
    torch.manual_seed(0)
    network = DenoisingUNet(shape, SMALL)
    for size in (shape[1:], (8, 8), (9, 70), (57, 28)):
        assert network(torch.rand(2, shape[0], *size)).shape == (2, shape[0], *size)
    network(torch.rand(2, *shape)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_all_of_a_small_image_counts_for_every_pixel():
    torch.manual_seed(0)
    network = sharp(DenoisingUNet((1, 28, 28), SMALL))
    x = torch.rand(1, 1, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("place", [(150, 150), (140, 167), (0, 0), (139, 140)])
def test_nothing_beyond_its_reach_counts(place):
    torch.manual_seed(0)
    network = DenoisingUNet((1, 28, 28), SMALL)
    x = torch.rand(1, 1, 300, 300, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, place[0], place[1]], x)
    seen = gradient[0, 0].nonzero()
    for axis in (0, 1):
        assert (seen[:, axis] - place[axis]).abs().max() <= network.reach[axis]


@pytest.mark.parametrize("trained_on", [(1, 28, 28), (1, 64, 40)])
@pytest.mark.parametrize("size", [(400, 411), (28, 700), (333, 61)])
def test_tiles_leave_no_seam(trained_on, size):
    torch.manual_seed(0)
    network = sharp(DenoisingUNet(trained_on, SMALL))
    image = torch.rand(1, 1, *size)
    whole = clean(network, image)
    assert whole.std() > 0.1  # it has something to say
    tiles = clean(network, image, max_pixels=300**2 if min(size) > 200 else 10_000)
    assert (whole - tiles).abs().max() <= 2 / 255


def test_windows_leave_no_seam():
    """Across a window's border neighbours differ as across any border of the folded 4×4 pixels."""
    torch.manual_seed(0)
    network = sharp(DenoisingUNet((1, 28, 28), SMALL))
    cleaned = clean(network, torch.rand(4, 1, 280, 280))
    steps = cleaned.diff(dim=3).abs().mean((0, 1, 2))  # between columns
    assert steps[27::28].mean().item() == pytest.approx(steps[3::4].mean().item(), rel=0.03)


def test_settings_that_do_not_fit_are_refused():
    for settings, words in (
        ({"channels": (48,)}, "network.channels: expected two numbers"),
        ({"heads": 3}, "network.heads: expected a divisor of the 128 channels"),
        ({"window": 4}, "network.window"),
        ({"attention": 17}, "network.attention"),
    ):
        with pytest.raises(ConfigError, match=words):
            UNetConfig(**settings)
    with pytest.raises(ConfigError, match="sides from 8 up, got 1×7×9"):
        DenoisingUNet((1, 7, 9))


def test_bfloat16_stays_close_and_keeps_its_levels():
    torch.manual_seed(0)
    network, x = DenoisingUNet((1, 28, 28), SMALL).eval(), torch.rand(8, 1, 28, 28)
    exact, near = clean(network, x), clean(network, x, "bfloat16")
    assert near.dtype == torch.float32
    assert 0 < (exact - near).abs().max() < 0.02
    assert len(near.unique()) > 256


def test_psnr_and_ssim_are_those_of_the_field(digits):
    true = digits.floats(slice(20))
    noisy = Corruption("gaussian:0.3")(true, torch.Generator().manual_seed(0))
    expected = [
        peak_signal_noise_ratio(t, n, data_range=1.0)
        for t, n in zip(true.numpy(), noisy.numpy(), strict=True)
    ]
    np.testing.assert_allclose(psnr(noisy, true).numpy(), expected, rtol=1e-4)
    assert psnr(true, true).unique().tolist() == [60]
    scores = ssim(noisy, true)
    assert (scores < ssim(true * 0.9, true)).all()
    assert scores.max() < 1


class Constant(ImageNetwork):
    """One logit for all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logit.expand_as(x)


def test_hidden_pixels_cannot_be_seen():
    images = torch.rand(6, 1, 9, 12, requires_grad=True)
    hidden, inputs = hide(images, torch.Generator().manual_seed(0))
    assert hidden.float().mean().item() == pytest.approx(1 / 9, abs=0.001)
    (gradient,) = torch.autograd.grad(inputs.sum(), images)
    assert (gradient[~hidden] >= 1).all()
    assert (gradient[hidden] == 0).all()
    assert torch.equal(inputs[~hidden], images[~hidden])
    row, column = hidden[0, 0, 1:-1, 1:-1].nonzero()[0].tolist()
    around = images[0, 0, row : row + 3, column : column + 3].sum() - images[0, 0, row + 1, column + 1]
    assert inputs[0, 0, row + 1, column + 1].item() == pytest.approx(around.item() / 8, rel=1e-5)
    assert not torch.equal(hidden[0], hidden[1])


@pytest.mark.parametrize("true", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("sigma", [0.2, 0.6])
def test_clipped_noise_does_not_turn_black_into_gray(true, sigma):
    torch.manual_seed(0)
    noisy = (true + sigma * torch.randn(40, 1, 30, 30)).clamp(0, 1)
    biased = abs(noisy.mean().item() - true)
    network, loss = Constant(), BlindSpot()
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 0.1)
    batch = Batch(noisy, noisy, None, torch.arange(40))
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        loss(network, batch, generator, step / 200)["loss"].backward()
        optimizer.step()
    assert network.logit.abs() < 7
    found = torch.sigmoid(network.logit).item()
    assert abs(found - true) < max(0.02, 0.2 * biased)
    assert loss.log_sigma.exp().item() == pytest.approx(sigma, rel=0.06)


def test_unclipping_is_the_mean_of_the_tail():
    from safelight.tasks.blind_spot import _unclipped

    mean, sigma = torch.tensor([0.3, 0.3, 0.3]), torch.tensor(0.5)
    found = _unclipped(torch.tensor([0.0, 0.4, 1.0]), mean, sigma)
    below = truncnorm.mean(-np.inf, (0 - 0.3) / 0.5, 0.3, 0.5)
    above = truncnorm.mean((1 - 0.3) / 0.5, np.inf, 0.3, 0.5)
    np.testing.assert_allclose(found.numpy(), [below, 0.4, above], rtol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits) -> safelight.Run:
    return safelight.train(
        "digits",
        "denoising-unet",
        tmp_path_factory.mktemp("runs") / "clean",
        task="denoise",
        corrupt="gaussian:0..0.6",
        channels=(16, 32),
        epochs=4,
        batch_size=32,
        lr=4e-3,
        threads=1,
    )


def test_training_on_noise_takes_noise_away(run):
    measured = run.evaluate("test", corrupt="gaussian:0.5")
    assert measured["psnr"] > measured["psnr_noisy"] + 3
    assert measured["ssim"] > measured["ssim_noisy"]
    assert measured["spread"]["psnr"] > 0
    assert measured["corrupt"] == "gaussian:0.5"
    assert measured["identity"] is None
    curve = measured["severity_curves"]["gaussian"]
    assert curve["trained"]
    assert not measured["severity_curves"]["blur"]["trained"]
    assert curve["psnr_noisy"] == sorted(curve["psnr_noisy"], reverse=True)
    assert [record["validation"]["psnr"] for record in run.history][-1] > 10
    again = run.evaluate("test", corrupt="gaussian:0.5")
    assert again == measured  # the noise is fixed
    stored = json.loads((run.path / "evaluation.json").read_text())["test"]
    assert stored["psnr"] == measured["psnr"]
    assert run.evaluate("test")["corrupt"] == "gaussian:0..0.6"


def test_evaluation_and_epochs_leave_pictures(run):
    run.evaluate("test")
    names = {path.stem for path in (run.path / "figures" / "evaluation").iterdir()}
    assert {"noisy-cleaned-true", "lowest-PSNR"} <= names
    assert (run.path / "figures" / "epochs" / "denoised-0004.png").exists()
    page = run.report().read_text()
    assert "severity_curves" in page
    assert "gaussian, trained on" not in page  # that is in the picture
    assert "PSNR, noisy (dB)" in page


class Judge(Network):
    """Reads 1 in bright images, 0 in others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full((len(x),), 0.3), x.mean((1, 2, 3))], 1)


def test_report_and_command_say_what_was_measured_on(run, capsys):
    assert main(["evaluate", str(run.path), "--corrupt", "gaussian:0.25"]) == 0
    assert "gaussian:0.25" in capsys.readouterr().out
    page = run.report().read_text(encoding="utf-8")
    assert "gaussian:0.25" in page
    assert "Lowest PSNR" in page


def test_a_report_shows_what_was_measured_of_the_present_weights(tmp_path):
    run = safelight.train(
        "digits", "conv-vae", tmp_path / "a", task="denoise", epochs=1, limit=200, threads=1
    )
    run.evaluate("validation")
    drawn = sorted(path.name for path in (run.folder.figures / "evaluation").iterdir())
    assert "noisy-cleaned-true.png" in drawn
    page = run.report().read_text(encoding="utf-8")
    assert "Noisy cleaned true" in page
    digest = hashlib.sha256((run.path / "best.safetensors").read_bytes()).hexdigest()
    assert f">{digest[:16]}<" in page
    (run.folder.figures / "evaluation" / "mine.png").write_text("a note")
    again = safelight.resume(run.path, epochs=2)
    late = run.evaluate("validation")  # by what it has loaded, as a process beside the training does
    assert late["weights"] == digest[:16] != again.weights
    page = again.report().read_text(encoding="utf-8")
    assert "Noisy cleaned true" not in page
    assert "have not been evaluated yet" in page
    assert digest[:16] not in page
    again.evaluate("validation")
    page = again.report().read_text(encoding="utf-8")
    assert "Noisy cleaned true" in page
    assert again.weights in page
    assert sorted(p.name for p in (run.folder.figures / "evaluation").iterdir()) == sorted(
        [*drawn, "mine.png"]
    )


def test_identity_is_what_a_judge_reads(run, digits):
    assert read(Judge(), torch.tensor([0.1, 0.9]).view(2, 1, 1, 1)).tolist() == [0, 1]
    images = digits.subset(slice(40))
    bright = (images.floats().mean((1, 2, 3)) > 0.3).long().numpy()
    images = safelight.ImageSet(images.pixels, images.value_range, bright)
    task = run.task
    task.judge = Judge()
    values = task.evaluate(run.network, task.loss(), images, DenoiseEvaluation("gaussian:0.6")).values
    assert values["identity_true"] == 100
    assert values["identity"] > values["identity_noisy"]


def test_a_runs_classifier_can_judge(run, digits, tmp_path):
    judge = safelight.train(
        digits, "classifier", tmp_path / "judge", task="classify", epochs=4, batch_size=20, threads=1
    )
    measures = run.evaluate("test", corrupt="gaussian:0.3", judge=str(judge.path))
    right = judge.evaluate("test", images=digits)["accuracy"]
    assert measures["identity_true"] == pytest.approx(right)
    assert right > 60
    assert measures["identity_noisy"] < right
    assert run.evaluate("test")["identity"] is None


def test_arrays_are_scaled_by_the_runs_own_range(run, digits, tmp_path):
    """The run's images go from 0 to 16; so do the bytes of an array that it is given."""
    few = digits.subset(slice(6))
    cleaned = run.denoise(few)
    np.testing.assert_array_equal(run.denoise(few.pixels), cleaned)
    np.save(tmp_path / "noisy.npy", few.pixels[:, 0])
    plan = [(tmp_path / "noisy.npy", tmp_path / "clean.npy")]
    assert [done.error for done in clean_files(run.cleaner(), plan, compare=False)] == [None]
    written = np.load(tmp_path / "clean.npy")
    assert written.dtype == few.pixels.dtype
    np.testing.assert_array_equal(written, np.rint(16 * cleaned[:, 0]))
    np.save(tmp_path / "noisy.npy", np.full((2, 8, 8), 200, np.uint8))
    (done,) = clean_files(run.cleaner(), plan, compare=False)
    assert "expected pixels from 0 to 16" in str(done.error)


def test_an_array_is_cleaned_at_any_size(run, digits):
    noisy = Corruption("gaussian:0.4")(digits.floats(slice(30)), torch.Generator().manual_seed(0)).numpy()
    cleaned = run.denoise(noisy)
    assert cleaned.shape == noisy.shape
    assert cleaned.dtype == np.float32
    assert ((cleaned - digits.floats(slice(30)).numpy()) ** 2).mean() < 0.5 * (
        (noisy - digits.floats(slice(30)).numpy()) ** 2
    ).mean()
    assert run.denoise(np.zeros((2, 21, 40), np.uint8)).shape == (2, 1, 21, 40)


def test_autoencoders_learn_to_clean_too(digits):
    for network in ("deep-conv-ae", "conv-vae"):
        run = safelight.train(
            "digits", network, task="denoise", corrupt="gaussian:0.5", epochs=4, lr=0.01, threads=1
        )
        measured = run.evaluate("test")
        assert measured["psnr"] > measured["psnr_noisy"]
        assert ("kl" in run.history[0]["train"]) == (network == "conv-vae")


def test_a_run_without_clean_images(digits):
    noisy = Corruption("gaussian:0.4")(digits.floats(), torch.Generator().manual_seed(0)).numpy()
    settings = {"channels": (16, 32), "epochs": 6, "batch_size": 32, "threads": 1}
    run = safelight.train(noisy, "denoising-unet", task="denoise", self_supervised=True, **settings)
    cleaned, true = run.denoise(noisy[:300]), digits.floats(slice(300)).numpy()
    assert ((cleaned - true) ** 2).mean() < 0.6 * ((noisy[:300] - true) ** 2).mean()
    assert set(run.evaluate("test", images=noisy)) == {"loss", "sigma", "n", "split", "weights"}
    with pytest.raises(ConfigError, match="noisy themselves"):
        run.evaluate("test", images=noisy, corrupt="gaussian:0.1")


def test_a_new_corruption_arrives_everywhere(monkeypatch, tmp_path, digits):
    monkeypatch.setitem(CORRUPTIONS, "fog", CorruptionKind("share of gray", 1, (0.2, 0.4)))
    monkeypatch.setitem(CORRUPTERS, "fog", lambda x, severity, generator: x + severity * (0.5 - x))
    with pytest.raises(ConfigError, match=r"contrast:0\.\.1, fog:0\.\.1"):
        DenoiseConfig(corrupt="mist:1")
    settings = {"task": "denoise", "corrupt": "fog:0..1", "channels": (8, 16), "epochs": 1, "threads": 1}
    run = safelight.train("digits", "denoising-unet", tmp_path / "run", **settings)
    assert run.evaluate("test", corrupt="fog:0.5")["severity_curves"]["fog"]["severity"] == [0.2, 0.4]
    assert "fog 0.4" in run.report().read_text(encoding="utf-8")


def test_settings_of_the_task():
    assert DenoiseConfig(corrupt="blur:1").corrupt == "blur:1"
    with pytest.raises(ConfigError, match="unknown corruption 'mist'"):
        DenoiseConfig(corrupt="mist:1")
    with pytest.raises(ConfigError, match="expected none with self_supervised"):
        DenoiseConfig(corrupt="blur:1", self_supervised=True)
    with pytest.raises(ConfigError, match="likelihood: expected none with self_supervised images, got gauss"):
        DenoiseConfig(likelihood="gaussian", self_supervised=True)
    with pytest.raises(ConfigError, match="from 0 to 2"):
        DenoiseEvaluation("gaussian:7")


def test_the_reports_figure_4(run, digits):
    figure = figure_4({"a U-Net": run, "another": run}, digits, Judge())
    grid = np.array(figure.axes).reshape(3, 10)
    assert [row[0].get_ylabel() for row in grid] == ["noise of 0.2", "a U-Net", "another"]
    below = [axes.get_xlabel() for axes in grid[0]]
    assert all(words in ("", "read as 0", "read as 1") for words in below)
    assert all(words for words, label in zip(below, digits.labels, strict=False) if label > 1)
    assert all(axes.get_xlabel() == "" for axes in figure_4({"a U-Net": run}, digits).axes)


def test_both_ways_to_attend_are_one():
    torch.manual_seed(0)
    network, x = sharp(DenoisingUNet((1, 28, 28), SMALL)), torch.rand(2, 1, 60, 40)
    with torch.no_grad():
        fused = network(x)
    torch.testing.assert_close(network(x), fused, rtol=1e-4, atol=1e-4)


def test_an_evaluation_in_parts_is_that_of_the_whole(run, monkeypatch):
    """Its pictures too: the images are found again among all of them."""
    images = run.images("test")

    def evaluated():
        network, task = run.network, run.task
        task.judge = Judge()
        with torch.no_grad():
            labelled = replace(images, labels=(images.floats().mean((1, 2, 3)) > 0.3).long().numpy())
            return task.evaluate(network, run._parts.loss, labelled, DenoiseEvaluation("blur:1"))

    whole = evaluated()
    monkeypatch.setattr("safelight.data.images.TOGETHER", 48)
    parts = evaluated()
    assert whole.pictures.keys() == parts.pictures.keys() > {"noisy-cleaned-true", "lowest-PSNR"}
    for name, picture in whole.pictures.items():
        assert np.abs(np.asarray(picture, int) - np.asarray(parts.pictures[name], int)).max() <= 1, name
    for name in ("loss", "psnr", "ssim", "identity", "identity_noisy", "identity_true"):
        assert parts.values[name] == pytest.approx(whole.values[name], rel=1e-4), name
    assert whole.values["identity_true"] == 100
    assert parts.values["spread"]["psnr"] == pytest.approx(whole.values["spread"]["psnr"], rel=1e-4)
