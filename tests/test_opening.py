"""Picture files of every kind: their headers, their pixels, and what is no picture."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from corpus import HEIGHT, LOSSY, TURNED, WIDTH, chunk, make_corpus, planes, png, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safelight.data.kinds import MAX_VALUES, upright
from safelight.data.opening import SUFFIXES, declared, open_pages, open_picture
from safelight.data.png16 import decode_png16, encode_png16
from safelight.errors import DataError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return folder, make_corpus(folder)


def is_lossy(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".mpo")) or name.startswith(("lossy", "jpeg", "inks"))


def test_every_kind_is_read_to_known_pixels(corpus):
    folder, expected = corpus
    good = {name: pixels for name, pixels in expected.items() if pixels is not None}
    assert len(good) > 100
    for name, pixels in good.items():
        header, picture = declared(folder / name, name), open_picture(folder / name, name)
        assert picture.header == header, name
        assert (header.channels, header.height, header.width) == pixels.shape == picture.pixels.shape, name
        assert picture.pixels.dtype == pixels.dtype, name
        assert picture.pixels.flags.c_contiguous
        assert (picture.alpha is not None) == header.alpha, name
        off = LOSSY if is_lossy(name) else 0
        np.testing.assert_allclose(picture.pixels.astype(float), pixels.astype(float), atol=off, err_msg=name)
        if pixels.dtype == np.uint8:
            assert picture.white == 255


def test_what_is_no_picture_is_one_line_with_its_name(corpus):
    folder, bad_or_not = corpus
    bad = [name for name, pixels in bad_or_not.items() if pixels is None]
    assert len(bad) > 15
    for name in bad:
        with pytest.raises(DataError) as caught:
            open_picture(folder / name, name)
        message = str(caught.value)
        assert name in message, message
        assert "expected" in message, message
        assert "\n" not in message, message


def test_content_in_memory_is_read_as_files_are(corpus):
    folder, _ = corpus
    for name in (
        "colour.png",
        "OME.ome.tif",
        "gray.jpg",
        "lossless.webp",
        "frames.gif",
        "16 bits colour.png",
    ):
        data = (folder / name).read_bytes()
        assert declared(data, name) == declared(folder / name, name)
        np.testing.assert_array_equal(
            open_picture(data, name).pixels, open_picture(folder / name, name).pixels
        )


def test_headers_say_what_is_there(corpus):
    folder, _ = corpus

    def header(name):
        found = declared(folder / name, name)
        return found.kind, found.channels, found.alpha, found.bits, found.pages, found.frames

    assert header("one bit.png") == ("PNG", 1, False, 8, 1, 1)
    assert header("gray palette.png") == ("PNG", 1, False, 8, 1, 1)
    assert header("16 bits gray alpha.png") == ("PNG", 1, True, 16, 1, 1)
    assert header("two pictures.mpo") == ("MPO", 3, False, 8, 1, 2)
    assert header("frames.gif") == ("GIF", 3, False, 8, 1, 2)
    assert header("frames.webp") == ("WEBP", 3, False, 8, 1, 2)
    assert header("inks.jpg") == ("JPEG", 3, False, 8, 1, 1)
    assert header("ImageJ stack.tif") == ("TIFF", 1, False, 8, 5, 5)
    assert header("ImageJ colours.tif") == ("TIFF", 2, False, 8, 3, 3)
    assert header("OME.ome.tif") == ("TIFF", 2, False, 8, 5, 5)
    assert header("four pages.tif") == ("TIFF", 1, False, 8, 4, 4)
    assert header("four channels.tif") == ("TIFF", 4, False, 8, 1, 1)
    bits = [header(name)[3] for name in ("32 bits.tif", "floats 64.tif", "signed.tif", "floats 16.tif")]
    assert bits == [32, 64, 32, 32]
    assert all(declared(folder / f"turned {i}.jpg", "x").width == WIDTH for i in TURNED)


def test_white_is_what_the_file_says(corpus):
    folder, _ = corpus
    white = {
        "one bit.tif": 255,
        "16 bits gray.png": 65535,
        "12 bits.png": 4095,
        "12 bits declared.tif": 4095,
        "12 bits.tif": None,
        "16 bits colour.tif": None,
        "floats 32.tif": None,
        "32 bits.tif": None,
    }
    assert {name: open_picture(folder / name, name).white for name in white} == white
    scaled = png(np.array([[16, 4080]]), 16, 0, chunk(b"sBIT", b"\x0c"))  # dark, of 12 bits scaled to 16
    assert open_picture(scaled, "scaled").white == 65535


def test_a_maximum_that_is_no_depth_is_not_taken_for_white():
    for most in (3127, 1023):  # the brightest pixel of some picture; a depth that the pixels contradict
        buffer = io.BytesIO()
        samples = np.full((8, 8), 3000, np.uint16)
        tifffile.imwrite(buffer, samples, extratags=[(281, 3, 1, most, True)])
        assert open_picture(buffer.getvalue(), "x").white is None


def test_transparency_is_in_the_numbers_of_the_file(corpus):
    folder, _ = corpus
    gray = scene()[..., 1]
    flipped = np.flipud(gray)
    alphas = {
        "gray alpha.png": flipped,
        "colour alpha.png": flipped,
        "colour alpha.tif": flipped,
        "lossless alpha.webp": flipped,
        "16 bits gray alpha.png": np.flipud(scene()[..., 0]) * np.uint16(257) + np.uint16(3),
        "key gray.png": np.where(gray == gray[3, 4], 0, 255),
        "key colour.png": np.where((scene() == scene()[3, 4]).all(axis=2), 0, 255),
        "16 bits key.png": np.where((scene() == scene()[3, 4]).all(axis=2), 0, 65535),
        "gray 4 bits.png": np.where(gray // 16 == 7, 0, 255),
        "16 bits alpha.tif": 65535 - scene()[..., 0] * np.uint16(257),
    }
    for name, alpha in alphas.items():
        np.testing.assert_array_equal(open_picture(folder / name, name).alpha, alpha, err_msg=name)
    with Image.open(folder / "palette with many transparent.png") as image:
        expected = np.asarray(image.convert("RGBA"))[..., 3]
    found = open_picture(folder / "palette with many transparent.png", "x").alpha
    np.testing.assert_array_equal(found, expected)


def test_colours_that_alpha_was_multiplied_into_are_divided_again():
    alpha = np.array([[0, 128, 255]], np.uint8)
    stored = np.dstack([np.array([[[0, 0, 0], [64, 128, 0], [10, 20, 30]]], np.uint8), alpha])
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, photometric="rgb", extrasamples=["assocalpha"])
    picture = open_picture(buffer.getvalue(), "x")
    assert picture.pixels.transpose(1, 2, 0).tolist() == [[[0, 0, 0], [128, 255, 0], [10, 20, 30]]]
    assert picture.alpha.tolist() == alpha.tolist()


def test_all_pages_come_in_order(corpus):
    folder, _ = corpus
    gray = scene()[..., 1]
    for name in ("ImageJ stack.tif", "OME.ome.tif"):
        pages = list(open_pages(folder / name, name))
        assert len(pages) == 5
        for i, page in enumerate(pages):
            np.testing.assert_array_equal(page.pixels[0], np.roll(gray, i, axis=1))
        np.testing.assert_array_equal(open_picture(folder / name, name, 3).pixels, pages[3].pixels)
    with pytest.raises(DataError, match=r"expected 6 pages in OME.ome.tif, got 5"):
        open_picture(folder / "OME.ome.tif", "OME.ome.tif", 5)
    with pytest.raises(DataError, match=r"expected 2 pages in colour.png, got 1"):
        open_picture(folder / "colour.png", "colour.png", 1)


def test_pages_of_other_sizes_each_have_their_own():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for side in (8, 9, 10):
            writer.write(np.full((side, 12), side, np.uint8), photometric="minisblack")
    pages = list(open_pages(buffer.getvalue(), "x"))
    assert [page.pixels.shape for page in pages] == [(1, 8, 12), (1, 9, 12), (1, 10, 12)]


@pytest.mark.parametrize("compression", [5, 8, 32773])
@pytest.mark.parametrize("predictor", [1, 2, 3])
def test_strips_are_unpacked_whatever_their_samples_are(compression, predictor):
    from safelight.data.strips import as_stored, in_strips, out_of_strips, pack

    rng = np.random.default_rng(0)
    kinds = (np.float32, np.float64) if predictor == 3 else (np.uint8, np.uint16, np.int32, np.float32)
    for kind in kinds:
        samples = (rng.random((21, 33, 3)) * 200).astype(kind)
        for separate, tile in ((False, None), (True, None), (False, (16, 16))):
            buffer = io.BytesIO()
            parts = in_strips(samples, separate, tile or (5, 33), tile is not None)
            stored = samples.transpose(2, 0, 1) if separate else samples
            options = {
                "tile": tile,
                "rowsperstrip": None if tile else 5,
                "compression": 8,
                "photometric": "rgb",
            }
            packed = [
                pack(as_stored(part, 8 * samples.itemsize, predictor, "<"), compression) for part in parts
            ]
            planar = "separate" if separate else "contig"
            tifffile.imwrite(
                buffer,
                iter(packed),
                shape=stored.shape,
                dtype=kind,
                planarconfig=planar,
                metadata=None,
                **options,
            )
            with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
                page = file.pages[0]
                page.compression, page.predictor = compression, predictor
                np.testing.assert_array_equal(out_of_strips(file, page), samples)


def test_strips_are_those_that_others_write():
    """libtiff's own differences, for 8 and 16 bits, under LZW and deflate."""
    rng = np.random.default_rng(0)
    for samples in (
        rng.integers(0, 256, (40, 30, 3), dtype=np.uint8),
        rng.integers(0, 65536, (40, 30), dtype=np.uint16),
    ):
        for packing in ("tiff_lzw", "tiff_adobe_deflate"):
            buffer = io.BytesIO()
            Image.fromarray(samples).save(buffer, "TIFF", compression=packing, tiffinfo={317: 2})
            np.testing.assert_array_equal(open_picture(buffer.getvalue(), "x").pixels, planes(samples))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8)),
    st.sampled_from(["u1", "u2", "u4", "i2", "f2", "f4", "f8"]),
    st.integers(1, 8),
    st.sampled_from([None, "zlib"]),
    st.sampled_from(["<", ">"]),
)
def test_any_tiff_is_read_as_it_was_seen(shape, kind, orientation, compression, order):
    rng = np.random.default_rng(1)
    seen = (rng.random(shape) * 250).astype(kind)  # (H, W, C)
    lying = np.ascontiguousarray(TURNED[orientation](seen))
    buffer = io.BytesIO()
    tags = [(274, 3, 1, orientation, True)]
    options = {"planarconfig": "contig"} if shape[2] > 1 else {}
    tifffile.imwrite(
        buffer,
        lying if shape[2] > 1 else lying[..., 0],
        photometric="minisblack",
        compression=compression,
        byteorder=order,
        extratags=tags,
        metadata=None,
        **options,
    )
    picture = open_picture(buffer.getvalue(), "x")
    assert (picture.header.height, picture.header.width, picture.header.channels) == shape
    np.testing.assert_array_equal(picture.pixels, planes(seen).astype(picture.pixels.dtype))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    st.integers(1, 8),
    st.sampled_from(["PNG", "WEBP"]),
)
def test_any_png_and_webp_is_read_as_it_was_seen(size, mode, orientation, kind):
    rng = np.random.default_rng(2)
    seen = rng.integers(0, 256, (*size, len(mode)), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    lying = np.ascontiguousarray(TURNED[orientation](seen))
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(lying.squeeze(2) if mode == "L" else lying).save(buffer, kind, exif=exif, **options)
    picture = open_picture(buffer.getvalue(), "x")
    colours = seen[..., : len(mode) - ("A" in mode)]
    np.testing.assert_array_equal(
        picture.pixels, np.broadcast_to(planes(colours), (picture.header.channels, *size))
    )
    if "A" in mode and (seen[..., -1] < 255).any():
        np.testing.assert_array_equal(picture.alpha, seen[..., -1])


def test_upright_is_what_pillow_makes_of_it():
    from PIL import ImageOps

    for orientation in TURNED:
        lying = np.arange(12, dtype=np.uint8).reshape(3, 4)
        image = Image.fromarray(lying)
        image.getexif()[274] = orientation
        np.testing.assert_array_equal(
            upright(lying, orientation), np.asarray(ImageOps.exif_transpose(image)), str(orientation)
        )


def test_photographs_fit_and_bombs_do_not(tmp_path):
    """Sizes are judged by the header: of the files below there is next to nothing after it."""
    for width, height, taken in ((11_600, 8_700, True), (30_000, 30_000, False)):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b""))
            + chunk(b"IEND", b"")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if taken:
                assert declared(data, "x").width == width
                continue
            with pytest.raises(
                DataError, match=f"at most {MAX_VALUES:,} values in a picture, got 30000×30000×3"
            ):
                open_picture(data, "x")


