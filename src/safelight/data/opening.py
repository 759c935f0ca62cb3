"""A picture file to pixels, one way for everything that opens one.

Read are PNG, JPEG (of MPO its first picture), TIFF (its pages), WebP, BMP and GIF (its first frame), by their
content, whatever their names end in.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from safelight.data.colours import from_cmyk
from safelight.data.kinds import Header, Picture, affordable, find_orientation, upright
from safelight.data.png16 import chunks_of, decode_png16
from safelight.data.tiff import opened_tiff, places_of, read_place, tiff_header
from safelight.errors import DataError
from safelight.files import in_a_line, why

__all__ = [
    "SUFFIXES",
    "Header",
    "Picture",
    "declared",
    "image_of",
    "open_pages",
    "open_picture",
    "_palette",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".mpo", ".tif", ".tiff", ".webp", ".bmp", ".gif")
MAX_FILE = 2 << 30  # bytes of a file that is read as a whole, which a TIFF is not
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CHANNELS = {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I": 1, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
OPENERS: dict[bytes, Callable[[BinaryIO], Image.Image]] = {  # by how a file begins
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": jpeg_factory,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
}  # Pillow's Image.open would warn of, or refuse, sizes that are capped here


def declared(source: Path | bytes, where: str) -> Header:
    """What a file says of its picture; nothing of it is decoded.

    Args:
        source: the file, or its content.
        where: its name in messages.

    Raises:
        DataError: it is no picture, damaged, or declares more than is taken.

    Example:
        >>> from PIL import Image
        >>> buffer = io.BytesIO()
        >>> Image.new("RGBA", (90, 60)).save(buffer, "PNG")
        >>> declared(buffer.getvalue(), "here")
        Header(kind='PNG', height=60, width=90, channels=3, alpha=True, bits=8, pages=1, frames=1)
    """
    where = _one_line(where)
    with _naming(where):
        with _stream(source) as stream:
            if not _is_tiff(stream, where):
                return _header(image_of(stream, where), where)
        with opened_tiff(source) as file:
            places = places_of(file, where)
            return tiff_header(places[0], len(places), where)


def open_picture(source: Path | bytes, where: str, page: int = 0) -> Picture:
    """The picture of a file.

    Args:
        source: the file, or its content: a member of an archive, a cell of a table.
        where: its name in messages.
        page: which picture of a TIFF file.

    Raises:
        DataError: as `declared`, or the file is damaged or cut short, or has no such page.

    Example:
        >>> from PIL import Image
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (90, 60), 200).save(buffer, "PNG")
        >>> picture = open_picture(buffer.getvalue(), "here")
        >>> picture.pixels.shape, picture.pixels.max().item(), picture.white
        ((1, 60, 90), 200, 255.0)
    """
    where = _one_line(where)
    with _naming(where):
        data = _content(source, where)
        if data is None:
            with opened_tiff(source) as file:
                places = places_of(file, where)
                if not 0 <= page < len(places):
                    raise DataError(
                        f"expected {page + 1} pages in {where}, got {len(places)}; choose another"
                    )
                return read_place(file, places[page], len(places), where)
        if page:
            raise DataError(f"expected {page + 1} pages in {where}, got 1; choose another")
        return _picture(data, where)


def open_pages(source: Path | bytes, where: str) -> Iterator[Picture]:
    """Each picture of a TIFF file, one after another; the one of any other.

    Raises:
        DataError: as `open_picture`.
    """
    where = _one_line(where)
    with _naming(where):
        data = _content(source, where)
        if data is not None:
            yield _picture(data, where)
            return
        with opened_tiff(source) as file:
            places = places_of(file, where)
            for place in places:
                yield read_place(file, place, len(places), where)


def _one_line(name: str) -> str:
    """A file's name as messages can hold it."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Whatever a damaged file makes a decoder raise becomes one line with the file's name."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno is None:
            raise _damaged(error, where) from error
        raise DataError(f"expected to read {where}, got {why(error)}") from error
    except MemoryError as error:
        raise DataError(f"expected {where} to fit into memory, got more; scale it down") from error
    except Exception as error:  # decoders of hostile files raise anything
        raise _damaged(error, where) from error


def _damaged(error: Exception, where: str) -> DataError:
    detail = in_a_line(error)
    return DataError(f"expected a whole picture in {where}, got '{detail}'; replace or remove it")


