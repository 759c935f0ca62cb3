"""Pictures given back as the kind of file they were, by what other readers find in them."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from corpus import TURNED, chunk, make_corpus, planes, png, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from safelight.data.opening import open_pages, open_picture
from safelight.data.png16 import chunks_of
from safelight.data.writing import encode_pages, encode_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" dc:title="cells"/></x:xmpmeta>'


def again(data: bytes) -> bytes:
    """A file whose pixels were changed a little and given back."""
    pages = list(open_pages(data, "source"))
    return encode_pages([page.pixels * 0.97 for page in pages], pages)


def written(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(samples: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def test_every_kind_comes_back_with_the_same_pixels(tmp_path):
    for name, pixels in make_corpus(tmp_path).items():
        if pixels is None:
            continue
        pages = list(open_pages(tmp_path / name, name))
        found = list(open_pages(encode_pages([page.pixels for page in pages], pages), name))
        assert len(found) == len(pages), name
        for before, after in zip(pages, found, strict=True):
            kinds = (before.header.kind.replace("MPO", "JPEG"), before.header.channels, before.header.bits)
            assert (after.header.kind, after.header.channels, after.header.bits) == kinds, name
            assert after.white == before.white
            off = 6 if before.header.kind in ("JPEG", "MPO") else 0
            np.testing.assert_allclose(
                after.pixels.astype(float), before.pixels.astype(float), atol=off, err_msg=name
            )
            if before.alpha is not None:
                np.testing.assert_array_equal(after.alpha, before.alpha, err_msg=name)


def test_modes_and_depths_are_those_of_the_source(tmp_path):
    """As Pillow names them, which this project's reader has no part in."""
    corpus = make_corpus(tmp_path)
    names = [n for n, pixels in corpus.items() if pixels is not None and n.endswith((".png", ".bmp", ".gif"))]
    for name in (*names, "lossless.webp", "lossless alpha.webp", "gray.jpg", "inks.jpg", "inks.tif"):
        picture = open_picture(tmp_path / name, name)
        data = encode_picture(picture.pixels, picture)
        with Image.open(tmp_path / name) as before, Image.open(io.BytesIO(data)) as after:
            assert (after.format, after.mode) == (before.format, before.mode), name
            assert after.info.get("transparency") == before.info.get("transparency"), name
            if before.format == "PNG":
                assert after.tile[0][3] == before.tile[0][3], name


def test_jpegs_keep_tables_sampling_progression_and_metadata():
    image = Image.fromarray(scene())
    exif = Image.Exif()
    exif[271], exif[274] = "a maker", 6
    for subsampling, progressive in ((0, False), (1, True), (2, False)):
        data = written(
            image,
            "JPEG",
            quality=63,
            subsampling=subsampling,
            progressive=progressive,
            comment=b"by hand",
            exif=exif,
            icc_profile=PROFILE,
            dpi=(240, 240),
        )
        packet = b"http://ns.adobe.com/xap/1.0/\0" + XMP
        data = data[:2] + struct.pack(">HH", 0xFFE1, 2 + len(packet)) + packet + data[2:]
        with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(again(data))) as after:
            assert after.quantization == before.quantization
            assert JpegImagePlugin.get_sampling(after) == subsampling
            assert ("progressive" in after.info) == progressive
            assert after.info["comment"] == b"by hand"
            assert after.info["icc_profile"] == PROFILE
            assert after.info["dpi"] == (240, 240)
            assert (after.getexif()[271], after.getexif()[274]) == ("a maker", 1)
            assert ("APP1", packet.replace(b'"6"', b'"1"')) in after.applist
            assert after.size == before.size[::-1]


def test_a_jpeg_of_other_pixels_is_near_to_them():
    """Of a photograph, with fewer colours than pixels; and the same file where nothing changed."""
    import skimage.data

    image = Image.fromarray(skimage.data.astronaut()[:256, :256])
    for subsampling in (0, 2):
        data = written(image, "JPEG", quality=90, subsampling=subsampling)
        picture = open_picture(data, "x")
        assert encode_picture(picture.pixels, picture) == data
        asked = np.clip(picture.pixels.astype(int) + 1, 0, 255)
        error = np.abs(open_picture(encode_picture(asked, picture), "x").pixels - asked)
        assert error.max() <= 15
        assert np.percentile(error, 99) <= 4
        assert error.mean() <= 1


def test_inks_come_back_as_inks_that_look_the_same():
    image = Image.fromarray(scene()).convert("CMYK")
    data = again(written(image, "JPEG", quality=95, subsampling=0))
    with Image.open(io.BytesIO(data)) as after:
        assert after.mode == "CMYK"
        assert np.abs(np.asarray(after.convert("RGB")) - 0.97 * scene()).max() <= 8