def test_a_name_that_breaks_lines_stays_on_one(tmp_path):
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"two\\nlines.png"):
        open_picture(path, str(path))


def test_files_that_cannot_be_opened_say_why(tmp_path):
    with pytest.raises(DataError, match=r"expected to read .*gone.png, got No such file or directory"):
        declared(tmp_path / "gone.png", str(tmp_path / "gone.png"))
    with pytest.raises(DataError, match="Is a directory"):
        open_picture(tmp_path, "a folder")


def test_damage_anywhere_raises_nothing_else(corpus):
    """Bytes exchanged at random: a picture, or an error of ours."""
    folder, _ = corpus
    rng = np.random.default_rng(0)
    names = ["colour.png", "16 bits colour.png", "palette.gif", "gray.jpg", "palette.bmp", "lossless.webp"]
    names += ["colour tiff_lzw.tif", "OME.ome.tif", "ImageJ stack.tif", "tiles.tif", "palette.tif"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            whole = (folder / name).read_bytes()
            for _ in range(30):
                data = bytearray(whole)
                for place in rng.integers(0, min(len(data), 600), 4):
                    data[place] = rng.integers(256)
                with contextlib.suppress(DataError):
                    open_picture(bytes(data), name)


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
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_filters_of_png_are_undone(count):
    samples = np.random.default_rng(1).integers(0, 65536, (10, 7, count)).astype(np.uint16)
    samples[5:] = np.linspace(0, 65535, 7, dtype=np.uint16)[:, None]
    data = filtered(samples, [4, 3, 2, 1, 0, 4, 4, 3, 1, 2])
    np.testing.assert_array_equal(decode_png16(data, "here"), samples)


def test_interlaced_png_of_16_bits_is_read():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 2), (8, 8), (13, 21)):
        samples = rng.integers(0, 65536, (*size, 3)).astype(np.uint16)
        rows = b""
        for left, top, right, down in (
            *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
            *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
        ):
            for row in samples[top::down, left::right]:
                rows += b"\0" + row.astype(">u2").tobytes() if row.size else b""
        header = struct.pack(">IIBBBBB", size[1], size[0], 16, 2, 0, 0, 1)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)
        np.testing.assert_array_equal(open_picture(data, "x").pixels, planes(samples))