@contextmanager
def _stream(source: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        with source.open("rb") as stream:
            yield stream


def _content(source: Path | bytes, where: str) -> bytes | None:
    """All of a file, or None of a TIFF, which is read in parts."""
    with _stream(source) as stream:
        if _is_tiff(stream, where):
            return None
        content = source if isinstance(source, bytes) else stream.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise DataError(f"expected at most {MAX_FILE:,} bytes in {where}, got more; scale it down")
    return content


def _is_tiff(stream: BinaryIO, where: str) -> bool:
    start = stream.read(4)
    stream.seek(0)
    if not start:
        raise DataError(f"expected a picture in {where}, got an empty file; replace or remove it")
    return start in TIFF_MARKS


def image_of(stream: BinaryIO, where: str) -> Image.Image:
    """Pillow's image, of which the header alone is read."""
    start = stream.read(12)
    stream.seek(0)
    for mark, opener in OPENERS.items():
        if start.startswith(mark) and (mark != b"RIFF" or start[8:] == b"WEBP"):
            return opener(stream)
    raise DataError(
        f"expected a PNG, JPEG, TIFF, WebP, BMP or GIF picture in {where}, got something else; "
        "convert, replace or remove it"
    )


def _header(image: Image.Image, where: str) -> Header:
    raw = _raw_mode(image)
    mode = "LA" if raw.startswith("LA") else "I;16" if image.mode.startswith("I;16") else image.mode
    if mode == "P":
        channels = _palette(image).shape[1]
    elif mode in CHANNELS:
        channels = CHANNELS[mode]
    else:
        raise DataError(f"expected gray or colours in {where}, got the kind {mode}; convert it")
    affordable(image.height, image.width, channels, where)
    orientation = find_orientation(image.info.get("exif", b""))[0]
    height, width = (image.width, image.height) if orientation >= 5 else (image.height, image.width)
    alpha = mode in ("LA", "RGBA") or "transparency" in image.info
    bits = 16 if "16" in raw else 8
    return Header(str(image.format), height, width, channels, alpha, bits, 1, getattr(image, "n_frames", 1))


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of how the samples of a PNG file lie, which tells what its mode does not: their depth."""
    tiles = getattr(image, "tile", ())
    return str(tiles[0][3]) if image.format == "PNG" and tiles else ""


def _picture(data: bytes, where: str) -> Picture:
    image = image_of(io.BytesIO(data), where)
    header = _header(image, where)
    exif = image.info.get("exif", b"")
    most = {"1": 1, "L;2": 3, "L;4": 15}.get(_raw_mode(image), 255)  # of gray, which Pillow scales to 255
    samples: NDArray[Any]
    if header.bits == 16 and image.mode not in ("I;16", "I"):
        samples = decode_png16(data, where)
    elif image.mode == "P":
        samples = _coloured(image)
    else:
        plain = {"1": "L", "YCbCr": "RGB"}.get(image.mode)
        samples = np.asarray(image.convert(plain) if plain else image)
        samples = samples.astype(np.uint16) if header.bits == 16 else samples
    samples = samples.reshape(*samples.shape[:2], -1)  # (H, W, channels and alpha)
    if image.mode == "CMYK":
        samples = from_cmyk(samples)
    if samples.shape[2] == header.channels and header.alpha:
        key = np.atleast_1d(image.info["transparency"]) * (255 // most)
        opaque = (samples != key).any(axis=2, keepdims=True) * np.iinfo(samples.dtype).max
        samples = np.concatenate([samples, opaque.astype(samples.dtype)], axis=2)
    seen = upright(samples.transpose(2, 0, 1), find_orientation(exif)[0])
    pixels = np.ascontiguousarray(seen[: header.channels])
    alpha = np.ascontiguousarray(seen[-1]) if header.alpha else None
    white = 255.0 if header.bits == 8 else _white(data, pixels)
    return Picture(pixels, white, alpha, header, data)


def _palette(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of a palette: (n, 3) levels, or (n, 1) where all are gray."""
    levels = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return levels[:, :1] if (levels == levels[:, :1]).all() else levels


def coloured_palette(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of a palette, with alpha where it has any: (n, samples)."""
    levels = _palette(image)
    transparent = image.info.get("transparency")
    if transparent is None:
        return levels
    alpha = np.full((max(len(levels), 256), 1), 255, np.uint8)
    if isinstance(transparent, bytes):
        alpha[: len(transparent), 0] = np.frombuffer(transparent, np.uint8)
    else:
        alpha[transparent] = 0
    return np.concatenate([levels, alpha[: len(levels)]], axis=1)


def _coloured(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of an image with a palette, and alpha where it has any: (H, W, samples)."""
    levels = coloured_palette(image)
    whole = np.zeros((256, levels.shape[1]), np.uint8)  # an index without a colour is black
    whole[: len(levels)] = levels
    return np.asarray(whole[np.asarray(image)])


def _white(data: bytes, pixels: NDArray[np.uint16]) -> float:
    """White of a PNG of 16 bits.

    Where the chunk sBIT says that fewer are significant, samples should be scaled to 16 (specification,
    section 11.3.2.4), their low bits then being zeros or the first ones again. Many programs leave them as
    they are.
    """
    significant = next((content for kind, content in chunks_of(data) if kind == b"sBIT"), b"")
    bits = max(significant, default=16)
    scaled_low = (1 << max(0, 16 - bits)) - 1
    most = int(pixels.max(initial=0))
    if bits < 16 and most < 1 << bits and (pixels & scaled_low).any():
        return float((1 << bits) - 1)
    return 65535.0
