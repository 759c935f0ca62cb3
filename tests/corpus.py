"""A folder of pictures of every kind, made with known pixels, and of files that are none."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 37, 53
LOSSY = 6  # levels that JPEG and WebP may be off
TURNED = {  # how a picture lies in its file, from how it is seen, by the orientation that the file declares
    1: lambda seen: seen,
    2: np.fliplr,
    3: lambda seen: np.rot90(seen, 2),
    4: np.flipud,
    5: lambda seen: np.fliplr(np.rot90(seen, 3)),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: np.fliplr(np.rot90(seen, 1)),
    8: lambda seen: np.rot90(seen, 3),
}


def scene() -> np.ndarray:
    """RGB (H, W, 3), smooth, no two sides or corners alike."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 3 * x, 60 + 4 * y, 30 + x + 2 * y], axis=2).astype(np.uint8)


def planes(samples: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return samples[None] if samples.ndim == 2 else samples.transpose(2, 0, 1)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, bits: int, colour: int, *between: bytes) -> bytes:
    """A PNG file by the specification, its rows unfiltered; `between` are chunks before the pixels."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        digits = np.unpackbits(samples.reshape(height, -1, 1).astype(np.uint8), axis=2)[:, :, 8 - bits :]
        rows = np.packbits(digits.reshape(height, -1), axis=1)
    packed = zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = (header, *between, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def plain_tiff(content: bytes, size: tuple[int, int], bits: int, photometric: int = 1) -> bytes:
    """A TIFF file by the specification: one strip of gray, not packed."""
    entries = (
        (256, size[1]),
        (257, size[0]),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 122),
        (277, 1),
    )
    tags = (*entries, (278, size[0]), (279, len(content)))
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + content


def in_bits(values: np.ndarray, bits: int) -> bytes:
    """Values (H, W) written in so many bits each, rows beginning at bytes."""
    rows = ("".join(f"{value:0{bits}b}" for value in row) for row in values.tolist())
    return b"".join(int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows)


def make_corpus(folder: Path) -> dict[str, np.ndarray | None]:
    """Write some ninety files.

    Args:
        folder: where to; it is made.

    Returns:
        For each name what is seen in the file, (C, H, W), in its own numbers, without alpha; of stacks the
        first page; None where there is no picture in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, np.ndarray | None] = {}
    rgb = scene()
    _pillow_files(folder, expected, rgb)
    _png_files(folder, expected, rgb)
    _tiff_files(folder, expected, rgb)
    _turned_files(folder, expected, rgb)
    _bad_files(folder, expected)
    return expected


