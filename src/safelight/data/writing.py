"""Pixels back to a file of the kind that they were read from.

Each kind is written anew around the new pixels, and what else was in the file is put beside them as it was:
chunks of PNG, segments of JPEG, tags of TIFF. Pictures are upright once they are read, so they are written
upright, and the orientation in EXIF, XMP and TIFF becomes 1: every viewer shows them as the source was shown.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from safelight.data.colours import in_numbers, indices_of, to_cmyk
from safelight.data.kinds import Picture, find_orientation, unturned
from safelight.data.opening import coloured_palette, image_of
from safelight.data.png16 import chunks_of, encode_png16, joined, png_of_rows
from safelight.data.tiff_writing import encode_tiff

__all__ = ["encode_pages", "encode_picture"]

GRAY, COLOUR, PALETTE = 0, 2, 3  # of PNG's colour types; 4 and 6 are the first two with alpha
UNKNOWN_QUALITY = 95  # of WebP, whose files do not say how they were made
LOSSLESS = b"VP8L"  # a chunk of WebP
APP0, KEPT_SEGMENTS = 0xE0, (*range(0xE1, 0xEE), 0xEF, 0xFE)  # all for applications but Adobe's; comments
JFIF, MPF = b"JFIF\0", b"MPF\0"
ROUNDS, SHARPENED = 2, 100_000_000  # values; of larger pictures what was lost would take too much memory
KNOWN = frozenset(  # chunks of PNG that stay true when pixels change, though by their names they might not
    (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"bKGD", b"tRNS")
)
OF_A_PALETTE = frozenset((b"PLTE", b"tRNS", b"bKGD", b"hIST", b"sBIT"))


def encode_picture(pixels: NDArray[Any], like: Picture) -> bytes:
    """A file of other pixels, of the kind, depth and mode that a picture was read from.

    Alpha, metadata, resolution and colour profile are the picture's. A palette stays if no pixel is further
    than 8 levels from its colours; else PNG, BMP and TIFF become gray or colour, and GIF gets another
    palette. JPEGs keep their quantization, subsampling and progression; MPO becomes the JPEG of its first
    picture, an animation its first frame. WebP is lossless if it was, else of quality 95. Of TIFF
    `encode_tiff` says more. A lossy file whose pixels are as they were, and upright, is given back itself.

    Args:
        pixels: (C, H, W), in the numbers of the file: those of `like.pixels`. They are rounded and clipped.
        like: everything else.

    Example:
        >>> from safelight.data.opening import open_picture
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (90, 60), 200).save(buffer, "PNG", dpi=(300, 300))
        >>> picture = open_picture(buffer.getvalue(), "here")
        >>> darker = open_picture(encode_picture(picture.pixels / 2, picture), "there")
        >>> darker.pixels.max().item(), Image.open(io.BytesIO(darker.written)).info["dpi"]
        (100, (299.9994, 299.9994))
    """
    return encode_pages([pixels], [like])


def encode_pages(pages: Iterable[NDArray[Any]], like: Sequence[Picture]) -> bytes:
    """A file of several pictures, as `encode_picture` writes one; only TIFF holds more.

    Args:
        pages: (C, H, W) each, in the numbers of the file.
        like: what was read of the same pages: by `open_pages`, one or all of them.
    """
    if like[0].header.kind == "TIFF":
        return encode_tiff(pages, like)
    (pixels,), (picture,) = pages, like
    dtype = picture.pixels.dtype
    samples = np.ascontiguousarray(in_numbers(pixels, dtype).transpose(1, 2, 0))  # (H, W, C)
    return ENCODERS[picture.header.kind](samples, picture)


def _png(samples: NDArray[Any], like: Picture) -> bytes:
    source = list(chunks_of(like.written))
    height, width, channels = samples.shape
    bits, colour = struct.unpack_from("BB", source[0][1], 8)
    dropped: frozenset[bytes] = frozenset()
    if colour == PALETTE:
        levels = coloured_palette(image_of(io.BytesIO(like.written), "PNG"))
        indices = indices_of(_with_alpha(samples, like), levels, like.header.alpha)
        if indices is not None:
            bare = png_of_rows(_in_bits(indices, bits), 0, (width, height, bits, PALETTE))
            return _with_chunks(bare, source, dropped)
        dropped, bits, colour = OF_A_PALETTE, 8, {1: GRAY, 3: COLOUR}[channels] + 4 * like.header.alpha
    if like.header.alpha and colour in (GRAY, COLOUR):
        samples = _keyed(samples, like, next(content for kind, content in source if kind == b"tRNS"), bits)
    else:
        samples = _with_alpha(samples, like)
    if bits < 8:
        levels_of = np.rint(samples[..., 0] * ((2**bits - 1) / 255)).astype(np.uint8)
        bare = png_of_rows(_in_bits(levels_of, bits), 0, (width, height, bits, GRAY))
    else:
        bare = encode_png16(samples) if bits == 16 else _by_pillow(samples, "PNG")
    return _with_chunks(bare, source, dropped)


def _with_chunks(bare: bytes, source: Sequence[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> bytes:
    """A PNG file with what else a source had, in its order, before the pixels and after."""
    (start, *body) = chunks_of(bare)
    first = next(i for i, (kind, _) in enumerate(source) if kind == b"IDAT")
    kept = [
        (kind, unturned(content) if kind == b"eXIf" else content, i < first)
        for i, (kind, content) in enumerate(source)
        if kind not in dropped
        and (kind == b"PLTE" or kind in KNOWN or kind[3:].islower())
        and kind != b"IEND"
    ]
    before, after = (
        [(kind, content) for kind, content, early in kept if early is wanted] for wanted in (True, False)
    )
    return joined([start, *before, *body[:-1], *after, body[-1]])


def _keyed(samples: NDArray[Any], like: Picture, key: bytes, bits: int) -> NDArray[Any]:
    """Samples of which just those that were transparent have the colour that says so."""
    most, whole = 2**bits - 1, np.iinfo(samples.dtype).max
    values = np.frombuffer(key, ">u2").astype(np.int64) & most
    transparent = (np.asarray(like.alpha) == 0)[..., None]
    colour = (values * (whole // most)).astype(samples.dtype)
    taken = (samples == colour).all(axis=2, keepdims=True) & ~transparent
    beside = np.where(colour > 0, colour - whole // most, colour + whole // most).astype(samples.dtype)
    return np.where(transparent, colour, np.where(taken, beside, samples)).astype(samples.dtype)


def _in_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Values (H, W) of a few bits each to the bytes of their rows."""
    together = 8 // bits
    filled = np.pad(values, [(0, 0), (0, -values.shape[1] % together)]).astype(np.uint8)
    shifts = np.arange(together - 1, -1, -1, dtype=np.uint8) * np.uint8(bits)
    parts = filled.reshape(len(values), -1, together) << shifts
    return np.asarray(np.bitwise_or.reduce(parts, axis=2))


