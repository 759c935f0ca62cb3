"""TIFF files: which pictures are in them, and their samples.

tifffile finds its way in them, `strips` unpacks most, and what libtiff alone can (fax, JPEG), Pillow does.
Of a file's axes Y and X are the picture, S (samples of a pixel) and C its channels, all others
pages.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import MAX_CHANNELS
from safelight.data.colours import divided, from_cmyk, from_lab
from safelight.data.kinds import Header, Picture, affordable, unturned, upright
from safelight.data.strips import NONE, PACKED, out_of_strips
from safelight.errors import DataError

__all__ = [
    "CIELAB",
    "INKS",
    "MAX_SAMPLE",
    "MIN_IS_BLACK",
    "MIN_IS_WHITE",
    "PALETTE",
    "RGB",
    "YCBCR",
    "TiffPlace",
    "TiffWritten",
    "opened_tiff",
    "places_of",
    "read_place",
    "tiff_header",
]

MAX_PAGES = 1_000_000
QUIET = logging.NullHandler()  # what tifffile logs of a file is an error of ours, or does no harm
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, INKS, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8  # of the tag Photometric
ASSOCIATED, STRAIGHT = 1, 2  # of the tag ExtraSamples: alpha that colours are multiplied by, or are not
SEEN = {"1": "L", "L": "L", "LA": "LA", "P": "P", "RGB": "RGB", "RGBA": "RGBA", "YCbCr": "RGB"}  # by Pillow
MAX_SAMPLE, INK_SET, ORIENTATION, COLORMAP, IMAGEJ = 281, 332, 274, 320, 50839
DESCRIPTION, RESOLUTION, RESOLUTION_UNIT, XMP, PROFILE = 270, (282, 283), 296, 700, 34675
LAYOUT = frozenset(  # tags that are written anew, or point to what is not copied: Exif data, smaller pictures
    {*range(254, 260), *range(262, 267), DESCRIPTION, 273, ORIENTATION, *range(277, 280), *RESOLUTION, 284}
    | {288, 289, RESOLUTION_UNIT, 317, COLORMAP, *range(322, 326), 330, 338, 339, 347, *range(512, 533)}
    | {34665, PROFILE, 34853, 40965, 50838, IMAGEJ}
)


@dataclass(frozen=True, eq=False)
class TiffPlace:
    """Where a picture of a TIFF file is.

    Attributes:
        series: tifffile's, of pages alike.
        planes: which of its planes, one for each channel, or one that holds them all.
    """

    series: Any
    planes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TiffWritten:
    """How a picture was written.

    Attributes:
        dtype: of its samples.
        bits: a sample.
        photometric: the tag: what samples mean.
        colormap: (3, n) of 16 bits, the colours of a palette, or None.
        alpha_at: which sample is alpha, or None.
        multiplied: whether colours are multiplied by it.
        planes: the place of each of its planes in the file: a series, and a plane of it.
        describes_all: whether its description is one of the whole file, as ImageJ's and OME's are.
        options: for tifffile's writer.
        file: likewise, for the file as a whole.
    """

    dtype: np.dtype[Any]
    bits: int
    photometric: int
    colormap: NDArray[np.uint16] | None
    alpha_at: int | None
    multiplied: bool
    planes: tuple[tuple[int, int], ...]
    describes_all: bool
    options: dict[str, Any]
    file: dict[str, Any]


@contextmanager
def opened_tiff(source: Path | bytes) -> Iterator[Any]:
    """A `TiffFile` of tifffile's; of a set in several files (OME) this one alone."""
    import tifffile

    logging.getLogger("tifffile").addHandler(QUIET)
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with tifffile.TiffFile(stream, _multifile=False) as file:
        yield file


def places_of(file: Any, where: str) -> list[TiffPlace]:
    """The pictures of a file, in order.

    Raises:
        DataError: there are none, or too many.
    """
    places: list[TiffPlace] = []
    for series in file.series:
        key = series.keyframe
        area = key.imagelength * key.imagewidth * key.samplesperpixel
        count = series.size // max(area, 1)
        if key.imagedepth != 1 or count * area != series.size or len(places) + count > MAX_PAGES:
            raise DataError(
                f"expected pages of pictures in {where}, got {series.shape} ({series.axes}); save it as pages"
            )
        if getattr(key, "is_reduced", False) and places:
            continue  # a smaller copy of what came before
        places += [TiffPlace(series, planes) for planes in _grouped(file, series, count)]
    if not places:
        raise DataError(f"expected a picture in {where}, got a TIFF file without any; replace or remove it")
    return places