def test_pixels_over_many_chunks_are_joined():
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    whole = encode_png16(noise)
    packed = whole[41:-16]
    parts = b"".join(chunk(b"IDAT", packed[i : i + 1]) for i in range(len(packed)))
    np.testing.assert_array_equal(decode_png16(whole[:33] + parts + whole[-12:], "here"), noise)


def test_suffixes_are_those_of_the_corpus(corpus):
    _, expected = corpus
    endings = {
        f".{name.rpartition('.')[2].lower()}" for name, pixels in expected.items() if pixels is not None
    }
    assert endings <= set(SUFFIXES)
    assert HEIGHT != WIDTH


def test_pages_that_pillow_unpacks_are_the_right_ones_and_upright():
    two = scene()[..., 1] > 100
    first, second = Image.fromarray(two), Image.fromarray(np.flipud(two).copy())
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", compression="group4", save_all=True, append_images=[second])
    pages = [page.pixels[0] for page in open_pages(buffer.getvalue(), "x")]
    np.testing.assert_array_equal(pages, np.stack([two, np.flipud(two)]) * np.uint8(255))
    exif = Image.Exif()
    for orientation, lay in TURNED.items():
        exif[274] = orientation
        buffer = io.BytesIO()
        lying = Image.fromarray(np.ascontiguousarray(lay(scene())))
        lying.save(buffer, "TIFF", compression="jpeg", quality=95, exif=exif)
        picture = open_picture(buffer.getvalue(), "x")
        assert (picture.header.height, picture.header.width) == (HEIGHT, WIDTH)
        assert np.abs(picture.pixels.astype(int) - planes(scene())).max() <= LOSSY