def _jpeg(samples: NDArray[Any], like: Picture) -> bytes:
    image: Any = image_of(io.BytesIO(like.written), "JPEG")
    if _is_as_it_was(samples, like, image):
        return bytes(like.written)
    sampling = JpegImagePlugin.get_sampling(image)
    inks = image.mode == "CMYK"
    options: dict[str, Any] = {
        "qtables": image.quantization,
        "subsampling": sampling if sampling >= 0 else 0,  # unusual ones: none is lost
        "progressive": "progressive" in image.info,
        "keep_rgb": image.mode == "RGB" and image.info.get("adobe_transform") == 0,
    }
    bare = _by_pillow(to_cmyk(samples) if inks else samples, "JPEG", "CMYK" if inks else None, **options)
    if sampling > 0 and samples.size <= SHARPENED:
        bare = _sharpened(bare, samples, options)
    kept = [
        (mark, unturned(content))
        for mark, content in _segments(like.written)
        if (mark == APP0 and content.startswith(JFIF))
        or (mark in KEPT_SEGMENTS and not content.startswith(MPF))
    ]
    has_jfif = any(mark == APP0 for mark, _ in kept)
    own = [(mark, content) for mark, content in _segments(bare) if mark != APP0 or not has_jfif]
    first = sum(mark == APP0 for mark, _ in own)
    head = b"".join(
        struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content
        for mark, content in (*own[:first], *kept, *own[first:])
    )
    return b"\xff\xd8" + head + bare[_scan(bare) :]


