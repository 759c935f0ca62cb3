import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from safelight.data.picture_files import Picture, encode_picture, read_picture
from safelight.data.png16 import SIGNATURE, decode_png16, encode_png16
from safelight.errors import DataError

KINDS = [
    (kind, channels, alpha, bits)
    for kind in ("PNG", "TIFF")
    for channels in (1, 3)
    for alpha in (False, True)
    for bits in (8, 16)
    if (kind, channels, alpha, bits) != ("TIFF", 1, True, 16)
]


def pixels_of(channels: int, alpha: bool, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(0)
    kind = np.uint8 if bits == 8 else np.uint16
    levels = rng.integers(0, 2**bits, (channels, 20, 33)).astype(kind)
    return levels, rng.integers(0, 2**bits, (20, 33)).astype(kind) if alpha else None


@pytest.mark.parametrize(("kind", "channels", "alpha", "bits"), KINDS)
def test_pictures_keep_mode_depth_and_transparency(tmp_path, kind, channels, alpha, bits):
    levels, transparency = pixels_of(channels, alpha, bits)
    exact = levels / np.float32(2**bits - 1)
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(encode_picture(exact, Picture(exact, transparency, bits, kind)))
    again = read_picture(path)
    assert (again.bits, again.format) == (bits, kind)
    np.testing.assert_array_equal(np.rint(again.pixels * (2**bits - 1)), levels)
    assert (again.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(again.alpha, transparency)
    with Image.open(path) as image:  # others can read it
        assert image.size == (33, 20)
        if bits == 8:
            assert image.mode == {(1, 0): "L", (1, 1): "LA", (3, 0): "RGB", (3, 1): "RGBA"}[channels, alpha]
            first = np.asarray(image).reshape(20, 33, -1)[..., 0]
            np.testing.assert_array_equal(first, levels[0])


def test_jpegs_stay_jpegs(tmp_path, digits):
    gray = np.kron(digits.floats([0]).numpy()[0], np.ones((1, 4, 4), np.float32))
    (tmp_path / "one.jpg").write_bytes(encode_picture(gray, Picture(gray, format="JPEG")))
    again = read_picture(tmp_path / "one.jpg")
    assert (again.format, again.alpha, again.pixels.shape) == ("JPEG", None, (1, 32, 32))
    assert np.abs(again.pixels - gray).mean() < 0.02


@pytest.mark.parametrize(("kind", "bits"), [("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("JPEG", 8)])
def test_colour_profiles_are_kept(tmp_path, kind, bits):
    pixels = np.full((3, 9, 9), 0.5, np.float32)
    like = Picture(pixels, None, bits, kind, {"icc_profile": b"a profile of one's own"})
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(encode_picture(pixels, like))
    assert read_picture(path).extras["icc_profile"] == b"a profile of one's own"


def filtered(samples: np.ndarray, filters: list[int]) -> bytes:
    """A PNG file whose rows go through the specification's filters, byte by byte."""
    height, width, count = samples.shape
    size = 2 * count
    rows = samples.astype(">u2").tobytes()
    rows = [b"\0" * width * size, *(rows[i : i + width * size] for i in range(0, len(rows), width * size))]
    packed = b""
    for row, kind in enumerate(filters, start=1):
        packed += bytes([kind])
        for i, value in enumerate(rows[row]):
            a, b = rows[row][i - size] if i >= size else 0, rows[row - 1][i]
            c = rows[row - 1][i - size] if i >= size else 0
            paeth = min((a, b, c), key=lambda x: abs(a + b - c - x))  # the first of equals, as specified
            packed += bytes([(value - (0, a, b, (a + b) // 2, paeth)[kind]) % 256])
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(packed)), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_filters_of_png_are_undone(count):
    samples = np.random.default_rng(1).integers(0, 65536, (10, 7, count)).astype(np.uint16)
    samples[5:] = np.linspace(0, 65535, 7, dtype=np.uint16)[:, None]
    data = filtered(samples, [4, 3, 2, 1, 0, 4, 4, 3, 1, 2])
    np.testing.assert_array_equal(decode_png16(data, "here"), samples)


def test_16_bit_gray_is_read_as_pillow_reads_it():
    ramp = (np.add.outer(np.arange(50) ** 2, np.arange(60) * 700) % 65536).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    np.testing.assert_array_equal(decode_png16(buffer.getvalue(), "here")[..., 0], ramp)


def test_what_cannot_be_read_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    whole = encode_png16(noise)
    eight = io.BytesIO()
    Image.fromarray((noise >> 8).astype(np.uint8)).save(eight, "PNG")
    palette, frames = tmp_path / "palette.png", tmp_path / "frames.tiff"
    Image.new("P", (9, 9)).save(palette)
    Image.new("L", (9, 9)).save(frames, save_all=True, append_images=[Image.new("L", (9, 9))])
    files = {
        "cut16.png": whole[: len(whole) // 2],
        "cut8.png": eight.getvalue()[:2000],
        "text.png": b"hello",
        "empty.png": b"",
        "huge.png": SIGNATURE
        + filtered(noise[:1, :1], [0])[8:16]
        + struct.pack(">II", 10**6, 10**6)
        + whole[24:],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in (*files, "palette.png", "frames.tiff"):
        with pytest.raises(DataError, match=name) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"palette\.png in colours of a palette; convert it"):
        read_picture(palette)