def test_colours_that_are_not_rgb_are_seen_as_it():
    from PIL import ImageCms

    image = Image.fromarray(scene())
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    buffer = io.BytesIO()
    ImageCms.applyTransform(image, to_lab).save(buffer, "TIFF")
    picture = open_picture(buffer.getvalue(), "x")
    assert np.abs(picture.pixels.astype(int) - planes(scene())).mean() <= 1  # a and b are whole numbers
    inks = np.zeros((4, 5, 4), np.uint16)  # of 16 bits: paper, then full cyan, then half black
    inks[:, 1, 0], inks[:, 2, 3] = 65535, 32768
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, inks, photometric="separated")
    pixels = open_picture(buffer.getvalue(), "x").pixels
    assert pixels[:, 0, :3].T.tolist() == [[65535] * 3, [0, 65535, 65535], [32767] * 3]


def test_bytes_after_the_picture_do_no_harm(corpus):
    folder, _ = corpus
    for name in ("colour.png", "gray.jpg", "palette.gif", "colour tiff_lzw.tif"):
        data = (folder / name).read_bytes()
        expected = open_picture(data, name).pixels
        np.testing.assert_array_equal(open_picture(data + b"\0" * 99, name).pixels, expected)


def test_alpha_is_no_colour_where_white_is_zero():
    gray, alpha = scene()[..., 1], scene()[..., 0]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.dstack([255 - gray, alpha]),
        photometric="miniswhite",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    picture = open_picture(buffer.getvalue(), "x")
    np.testing.assert_array_equal(picture.pixels[0], gray)
    np.testing.assert_array_equal(picture.alpha, alpha)