def _sharpened(bare: bytes, samples: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
    """A JPEG of fewer colours than pixels, again, with what it lost added before."""
    asked = samples.astype(np.int16)
    for _ in range(ROUNDS):
        with Image.open(io.BytesIO(bare), formats=("JPEG",)) as seen:
            asked += samples - np.asarray(seen).reshape(samples.shape).astype(np.int16)
        bare = _by_pillow(asked.clip(0, 255).astype(np.uint8), "JPEG", **options)
    return bare


def _is_as_it_was(samples: NDArray[Any], like: Picture, image: Image.Image) -> bool:
    """Whether a file's own pixels need no coding a second time."""
    single, is_upright = like.header.frames == 1, find_orientation(image.info.get("exif", b""))[0] == 1
    return single and is_upright and np.array_equal(samples, like.pixels.transpose(1, 2, 0))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marks and contents of a JPEG file's segments before its scan."""
    position, end = 2, _scan(data)
    while position < end:
        if data[position + 1] == 0xFF:  # filled up
            position += 1
            continue
        mark, length = struct.unpack_from(">xBH", data, position)
        yield mark, data[position + 4 : position + 2 + length]
        position += 2 + length


def _scan(data: bytes) -> int:
    """Where a JPEG file's first scan begins."""
    position = 2
    while data[position + 1] != 0xDA:
        position += 1 if data[position + 1] == 0xFF else 2 + struct.unpack_from(">H", data, position + 2)[0]
    return position


def _webp(samples: NDArray[Any], like: Picture) -> bytes:
    image = image_of(io.BytesIO(like.written), "WebP")
    info, lossless = image.info, any(kind == LOSSLESS for kind in _riff(like.written))
    if _is_as_it_was(samples, like, image):
        return bytes(like.written)
    options: dict[str, Any] = {name: unturned(info[name]) for name in ("exif", "xmp") if info.get(name)}
    if info.get("icc_profile"):
        options["icc_profile"] = info["icc_profile"]
    quality = 100 if lossless else UNKNOWN_QUALITY
    return _by_pillow(
        _with_alpha(samples, like), "WEBP", lossless=lossless, quality=quality, exact=True, **options
    )


def _riff(data: bytes) -> Iterator[bytes]:
    """Kinds of the chunks of a WebP file, those of its frames too."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind
        position += 24 if kind == b"ANMF" else 8 + length + length % 2


def _bmp(samples: NDArray[Any], like: Picture) -> bytes:
    image = image_of(io.BytesIO(like.written), "BMP")
    options = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
    if image.mode == "P":
        levels = coloured_palette(image)
        indices = indices_of(samples, levels, False)
        if indices is not None:
            return _indexed(indices, levels, "BMP", options)
    mode = "1" if image.mode == "1" else None
    return _by_pillow(_with_alpha(samples, like), "BMP", mode, **options)


def _gif(samples: NDArray[Any], like: Picture) -> bytes:
    image = image_of(io.BytesIO(like.written), "GIF")
    kept = ("transparency", "comment", "background")
    options: dict[str, Any] = {name: image.info[name] for name in kept if name in image.info}
    if image.mode == "L":  # the palette is every gray in order
        if like.header.alpha:
            samples = _keyed(samples, like, struct.pack(">H", options["transparency"]), 8)
        return _by_pillow(samples, "GIF", **options)
    levels = coloured_palette(image)
    indices = indices_of(_with_alpha(samples, like), levels, like.header.alpha)
    if indices is not None:
        return _indexed(indices, levels[:, : levels.shape[1] - like.header.alpha], "GIF", options)
    most = 255 if like.alpha is not None else 256
    reduced = Image.fromarray(np.broadcast_to(samples, (*samples.shape[:2], 3)).copy()).quantize(most)
    indices = np.array(reduced)
    palette = np.zeros((256, 3), np.uint8)
    chosen = np.array(reduced.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(chosen)] = chosen
    if like.alpha is not None:
        indices[like.alpha == 0] = options["transparency"] = 255
    return _indexed(indices, palette, "GIF", options)


def _indexed(indices: NDArray[Any], levels: NDArray[Any], kind: str, options: dict[str, Any]) -> bytes:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(np.broadcast_to(levels, (len(levels), 3)).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _by_pillow(samples: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    samples = samples[..., 0] if samples.shape[2] == 1 else samples
    buffer = io.BytesIO()
    if mode == "CMYK":
        image = Image.frombytes("CMYK", (samples.shape[1], samples.shape[0]), samples.tobytes())
    else:
        image = Image.fromarray(samples)
    if mode == "1":
        image = image.point(lambda level: 255 * (level >= 128), "1")
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _with_alpha(samples: NDArray[Any], like: Picture) -> NDArray[Any]:
    if like.alpha is None:
        return samples
    return np.concatenate([samples, like.alpha[..., None]], axis=2)


ENCODERS = {"PNG": _png, "JPEG": _jpeg, "MPO": _jpeg, "WEBP": _webp, "BMP": _bmp, "GIF": _gif}