def test_lab_comes_back_as_lab():
    image = Image.fromarray(scene())
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    data = written(ImageCms.applyTransform(image, to_lab), "TIFF")
    picture = open_picture(data, "x")
    with (
        Image.open(io.BytesIO(data)) as before,
        Image.open(io.BytesIO(encode_picture(picture.pixels, picture))) as after,
    ):
        assert after.mode == "LAB"
        assert np.abs(np.asarray(after)[..., 0].astype(int) - np.asarray(before)[..., 0]).max() <= 2


def test_png_keeps_its_chunks():
    kept = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (b"cICP", bytes([1, 13, 0, 1])),
        (b"sBIT", bytes([8, 8, 8])),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        (b"tEXt", b"Title\0cells"),
        (b"iTXt", "Author\0\0\0\0\0Zoë".encode()),
    ]
    exif = Image.Exif()
    exif[274], exif[271] = 3, "a maker"
    between = [chunk(kind, content) for kind, content in kept]
    between.append(chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    between.append(chunk(b"spOT", b"of a program's own, which other pixels make untrue"))
    for bits, samples in ((8, scene()), (16, scene() * np.uint16(257))):
        data = again(png(samples, bits, 2, *between))
        found = dict(chunks_of(data))
        assert kept == [(kind, found[kind]) for kind, _ in kept]
        assert b"spOT" not in found
        with Image.open(io.BytesIO(data)) as image:
            assert (image.getexif()[274], image.getexif()[271]) == (1, "a maker")
            assert image.info["gamma"] == 0.45455
            assert image.text["Author"] == "Zoë"
            seen = np.rint(samples[::-1, ::-1] * 0.97 / (257 if bits == 16 else 1))
            assert np.abs(np.asarray(image) - seen).max() <= 1
        assert [kind for kind, _ in chunks_of(data)][-1] == b"IEND"


def test_pixels_of_the_colour_that_means_transparent_stay_opaque():
    gray = scene()[..., 1]
    picture = open_picture(png(gray, 8, 0, chunk(b"tRNS", bytes([0, gray[3, 4]]))), "x")
    data = encode_picture(np.full_like(picture.pixels, gray[3, 4]), picture)
    found = open_picture(data, "y")
    np.testing.assert_array_equal(found.alpha, picture.alpha)
    assert set(np.unique(found.pixels)) == {gray[3, 4] - 1, gray[3, 4]}
    assert dict(chunks_of(data))[b"tRNS"] == bytes([0, gray[3, 4]])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_palettes_stay_while_they_hold(kind):
    few = Image.fromarray(scene()).quantize(16)
    picture = open_picture(written(few, kind), "x")
    near = np.clip(
        picture.pixels.astype(int) + np.random.default_rng(0).integers(-3, 4, picture.pixels.shape), 0, 255
    )
    with Image.open(io.BytesIO(encode_picture(near, picture))) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(planes(np.asarray(image.convert("RGB"))), picture.pixels)
    other = planes(scene()) // 2  # of other colours
    with Image.open(io.BytesIO(encode_picture(other, picture))) as image:
        assert (image.format, image.mode) == (kind, "P" if kind == "GIF" else "RGB")
        off = 12 if kind == "GIF" else 0
        assert np.abs(planes(np.asarray(image.convert("RGB"))).astype(int) - other).max() <= off


def test_other_colours_of_a_transparent_gif_leave_it_transparent():
    few = Image.fromarray(scene()).quantize(16)
    picture = open_picture(written(few, "GIF", transparency=3), "x")
    found = open_picture(encode_picture(picture.pixels // 2, picture), "y")
    np.testing.assert_array_equal(found.alpha, picture.alpha)
    opaque = picture.alpha > 0
    assert np.abs(found.pixels[:, opaque].astype(int) - picture.pixels[:, opaque] // 2).max() <= 12


def test_webp_is_lossless_if_it_was():
    image = Image.fromarray(scene())
    exact = again(written(image, "WEBP", lossless=True, icc_profile=PROFILE, xmp=XMP))
    with Image.open(io.BytesIO(exact)) as found:
        np.testing.assert_array_equal(np.asarray(found), np.rint(scene() * 0.97))
        assert found.info["icc_profile"] == PROFILE
        assert found.info["xmp"] == XMP.replace(b'"6"', b'"1"')
    lossy = again(written(image, "WEBP", quality=80))
    assert b"VP8L" not in lossy
    assert np.abs(open_picture(lossy, "x").pixels - 0.97 * planes(scene())).max() <= 12


def test_bmp_keeps_its_resolution():
    with Image.open(io.BytesIO(again(written(Image.fromarray(scene()), "BMP", dpi=(300, 300))))) as found:
        assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)


KINDS_OF_TIFF = {
    "colour of 16 bits": (scene() * np.uint16(257), {"photometric": "rgb"}),
    "gray": (scene()[..., 1], {"photometric": "minisblack"}),
    "gray, white is zero": (scene()[..., 1], {"photometric": "miniswhite"}),
    "floats": ((scene()[..., 1] / 256).astype(np.float32), {"photometric": "minisblack"}),
    "signed": (scene()[..., 1].astype(np.int32) - 100, {"photometric": "minisblack"}),
    "five channels": (
        np.dstack([scene(), scene()[..., :2]]),
        {"photometric": "minisblack", "planarconfig": 1},
    ),
}


@pytest.mark.parametrize("kind", KINDS_OF_TIFF)
def test_tiff_keeps_layout_and_metadata(kind):
    samples, own = KINDS_OF_TIFF[kind]
    tags = [
        (315, 2, 0, "an artist", True),
        (274, 3, 1, 8, True),
        (700, 1, len(XMP), XMP, True),
        (65000, 3, 2, (7, 9), True),
    ]
    for layout in (
        {"compression": "zlib", "predictor": 2},
        {"tile": (16, 32)},
        {"rowsperstrip": 5, "byteorder": ">"},
    ):
        if layout.get("predictor") and samples.dtype.kind == "f":
            layout = {"compression": "zlib"}
        data = tiff(
            samples,
            resolution=((3, 2), (5, 2)),
            resolutionunit="CENTIMETER",
            description="cells",
            software="ours",
            datetime="2024:05:06 07:08:09",
            iccprofile=PROFILE,
            extratags=tags,
            metadata=None,
            **own,
            **layout,
        )
        result = again(data)
        with tifffile.TiffFile(io.BytesIO(data)) as one, tifffile.TiffFile(io.BytesIO(result)) as two:
            before, after = one.pages[0], two.pages[0]
            assert one.byteorder == two.byteorder
            for name in (
                "compression",
                "predictor",
                "photometric",
                "planarconfig",
                "extrasamples",
                "dtype",
                "is_tiled",
            ):
                assert getattr(after, name) == getattr(before, name), name
            for name in (
                "TileWidth",
                "XResolution",
                "YResolution",
                "ResolutionUnit",
                "ImageDescription",
                "Software",
                "DateTime",
                "InterColorProfile",
                "Artist",
                65000,
            ):
                assert after.tags.valueof(name) == before.tags.valueof(name), name
            assert after.tags.valueof(274) == 1
            assert b'tiff:Orientation="1"' in bytes(after.tags.valueof(700))
            changed = open_picture(data, "x").pixels * 0.97
            changed = (changed if samples.dtype.kind == "f" else np.rint(changed)).astype(samples.dtype)
            found = planes(after.asarray())
            found = 255 - found if kind == "gray, white is zero" else found
            np.testing.assert_allclose(found, changed, rtol=1e-6)


def test_lzw_stays_lzw_for_all_samples():
    """What Pillow packs is packed again; colours of 16 bits, which it does not, as tifffile lays them out."""
    smooth = np.broadcast_to(np.arange(300, dtype=np.uint16) // 8 * 300, (200, 300)).copy()
    data = written(Image.fromarray(smooth), "TIFF", compression="tiff_lzw", dpi=(72, 72))
    result = again(data)
    assert len(result) < 1.5 * len(data) < 60_000
    with Image.open(io.BytesIO(result)) as found:
        assert found.info["compression"] == "tiff_lzw"
        assert found.info["dpi"] == (72, 72)
        np.testing.assert_array_equal(np.asarray(found), np.rint(smooth * 0.97))
    floats = Image.fromarray((smooth / 300).astype(np.float32))
    with Image.open(io.BytesIO(again(written(floats, "TIFF", compression="tiff_lzw")))) as found:
        assert (found.mode, found.info["compression"]) == ("F", "tiff_lzw")
        np.testing.assert_allclose(np.asarray(found), np.asarray(floats) * np.float32(0.97), rtol=1e-6)


def test_alpha_of_tiff_stays_multiplied_in_or_apart():
    alpha = np.flipud(scene()[..., :1])
    for kind, number in (("assocalpha", 1), ("unassalpha", 2)):
        samples = np.dstack([np.minimum(scene(), alpha), alpha])
        data = tiff(samples, photometric="rgb", extrasamples=[kind])
        picture = open_picture(data, "x")
        with tifffile.TiffFile(io.BytesIO(encode_picture(picture.pixels, picture))) as file:
            assert file.pages[0].extrasamples == (number,)
            np.testing.assert_array_equal(file.asarray(), samples)


def test_stacks_of_imagej_and_ome_stay_such():
    stack = np.stack([np.roll(scene()[..., 1], i, axis=1) for i in range(4)])
    for axes, samples in (
        ("ZYX", stack),
        ("TZCYX", np.stack([stack, stack // 2]).reshape(2, 2, 2, *stack.shape[1:])),
    ):
        data = tiff(
            samples,
            imagej=True,
            resolution=(2.5, 2.5),
            metadata={
                "axes": axes,
                "unit": "um",
                "mode": "composite",
                "Labels": ["a", "b"],
                "Info": "made by hand",
            },
        )
        with tifffile.TiffFile(io.BytesIO(data)) as one, tifffile.TiffFile(io.BytesIO(again(data))) as two:
            assert two.imagej_metadata == one.imagej_metadata
            assert two.pages[0].resolution == one.pages[0].resolution
            assert two.series[0].axes == axes
            np.testing.assert_array_equal(two.asarray(), np.rint(samples * 0.97))
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    samples = np.stack([stack, stack // 2]).astype(np.uint16)
    data = tiff(samples, ome=True, metadata=metadata)
    with tifffile.TiffFile(io.BytesIO(data)) as one, tifffile.TiffFile(io.BytesIO(again(data))) as two:
        assert two.ome_metadata == one.ome_metadata
        assert two.series[0].axes == "CZYX"
        np.testing.assert_array_equal(two.asarray(), np.rint(samples * 0.97))


def test_one_page_of_a_stack_does_not_claim_to_be_all():
    stack = np.stack([scene()[..., 1]] * 4)
    picture = open_picture(tiff(stack, imagej=True, metadata={"axes": "ZYX"}), "x", 0)
    data = encode_picture(picture.pixels, picture)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert not file.is_imagej
        np.testing.assert_array_equal(file.asarray(), stack[0])


def test_what_was_turned_is_shown_as_before():
    for orientation, lay in TURNED.items():
        exif = Image.Exif()
        exif[274] = orientation
        lying = Image.fromarray(np.ascontiguousarray(lay(scene())))
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
            picture = open_picture(written(lying, kind, exif=exif, **options), "x")
            with Image.open(io.BytesIO(encode_picture(picture.pixels, picture))) as found:
                np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(found)), scene())


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8)),
    st.sampled_from(["u1", "u2", "u4", "i2", "f2", "f4", "f8"]),
    st.integers(1, 8),
    st.sampled_from([None, "zlib"]),
    st.sampled_from(["contig", "separate"]),
)
def test_any_tiff_comes_back(shape, kind, orientation, compression, planar):
    rng = np.random.default_rng(1)
    samples = (rng.random(shape) * 250).astype(kind)
    stored = samples[..., 0] if shape[2] == 1 else samples if planar == "contig" else planes(samples)
    options = {"planarconfig": planar} if shape[2] > 1 else {}
    data = tiff(
        stored,
        photometric="minisblack",
        compression=compression,
        extratags=[(274, 3, 1, orientation, True)],
        metadata=None,
        **options,
    )
    picture = open_picture(data, "x")
    result = encode_picture(picture.pixels, picture)
    with tifffile.TiffFile(io.BytesIO(result)) as file:
        assert file.pages[0].dtype == np.dtype(kind)
        assert (
            file.pages[0].planarconfig == tifffile.PLANARCONFIG[planar.upper() if shape[2] > 1 else "CONTIG"]
        )
        assert file.pages[0].compression == (8 if compression else 1)
    np.testing.assert_array_equal(open_picture(result, "y").pixels, picture.pixels)


def test_pixels_are_rounded_clipped_and_never_wrapped():
    picture = open_picture(written(Image.fromarray(scene()[..., 1]), "PNG"), "x")
    asked = np.full(picture.pixels.shape, 12.6)
    asked[0, 0, :3] = -5, 300, np.nan
    found = open_picture(encode_picture(asked, picture), "y").pixels
    assert found[0, 0, :4].tolist() == [0, 255, 0, 13]


def test_16_bit_png_is_as_small_as_its_pixels_allow():
    ramp = np.add.outer(np.arange(100), np.arange(100)).astype(np.uint16)
    picture = open_picture(png(np.dstack([ramp] * 3), 16, 2), "x")
    data = encode_picture(picture.pixels, picture)
    assert len(data) < len(zlib.compress(picture.pixels.tobytes()))


def test_a_transparent_gray_of_a_gif_stays_so():
    gray = scene()[..., 1]
    picture = open_picture(written(Image.fromarray(gray), "GIF", transparency=int(gray[3, 4])), "x")
    np.testing.assert_array_equal(picture.alpha, np.where(gray == gray[3, 4], 0, 255))
    found = open_picture(encode_picture(255 - picture.pixels, picture), "y")
    np.testing.assert_array_equal(found.alpha, picture.alpha)
    opaque = picture.alpha > 0
    np.testing.assert_array_equal(found.pixels[0, opaque] // 2, (255 - gray[opaque]) // 2)
