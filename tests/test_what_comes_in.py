"""Images as strangers have them: other scales, other containers; every advice, followed, works."""

import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import safelight
from safelight.command.main import main
from safelight.data.images import ImageSet
from safelight.errors import DataError, SafelightError

SHAPE = (40, 8, 8)
RNG = np.random.default_rng(0)
TINY = {"channels": (4,), "hidden": 8, "latent": 2, "epochs": 1, "threads": 1, "batch_size": 16}


@pytest.mark.parametrize(
    "array",
    [
        RNG.random(SHAPE) * 255,
        RNG.random(SHAPE) * 16,
        RNG.random(SHAPE) * 2 - 1,
        RNG.normal(size=SHAPE),
        RNG.integers(0, 256, SHAPE),
        RNG.integers(0, 4096, SHAPE),
        RNG.integers(-128, 128, SHAPE).astype(np.int8),
        RNG.random(SHAPE).astype(np.float16),
    ],
    ids=["0..255", "0..16", "-1..1", "normal", "int64", "12-bit", "int8", "float16"],
)
def test_numbers_of_all_kinds_are_taken_for_what_they_mean(array):
    floats = safelight.load(array).floats().numpy()[:, 0]
    assert floats.max() > 0.9
    assert floats.min() < 0.1
    assert floats.std() > 0.1
    assert np.corrcoef(floats.ravel(), np.asarray(array, float).ravel())[0, 1] > 0.999


def test_the_advice_of_an_image_set_works():
    pixels = RNG.normal(size=(4, 1, 8, 8)).astype(np.float32)
    with pytest.raises(DataError, match="value_range=") as caught:
        ImageSet(pixels)
    low, high = map(float, re.search(r"value_range=\((.+), (.+)\)", str(caught.value)).groups())
    rounding = 1e-4
    ImageSet(pixels, (low - rounding, high + rounding))


@pytest.mark.parametrize("white", [4095, 1])
def test_a_run_scales_what_comes_in_by_its_own_range(white):
    pixels = RNG.integers(0, white + 1, SHAPE).astype(np.uint16)
    images = ImageSet(pixels[:, None], (0, white))
    run = safelight.train(images, **TINY)
    assert np.array_equal(run.encode(pixels), run.encode(images))
    assert np.allclose(run.encode(pixels / white), run.encode(images), atol=1e-5)
    silhouettes = pixels > white / 2
    assert np.array_equal(run.encode(silhouettes), run.encode(silhouettes.astype(np.float32)))
    with pytest.raises(DataError, match=f"expected pixels from 0 to {white} in the array, as the run's"):
        run.encode(np.full(SHAPE, 65535, np.uint16))


def test_a_photograph_is_read_upright(tmp_path):
    pixels = np.zeros((12, 20), np.uint8)
    pixels[:6] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    read = safelight.load(tmp_path).pixels[0, 0]
    assert read.shape == (20, 12)
    assert read[:, 7:].min() > 200 > 50 > read[:, :5].max()  # now bright on the right


def test_numbers_of_numpy_are_numbers():
    run = safelight.train(
        "digits",
        limit=np.int64(100),
        validation=np.int32(20),
        lr=np.float32(1e-3),
        **(TINY | {"latent": np.uint8(3)}),
    )
    assert (run.config.data.limit, run.config.data.validation, run.config.network.latent) == (100, 20, 3)
    assert run.config.training.lr == pytest.approx(1e-3)
    assert len(safelight.resume(run.path, epochs=np.int64(2)).history) == 2


def test_nothing_is_copied_that_need_not_be(tmp_path):
    np.save(tmp_path / "a.npy", RNG.integers(0, 256, SHAPE).astype(np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    images = safelight.load(mapped)
    assert np.shares_memory(images.pixels, mapped)
    assert images.floats(slice(3)).shape == (3, 1, 8, 8)
    apart = ImageSet(images.pixels, has_test_split=True)
    splits = apart.split(limit=10)
    assert all(np.shares_memory(part.pixels, mapped) for part in (splits.train, splits.validation))
    assert [len(splits.train), len(splits.validation)] == [10, 6]


def test_an_image_set_is_as_good_as_an_array(digits):
    assert digits[3].shape == (1, 8, 8)
    assert np.array_equal(next(iter(digits)), digits[0])
    assert np.array_equal(np.asarray(digits), digits.pixels)
    assert len(digits[:5]) == 5
    assert np.array_equal(digits[[2, 1]].pixels, digits.pixels[[2, 1]])


def test_tensors_and_lists_of_pictures_are_taken():
    pixels = RNG.integers(0, 256, SHAPE).astype(np.uint8)
    for given in (torch.from_numpy(pixels), [Image.fromarray(image) for image in pixels], list(pixels)):
        assert np.array_equal(safelight.load(given).pixels[:, 0], pixels)
    assert safelight.load([pixels[0], pixels[0, :4]]).shape == (1, 8, 8)  # made alike


def test_masks_are_refused_wherever_they_come_in():
    masked = np.ma.masked_array(RNG.integers(0, 256, SHAPE).astype(np.uint8), mask=RNG.random(SHAPE) < 0.1)
    for give, advice in (
        (lambda: safelight.load(masked), "array.filled(0)"),
        (lambda: safelight.load(list(masked)), "image.filled(0)"),
        (lambda: ImageSet(masked[:, None]), "pixels.filled(0)"),
    ):
        with pytest.raises(DataError, match="mask") as caught:
            give()
        assert str(caught.value).endswith(f"as with {advice}")
    filled = safelight.load([image.filled(0) for image in masked])  # as it advises
    assert filled.pixels[:, 0][masked.mask].max() == 0


def undecodable(path, width=3600, height=2400, colour=2):
    """A PNG file whose header is all there is of it: whatever decodes it fails."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"no pixels"))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
        )
    )


def test_what_cannot_be_decoded_ends_in_one_line(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        undecodable(folder / f"{i:02d}.png")
    run = safelight.train("digits", out=tmp_path / "run", **TINY)
    for use in (
        lambda: safelight.train(folder, out=tmp_path / "a", epochs=1),
        lambda: safelight.evolve(folder, out=tmp_path / "a"),
        lambda: safelight.finetune(run, folder, out=tmp_path / "a"),
        lambda: run.encode(folder),
        lambda: run.walk(folder / "00.png", 1),
    ):
        with pytest.raises(
            SafelightError, match=r"none that can be taken: 00\.png: expected a whole picture"
        ):
            use()
    monkeypatch.chdir(tmp_path)
    for arguments in (
        "train photos --out a",
        "classify run photos --out a.csv",
        "suggest run photos --out a.csv",
        "embed run photos --out a.parquet",
    ):
        assert main(arguments.split()) == 2
        assert "none that can be taken" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "run"}