def _pillow_files(folder: Path, expected: dict[str, np.ndarray | None], rgb: np.ndarray) -> None:
    image, gray = Image.fromarray(rgb), rgb[..., 1]
    two = np.where(gray > 100, 255, 0).astype(np.uint8)
    alpha = Image.fromarray(np.flipud(gray).copy())

    def add(name: str, picture: Image.Image, pixels: np.ndarray, **options) -> None:
        picture.save(folder / name, **options)
        expected[name] = planes(pixels)

    gray_image, transparent = Image.fromarray(gray), image.copy()
    transparent.putalpha(alpha)
    gray_alpha = gray_image.copy()
    gray_alpha.putalpha(alpha)
    few = image.quantize(16)
    few_rgb = np.asarray(few.convert("RGB"))
    gray_palette = Image.fromarray(gray // 16)
    gray_palette.putpalette([level for i in range(16) for level in (i * 17,) * 3])
    for kind in ("png", "bmp", "tif"):
        add(f"one bit.{kind}", Image.fromarray(two).convert("1"), two)
        add(f"gray.{kind}", gray_image, gray)
        add(f"colour.{kind}", image, rgb)
        add(f"palette.{kind}", few, few_rgb)
        add(f"gray palette.{kind}", gray_palette, gray // 16 * 17)
    for kind in ("png", "tif"):
        add(f"gray alpha.{kind}", gray_alpha, gray)
        add(f"colour alpha.{kind}", transparent, rgb)
    add("palette with one transparent.png", few, few_rgb, transparency=3)
    add("palette with many transparent.png", few, few_rgb, transparency=bytes(range(0, 160, 10)))
    add("gray.gif", gray_image, gray)
    add("palette.gif", few, few_rgb)
    add("palette with one transparent.gif", few, few_rgb, transparency=3)
    add("frames.gif", few, few_rgb, save_all=True, append_images=[few.transpose(Image.Transpose.ROTATE_180)])
    add("lossless.webp", image, rgb, lossless=True)
    add("lossless alpha.webp", transparent, rgb, lossless=True, exact=True)
    add("frames.webp", image, rgb, lossless=True, save_all=True, append_images=[Image.fromarray(255 - rgb)])
    add("lossy.webp", image, rgb, quality=95)
    add("gray.jpg", gray_image, gray, quality=95)
    add("colour.jpg", image, rgb, quality=95, subsampling=0)
    add("coarse colours.jpeg", image, rgb, quality=95, subsampling=2)
    add("progressive.JPG", image, rgb, quality=95, progressive=True)
    add("inks.jpg", image.convert("CMYK"), rgb, quality=98, subsampling=0)
    add("inks.tif", image.convert("CMYK"), rgb)
    add("two pictures.mpo", image, rgb, quality=95, save_all=True, append_images=[image.rotate(180)])
    add("jpeg inside.tif", image, rgb, compression="jpeg", quality=95)
    add("fax.tif", Image.fromarray(two).convert("1"), two, compression="group4")
    for packing in ("tiff_lzw", "packbits", "tiff_deflate"):
        add(f"colour {packing}.tif", image, rgb, compression=packing)
        add(
            f"16 bits {packing}.tif",
            Image.fromarray(gray.astype(np.uint16) * 257),
            gray * np.uint16(257),
            compression=packing,
        )
    add("colour named wrongly.png", image, rgb, format="TIFF")
    add("one pixel.png", image.crop((0, 0, 1, 1)), rgb[:1, :1])
    add("long and thin.png", image.crop((0, 0, 53, 1)), rgb[:1])
    add("na\nme ünd 🦋.png", image, rgb)


def _png_files(folder: Path, expected: dict[str, np.ndarray | None], rgb: np.ndarray) -> None:
    deep, gray = rgb * np.uint16(257) + np.uint16(3), rgb[..., 1]
    alpha = np.flipud(deep[..., :1])

    def add(name: str, data: bytes, pixels: np.ndarray) -> None:
        (folder / name).write_bytes(data)
        expected[name] = planes(pixels)

    add("gray 2 bits.png", png(gray // 64, 2, 0), gray // 64 * 85)
    add("gray 4 bits.png", png(gray // 16, 4, 0, chunk(b"tRNS", b"\0\x07")), gray // 16 * 17)
    add("16 bits gray.png", png(deep[..., 1], 16, 0), deep[..., 1])
    add("16 bits colour.png", png(deep, 16, 2), deep)
    add("16 bits gray alpha.png", png(np.dstack([deep[..., 1], alpha]), 16, 4), deep[..., 1])
    add("16 bits colour alpha.png", png(np.dstack([deep, alpha]), 16, 6), deep)
    add("key gray.png", png(gray, 8, 0, chunk(b"tRNS", bytes([0, gray[3, 4]]))), gray)
    add("key colour.png", png(rgb, 8, 2, chunk(b"tRNS", bytes(rgb[3, 4].astype(">u2").tobytes()))), rgb)
    add("16 bits key.png", png(deep, 16, 2, chunk(b"tRNS", deep[3, 4].astype(">u2").tobytes())), deep)
    add(
        "12 bits.png",
        png(gray.astype(np.uint16) * 16 + 1, 16, 0, chunk(b"sBIT", b"\x0c")),
        gray.astype(np.uint16) * 16 + 1,
    )


def _tiff_files(folder: Path, expected: dict[str, np.ndarray | None], rgb: np.ndarray) -> None:
    gray, deep = rgb[..., 1], rgb * np.uint16(257)
    four = np.stack([rgb[..., 0], gray, rgb[..., 2], 255 - gray])
    stack = np.stack([np.roll(gray, i, axis=1) for i in range(5)])

    def add(name: str, samples: np.ndarray, pixels: np.ndarray, **options) -> None:
        tifffile.imwrite(folder / name, samples, **options)
        expected[name] = planes(pixels)

    add("12 bits.tif", gray.astype(np.uint16) * 16, gray.astype(np.uint16) * 16)
    add(
        "12 bits declared.tif",
        gray.astype(np.uint16) * 16,
        gray.astype(np.uint16) * 16,
        extratags=[(281, 3, 1, 4095, True)],
    )
    add("16 bits.tif", deep[..., 1], deep[..., 1])
    add("big-endian.tif", deep[..., 1], deep[..., 1], byteorder=">")
    add("16 bits colour.tif", deep, deep, photometric="rgb")
    add("16 bits colour apart.tif", planes(deep), deep, photometric="rgb", planarconfig="separate")
    add("16 bits colour deflate.tif", deep, deep, photometric="rgb", compression="zlib", predictor=2)
    add(
        "tiles.tif",
        np.pad(deep, [(0, 0), (0, 0), (0, 0)]),
        deep,
        photometric="rgb",
        tile=(16, 32),
        compression="zlib",
    )
    add(
        "16 bits alpha.tif",
        np.dstack([deep, 65535 - deep[..., :1]]),
        deep,
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    add("signed.tif", gray.astype(np.int16) - 100, gray.astype(np.float32) - 100)
    add("32 bits.tif", gray.astype(np.uint32) * 1000, gray.astype(np.float32) * 1000)
    for bits in (16, 32, 64):
        add(f"floats {bits}.tif", (gray / 256).astype(f"f{bits // 8}"), (gray / 256).astype(np.float32))
    add("negative floats.tif", (gray / 64 - 1).astype(np.float32), (gray / 64 - 1).astype(np.float32))
    missing = (gray / 256).astype(np.float32)
    missing[2, 3], missing[4, 5] = np.nan, np.inf
    add("not all numbers.tif", missing, missing)
    two = gray > 100
    add("one bit white is zero.tif", two, 255 - two.astype(np.uint8) * 255, photometric="miniswhite")
    add("8 bits white is zero.tif", gray, 255 - gray, photometric="miniswhite")
    add("16 bits white is zero.tif", deep[..., 1], 65535 - deep[..., 1], photometric="miniswhite")
    add(
        "four channels apart.tif",
        four,
        four.transpose(1, 2, 0),
        photometric="minisblack",
        planarconfig="separate",
    )
    add(
        "four channels.tif",
        four.transpose(1, 2, 0),
        four.transpose(1, 2, 0),
        photometric="minisblack",
        planarconfig="contig",
    )
    add("four pages.tif", four, four[0], photometric="minisblack")
    add("colour pages.tif", np.stack([rgb, 255 - rgb]), rgb, photometric="rgb")
    add(
        "ImageJ stack.tif",
        stack,
        gray,
        imagej=True,
        metadata={"axes": "ZYX", "unit": "um"},
        resolution=(2.5, 2.5),
    )
    add(
        "ImageJ colours.tif",
        np.stack([four[:2]] * 3),
        four[:2].transpose(1, 2, 0),
        imagej=True,
        metadata={"axes": "ZCYX", "mode": "composite"},
    )
    add(
        "OME.ome.tif",
        np.stack([stack, stack // 2]),
        np.dstack([gray, gray // 2]),
        ome=True,
        metadata={"axes": "CZYX"},
    )
    add("bigtiff.tif", rgb, rgb, photometric="rgb", bigtiff=True)
    for bits, photometric in ((2, 1), (4, 1), (4, 0), (10, 1), (12, 1), (14, 1)):
        values = gray.astype(np.uint16) * 256 >> (16 - bits)
        name = f"{bits} bits packed{', white is zero' * (photometric == 0)}.tif"
        (folder / name).write_bytes(plain_tiff(in_bits(values, bits), gray.shape, bits, photometric))
        levels = (values * (255 // (2**bits - 1))).astype(np.uint8) if bits < 8 else values
        expected[name] = planes(levels if photometric else 255 - levels)


def _turned_files(folder: Path, expected: dict[str, np.ndarray | None], rgb: np.ndarray) -> None:
    for orientation, lay in TURNED.items():
        exif = Image.Exif()
        exif[274] = orientation
        lying = Image.fromarray(np.ascontiguousarray(lay(rgb)))
        for kind, options in (("jpg", {"quality": 95, "subsampling": 0}), ("png", {}), ("tif", {})):
            lying.save(folder / f"turned {orientation}.{kind}", exif=exif, **options)
            expected[f"turned {orientation}.{kind}"] = planes(rgb)
        for name, samples in (("gray", rgb[..., 1]), ("colour", rgb)):
            name = f"turned {orientation} of 16 bits, {name}.tif"
            deep = np.ascontiguousarray(lay(samples * np.uint16(257)))
            tags = [(274, 3, 1, orientation, True)]
            tifffile.imwrite(
                folder / name, deep, photometric="minisblack" if deep.ndim == 2 else "rgb", extratags=tags
            )
            expected[name] = planes(samples * np.uint16(257))


def _bad_files(folder: Path, expected: dict[str, np.ndarray | None]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    whole = {}
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
        whole[kind.lower()] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise.astype(np.uint16), photometric="rgb", compression="zlib")
    files = {f"cut off.{kind}": data[: len(data) // 2] for kind, data in whole.items()}
    files |= {f"header alone.{kind}": data[:20] for kind, data in whole.items()}
    files["cut off deflate.tif"] = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    deep = png(noise.astype(np.uint16), 16, 2)
    files["cut off 16 bits.png"] = deep[: len(deep) // 2]
    files |= {"nothing.png": b"", "nothing.tif": b"", "words.jpg": b"no picture", "zeros.bmp": bytes(1000)}
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    files["huge.png"] = whole["png"][:8] + huge + whole["png"][33:]
    tall = bytearray(whole["tiff"])
    with tifffile.TiffFile(io.BytesIO(whole["tiff"])) as file:
        for tag in (256, 257):
            struct.pack_into("<HI", tall, file.pages[0].tags[tag].offset + 2, 4, 1)
            struct.pack_into("<I", tall, file.pages[0].tags[tag].valueoffset, 30_000)
    files["huge.tif"] = bytes(tall)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise, photometric="rgb", tile=(16, 16), compression="zlib")
    tiled = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(tiled)) as file:
        for tag in (322, 323):
            struct.pack_into("<HI", tiled, file.pages[0].tags[tag].offset + 2, 4, 1)
            struct.pack_into("<I", tiled, file.pages[0].tags[tag].valueoffset, 1 << 30)
    files["huge tiles.tif"] = bytes(tiled)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        expected[name] = None
    tifffile.imwrite(
        folder / "nine channels.tif",
        np.zeros((9, 20, 30), np.uint8),
        photometric="minisblack",
        planarconfig="separate",
    )
    tifffile.imwrite(folder / "complex.tif", np.zeros((20, 30), np.complex64))
    expected["nine channels.tif"] = expected["complex.tif"] = None