def _grouped(file: Any, series: Any, count: int) -> list[tuple[int, ...]]:
    """The planes of a series by picture: channels in planes of their own are one."""
    axes = [(axis, n) for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    lengths = [n for _, n in axes]
    names = "".join(axis for axis, _ in axes)
    channels = dict(axes).get("C", 1)
    apart = series.kind == "imagej" and (file.imagej_metadata or {}).get("mode") == "grayscale"
    if (
        not 1 < channels <= MAX_CHANNELS
        or series.keyframe.samplesperpixel > 1
        or names.count("C") > 1
        or np.prod(lengths, dtype=object) != count
        or apart  # channels that ImageJ shows one by one, as any stack that it was told nothing of
    ):
        return [(number,) for number in range(count)]
    numbers = np.moveaxis(np.arange(count).reshape(lengths), names.index("C"), -1)
    return [tuple(int(n) for n in group) for group in numbers.reshape(-1, channels)]


def tiff_header(place: TiffPlace, pages: int, where: str) -> Header:
    """What the tags of a picture declare.

    Raises:
        DataError: it is too large, or of no kind that is taken.
    """
    key = place.series.keyframe
    dtype = key.dtype
    if dtype is None or dtype.kind not in "biuf":
        raise DataError(
            f"expected whole or floating-point numbers in {where}, got {key.bitspersample} bits a sample of "
            f"the format {key.sampleformat}; save it again in 8 or 16 bits"
        )
    alpha = _alpha_at(key) is not None
    channels = key.samplesperpixel * len(place.planes) - alpha
    affordable(key.imagelength, key.imagewidth, channels, where)
    if key.is_tiled:
        affordable(key.tilelength, key.tilewidth, 1, where)
    bits = 8 * dtype.itemsize if _is_whole(dtype) else max(32, 8 * dtype.itemsize)
    if key.photometric == PALETTE:
        channels, bits = palette_of(key).shape[1], 8
    elif _is_inks(key):
        channels = 3
    size = key.imagelength, key.imagewidth
    height, width = size[::-1] if 5 <= _orientation(key) <= 8 else size
    return Header("TIFF", height, width, channels, alpha, bits, pages, pages)


def read_place(file: Any, place: TiffPlace, pages: int, where: str) -> Picture:
    """A picture of a file.

    Raises:
        DataError: as `tiff_header`; what tifffile and Pillow raise for damage comes as it is.
    """
    header, key = tiff_header(place, pages, where), place.series.keyframe
    read = [_samples(file, place.series, number, where) for number in place.planes]
    is_seen = all(seen for _, seen in read)
    samples = np.concatenate([part for part, _ in read], axis=-1) if len(read) > 1 else read[0][0]
    white, at = _white(key, samples), _alpha_at(key)
    alpha = None if at is None else samples[..., at]
    colours = samples if at is None else np.delete(samples, at, axis=-1)
    if not is_seen:
        colours, alpha = _as_seen(key, colours, alpha, white, where)
        colours = upright(colours.transpose(2, 0, 1), _orientation(key))
        alpha = None if alpha is None else np.ascontiguousarray(upright(alpha, _orientation(key)))
    else:
        colours = colours.transpose(2, 0, 1)
    pixels = np.ascontiguousarray(colours, colours.dtype if _is_whole(colours.dtype) else np.float32)
    return Picture(pixels, white, alpha, header, _written(file, place))


def _as_seen(
    key: Any, colours: NDArray[Any], alpha: NDArray[Any] | None, white: float | None, where: str
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Samples (H, W, S) of a file as gray, RGB or data, and alpha, in 8 bits where they had fewer."""
    if key.photometric == PALETTE:
        return palette_of(key)[colours[..., 0]], alpha
    if key.bitspersample < 8:
        scale = 255 // (2**key.bitspersample - 1)
        colours = colours.astype(np.uint8) * scale
        alpha = None if alpha is None else alpha.astype(np.uint8) * scale
    if key.photometric == MIN_IS_WHITE and _is_whole(colours.dtype):
        colours = colours.dtype.type(white or np.iinfo(colours.dtype).max) - colours
    if alpha is not None and ASSOCIATED in key.extrasamples:
        colours = divided(colours, alpha)
    if _is_inks(key):
        colours = from_cmyk(colours)
    elif key.photometric == CIELAB and colours.shape[2] == 3:
        colours = from_lab(colours, where)
    return colours, alpha


def _samples(file: Any, series: Any, number: int, where: str) -> tuple[NDArray[Any], bool]:
    """A plane as it lies in the file, (H, W, samples), and whether it is as it is seen already."""
    key = series.keyframe
    height, width, samples = key.imagelength, key.imagewidth, key.samplesperpixel
    separate = key.planarconfig == 2 and samples > 1
    shape = (samples, height, width) if separate else (height, width, samples)
    if series.dataoffset is not None:  # one after another, not packed
        dtype = key.dtype.newbyteorder(file.byteorder)
        count = height * width * samples
        file.filehandle.seek(series.dataoffset + number * count * dtype.itemsize)
        plane = file.filehandle.read_array(dtype, count).astype(key.dtype, copy=False)
    else:
        page = series.pages[number]
        if page is None:
            raise DataError(f"expected all pages of {where} in one file, got some in others; save it as one")
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=0) > file.filehandle.size:
            raise DataError(
                f"expected {max(ends)} bytes in {where}, got {file.filehandle.size}; get it again"
            )
        if key.compression in PACKED and key.fillorder == 1 and key.photometric != YCBCR:
            return out_of_strips(file, _full(page)), False
        if not _unpacks(key):
            return _by_pillow(file, page, where), True
        plane = page.asarray()
    plane = plane.reshape(shape)
    return (plane.transpose(1, 2, 0) if separate else plane), False


def _unpacks(key: Any) -> bool:
    """Whether tifffile can, with what is installed."""
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[key.compression]
    except (KeyError, ImportError):
        return False
    return (key.photometric, key.compression) != (YCBCR, NONE)


def _by_pillow(file: Any, page: Any, where: str) -> NDArray[Any]:
    """A page whose packing Pillow knows, where it takes its samples as they are."""
    from PIL import ImageOps
    from PIL.TiffImagePlugin import TiffImageFile

    handle = file.filehandle
    handle.seek(0)
    with TiffImageFile(io.BytesIO(handle.read(handle.size))) as image:
        image.seek(page.index)
        key = page.keyframe
        held = {"I;16": 16, "F": 32}.get(image.mode, 8 * (image.mode in SEEN))
        if held != (key.bitspersample + 7) // 8 * 8:
            packing = getattr(key.compression, "name", key.compression)
            raise DataError(
                f"expected {where} packed by LZW or deflate, got {packing} of {key.bitspersample} bits; "
                "install safelight[tiff], or save it again"
            )
        image.load()
        seen = ImageOps.exif_transpose(image)
        if seen.mode == "P":
            seen = seen.convert("RGB" if palette_of(key).shape[1] == 3 else "L")
        array = np.asarray(seen.convert(SEEN.get(seen.mode, seen.mode)))
        return array.reshape(*array.shape[:2], -1)


def _full(page: Any) -> Any:
    """A page with all of its tags; tifffile reads those after the first in part."""
    return page.aspage() if type(page).__name__ == "TiffFrame" else page


def _orientation(key: Any) -> int:
    value = key.tags.valueof(ORIENTATION, 1)
    return int(value) if isinstance(value, int) else 1


def _alpha_at(key: Any) -> int | None:
    """Which sample says how transparent a pixel is."""
    extra = tuple(key.extrasamples)
    first = key.samplesperpixel - len(extra)
    return next((first + i for i, kind in enumerate(extra) if kind in (ASSOCIATED, STRAIGHT)), None)


def _is_whole(dtype: np.dtype[Any]) -> bool:
    """Whether pixels stay in this type: whole numbers of up to 16 bits, without a sign."""
    return dtype.kind in "bu" and dtype.itemsize <= 2


def _is_inks(key: Any) -> bool:
    own = key.samplesperpixel - (_alpha_at(key) is not None)
    whole = _is_whole(key.dtype) and key.bitspersample >= 8
    return bool(key.photometric == INKS and own == 4 and whole and key.tags.valueof(INK_SET, 1) == 1)


def palette_of(key: Any) -> NDArray[np.uint8]:
    """(n, 3) levels, or (n, 1) where all are gray."""
    colours = np.asarray(key.colormap)
    if colours.max(initial=0) > 255:
        colours = colours >> 8
    levels = colours.astype(np.uint8).T
    return levels[:, :1] if (levels == levels[:, :1]).all() else levels


def _white(key: Any, samples: NDArray[Any]) -> float | None:
    """What the tags say white is; MaxSampleValue where it is a number of bits' and holds."""
    if not _is_whole(samples.dtype):
        return None
    if samples.dtype.itemsize == 1 or key.photometric == PALETTE:
        return 255.0
    if _is_inks(key):
        return 65535.0
    declared = np.max(key.tags.valueof(MAX_SAMPLE, 2**key.bitspersample - 1 if key.bitspersample < 16 else 0))
    is_bits = declared > 255 and (int(declared) + 1) & int(declared) == 0
    return float(declared) if is_bits and samples.max(initial=0) <= declared else None


def _written(file: Any, place: TiffPlace) -> TiffWritten:
    series, key = place.series, place.series.keyframe
    position = next(i for i, other in enumerate(file.series) if other is series)
    own = series.pages[place.planes[0]] if place.planes[0] < len(series.pages) else None
    page: Any = own if hasattr(own, "tags") else key  # pages after the first may lie without tags
    tags = page.tags
    resolution = tuple(tags.valueof(code) for code in RESOLUTION)
    options = {
        "planarconfig": int(key.planarconfig) if key.samplesperpixel > 1 else None,
        "compression": int(key.compression),
        "predictor": int(key.predictor),
        "tile": (key.tilelength, key.tilewidth) if key.is_tiled else None,
        "rowsperstrip": None if key.is_tiled else min(key.rowsperstrip, key.imagelength),
        "resolution": None if None in resolution else resolution,
        "resolutionunit": int(tags.valueof(RESOLUTION_UNIT, 2)),
        "description": _encoded(tags.valueof(DESCRIPTION)) if page is own else None,
        "iccprofile": tags.valueof(PROFILE),
        "subfiletype": int(page.subfiletype),
        "extrasamples": [int(kind) for kind in key.extrasamples],
        "extratags": _copied(file, tags, page is own),
        "software": False,
    }
    return TiffWritten(
        dtype=key.dtype,
        bits=key.bitspersample,
        photometric=int(key.photometric),
        colormap=np.asarray(key.colormap) if key.photometric == PALETTE else None,
        alpha_at=_alpha_at(key),
        multiplied=ASSOCIATED in key.extrasamples,
        planes=tuple((position, number) for number in place.planes),
        describes_all=series.kind not in ("generic", "uniform"),
        options=options,
        file={"byteorder": file.byteorder, "bigtiff": file.is_bigtiff},
    )


def _copied(file: Any, tags: Any, is_own: bool) -> list[tuple[Any, ...]]:
    """Tags that are written again as they are, and the orientation of a picture that was turned."""
    import tifffile

    copied = [
        (tag.code, int(tag.dtype), tag.count, unturned(tag.value) if tag.code == XMP else tag.value, True)
        for tag in tags
        if tag.code not in LAYOUT and not isinstance(tag.value, dict)
    ]
    if ORIENTATION in tags:
        copied.append((ORIENTATION, 3, 1, 1, True))
    if is_own and isinstance(tags.valueof(IMAGEJ), dict):
        copied += tifffile.tifffile.imagej_metadata_tag(tags.valueof(IMAGEJ), file.byteorder)
    return copied


def _encoded(text: Any) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
