"""What a denoiser made of a picture, judged without the truth."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import safelight
from safelight.cleaning.doubts import doubt_of
from safelight.command.main import main
from safelight.config.corruption import CORRUPTIONS
from safelight.data.corruption import Corruption
from safelight.data.opening import open_picture

PHOTOGRAPH = (data.camera()[None, ::2, ::2] / 255).astype(np.float32)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("which", ["photograph", "colours", "digits"])
def test_what_is_true_is_not_doubted(kind, which, digits):
    """Of any noise that a network is trained against, at any severity."""
    true = {
        "photograph": PHOTOGRAPH[None],
        "colours": (data.astronaut()[::2, ::2].transpose(2, 0, 1)[None] / 255).astype(np.float32),
        "digits": digits.floats(slice(30)).numpy().repeat(4, 2).repeat(4, 3),
    }[which]
    for severity in CORRUPTIONS[kind].curve:
        noisy = Corruption(f"{kind}:{severity}")(torch.from_numpy(true), torch.Generator().manual_seed(0))
        light = CORRUPTIONS[kind].changes_light
        assert [doubt_of(a, b, light) for a, b in zip(noisy.numpy(), true, strict=True)] == [None] * len(true)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_what_noise_does_not_explain(scale):
    noisy = scale * np.clip(PHOTOGRAPH + RNG.normal(0, 0.1, PHOTOGRAPH.shape), 0.01, 0.99)
    true = scale * PHOTOGRAPH
    assert doubt_of(noisy, true) is None
    assert "brighter than noise explains" in str(doubt_of(noisy, true + 0.45 * scale))
    assert "darker" in str(doubt_of(noisy, 0.1 * true))
    even = np.full_like(true, noisy.mean())
    assert "one even gray" in str(doubt_of(noisy, even))
    rows, columns = np.indices(true.shape[1:])
    lattice = 0.3 * scale * ((rows % 4 == 0) | (columns % 4 == 0))
    assert "repeats every 8 pixels" in str(doubt_of(noisy, true + lattice - lattice.mean()))
    assert doubt_of(noisy + lattice, true + lattice) is None  # the picture's own


def test_a_cameras_noise_grows_with_the_light():
    """Its variance is the severity's square times the light and, from reading, a hundredth of white's."""
    levels = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1, 1).expand(3, 1, 300, 300)
    noisy = Corruption("camera:0.1")(levels, torch.Generator().manual_seed(0))
    assert noisy.mean((1, 2, 3)).tolist() == pytest.approx([0.2, 0.4, 0.6], abs=1e-3)
    assert noisy.var((1, 2, 3)).tolist() == pytest.approx(
        [0.01 * (x + 0.01) for x in (0.2, 0.4, 0.6)], rel=0.03
    )


def test_an_even_picture_comes_out_even():
    flat = np.full((1, 64, 64), 0.3) + RNG.normal(0, 0.2, (1, 64, 64))
    assert doubt_of(flat, np.full_like(flat, 0.3)) is None


def test_the_command_says_so_and_exits_with_1(tmp_path, monkeypatch, capsys):
    """A network that was shown dark pictures alone makes all others dark; the results are there anyway."""
    monkeypatch.chdir(tmp_path)
    dark = RNG.integers(0, 20, (64, 16, 16)).astype(np.uint8)
    safelight.train(
        dark, "denoising-unet", "run", task="denoise", corrupt="gaussian:0.02", channels=(8, 16), heads=2,
        epochs=60, batch_size=16, lr=0.01, threads=1,
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    Image.fromarray(np.uint8(255 * PHOTOGRAPH[0])).save(tmp_path / "in" / "photo.png")
    np.save(tmp_path / "in" / "photo.npy", PHOTOGRAPH)
    assert main(["denoise", "run", "in", "--out", "out"]) == 1
    said, errors = capsys.readouterr()
    assert said == "Cleaned 2 of 2 files into out\n"
    for name in ("photo.png", "photo.npy"):
        assert f"doubtful in/{name}: the result is darker than noise explains: " in errors
    assert "2 of the results differ from what came in by more than noise" in errors
    assert open_picture(tmp_path / "out" / "photo.png", "").pixels.shape == PHOTOGRAPH.shape
