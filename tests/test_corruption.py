import numpy as np
import pytest
import scipy.ndimage
import torch

from safelight.config.corruption import CORRUPTIONS, parse_corruption
from safelight.data.batches import Batches
from safelight.data.corruption import CORRUPTERS, Corruption
from safelight.errors import ConfigError


def corrupted(text: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return Corruption(text)(images, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def images(digits) -> torch.Tensor:
    return digits.floats(slice(64))


def test_one_table_of_corruptions():
    assert list(CORRUPTERS) == list(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_corruption_keeps_the_contract(name, channels, images):
    images = images.repeat(1, channels, 1, 1)
    before, most = images.clone(), CORRUPTIONS[name].most
    strong = corrupted(f"{name}:{most}", images)
    assert strong.shape == images.shape
    assert 0 <= strong.min() <= strong.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(strong, corrupted(f"{name}:{most}", images))
    errors = [
        (corrupted(f"{name}:{share * most}", images) - images).square().mean() for share in (0, 0.03, 0.5)
    ]
    assert errors[0] < 1e-10
    assert errors[0] < errors[1] < errors[2]


def test_known_values():
    half = torch.full((200, 1, 10, 10), 0.5)
    assert corrupted("gaussian:0.1", half).std().item() == pytest.approx(0.1, rel=0.02)
    noisy = corrupted("salt-and-pepper:0.3", half)
    assert (noisy != 0.5).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert (noisy == 1).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (corrupted("masking:0.2", half) == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert ((corrupted("blocks:4", half) == 0).sum((1, 2, 3)) == 16).all()
    assert corrupted("poisson:0.04", half).var().item() == pytest.approx(0.5 * 0.04, rel=0.05)
    assert corrupted("contrast:0.5", torch.ones(1, 1, 8, 8)).unique().tolist() == [0.75]


def test_colour_loses_whole_pixels():
    white = torch.ones(8, 3, 16, 16)
    for name in ("masking:0.5", "salt-and-pepper:0.5", "blocks:5"):
        lost = corrupted(name, white) == 0
        assert lost.any()
        assert (lost.all(1) == lost.any(1)).all()


def test_blur_equals_scipys(images):
    ours = corrupted("blur:1.5", images[:4]).squeeze(1).numpy()
    for blurred, image in zip(ours, images.squeeze(1).numpy(), strict=False):
        np.testing.assert_allclose(
            blurred, scipy.ndimage.gaussian_filter(image, 1.5, mode="nearest"), atol=1e-5
        )


def test_a_range_gives_each_image_its_own_severity():
    half = torch.full((500, 1, 20, 20), 0.5)
    spreads = corrupted("gaussian:0..0.2", half).flatten(1).std(1)
    assert spreads.min() < 0.02
    assert spreads.max() > 0.18
    assert spreads.mean().item() == pytest.approx(0.1, rel=0.1)


def test_corruptions_follow_one_another():
    white = torch.ones(50, 1, 12, 12)
    both = corrupted("gaussian:0.3+blocks:8", white)
    assert ((both == 0).sum((1, 2, 3)) >= 64).all()
    assert (corrupted("contrast:1+gaussian:0", white) == 0.5).all()


def test_an_epoch_continues_to_the_same_noise(digits):
    batches = Batches(digits, 100, seed=3, transform=Corruption("gaussian:0..1+masking:0.1"))
    whole = [batch.inputs for batch in batches.epoch(1)]
    late = [batch.inputs for batch in batches.epoch(1, start=15)]
    assert all(torch.equal(a, b) for a, b in zip(whole[15:], late, strict=True))
    again = next(batches.epoch(2))
    assert not torch.equal(again.inputs, whole[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gausian:0.3", "unknown corruption 'gausian'; did you mean 'gaussian'"),
        ("gaussian:3", r"gaussian with a severity from 0 to 2 \(standard deviation"),
        ("gaussian", "gaussian with a severity from 0 to 2"),
        ("gaussian:0.3..0.1", "gaussian with a severity"),
        ("masking:-0.1", "masking with a severity from 0 to 1"),
        ("masking:nan", "masking with a severity from 0 to 1"),
        ("blur:0.5+", r"unknown corruption ''; there are gaussian:0\.\.2"),
        ("", "unknown corruption ''"),
        ("blocks:1e9", "blocks with a severity from 0 to 128"),
    ],
)
def test_what_is_no_corruption_is_refused(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse_corruption(text)
    assert "\n" not in str(caught.value)
    assert text.count("gausian") == 0 or "salt-and-pepper" in str(caught.value)


def test_the_text_comes_back():
    for text in ("gaussian:0.3", "gaussian:0..1", "gaussian:0.3+blocks:8"):
        assert str(Corruption(text)) == text
