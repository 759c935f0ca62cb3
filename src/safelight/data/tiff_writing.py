"""Pages of TIFF files written as they were found: samples, packing, resolution, descriptions."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.data.colours import in_numbers, indices_of, multiplied, to_cmyk, to_lab
from safelight.data.kinds import Picture
from safelight.data.strips import PACKED, differences, in_strips, pack
from safelight.data.tiff import CIELAB, INKS, MAX_SAMPLE, MIN_IS_BLACK, MIN_IS_WHITE, PALETTE, RGB, YCBCR

__all__ = ["encode_tiff"]

NONE, DEFLATE = 1, 8  # of the tag Compression
COMPRESSION, PREDICTOR, IMAGEJ_TAGS = 259, 317, (50838, 50839)


def encode_tiff(pages: Iterable[NDArray[Any]], like: Sequence[Picture]) -> bytes:
    """A TIFF file of pictures.

    Pages lie as in the file that they were read from, with its byte order, packing (LZW, PackBits, deflate or
    none; any other becomes deflate), differences, tiles, resolution, colour profile, descriptions (of ImageJ
    and OME too) and other tags, but for Exif data. Samples keep their type; of 2, 4 or 12 bits they take 8 or
    16. Palettes stay where no pixel is far from their colours.

    Args:
        pages: (C, H, W) each, in the numbers of the file.
        like: what was read, in the same order. Where that is a part of a file's pages, descriptions of the
            whole are left out.
    """
    import tifffile

    planes = {}
    for pixels, picture in zip(pages, like, strict=True):
        samples, photometric = _as_stored(pixels, picture)
        parts = np.split(samples, len(picture.written.planes), axis=2)
        for place, part in zip(picture.written.planes, parts, strict=True):
            planes[place] = part, photometric, picture
    is_whole = len(like) == like[0].header.pages
    buffer, changes = io.BytesIO(), []
    with tifffile.TiffWriter(buffer, ome=False, **like[0].written.file) as writer:
        described = set()
        for place in sorted(planes):
            samples, photometric, picture = planes[place]
            options = dict(picture.written.options)
            if id(picture) in described or (picture.written.describes_all and not is_whole):
                options["description"] = None
                options["extratags"] = [tag for tag in options["extratags"] if tag[0] not in IMAGEJ_TAGS]
            described.add(id(picture))
            changes.append(_write(writer, samples, photometric, picture.written, options))
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for number, change in enumerate(changes):
            page: Any = file.pages[number]
            for tag, value in change.items():
                struct.pack_into(f"{file.byteorder}H", content, page.tags[tag].valueoffset, value)
    return bytes(content)


def _as_stored(pixels: NDArray[Any], picture: Picture) -> tuple[NDArray[Any], int]:
    """Samples (H, W, S) as they lie in the file, and what they mean."""
    written, photometric = picture.written, picture.written.photometric
    seen = np.asarray(pixels).transpose(1, 2, 0)
    if photometric == PALETTE:
        colours = in_numbers(seen, np.dtype(np.uint8))
        levels = written.colormap.T >> 8 if written.colormap.max() > 255 else written.colormap.T
        indices = indices_of(colours, levels[:, : colours.shape[2]], False)
        if indices is None:
            return colours, RGB if colours.shape[2] == 3 else MIN_IS_BLACK
        return indices.astype(written.dtype)[..., None], PALETTE
    if written.bits == 1:
        seen = seen / 255
    samples = in_numbers(seen, np.dtype(np.uint8) if written.bits < 8 else written.dtype)
    if photometric == INKS and samples.shape[2] == 3:
        samples = to_cmyk(samples)
    elif photometric == CIELAB and samples.shape[2] == 3:
        samples = to_lab(samples)
    elif photometric == MIN_IS_WHITE and samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        white = 1 if written.bits == 1 else picture.white or np.iinfo(samples.dtype).max
        samples = in_numbers(white - samples.astype(np.float64), samples.dtype)
    if picture.alpha is not None:
        if written.multiplied:
            samples = multiplied(samples, picture.alpha)
        at = min(written.alpha_at, samples.shape[2])
        samples = np.insert(samples, at, picture.alpha, axis=2)
    stored = samples.astype(np.bool_) if written.bits == 1 else samples
    return stored, RGB if photometric == YCBCR else photometric


def _write(
    writer: Any, samples: NDArray[Any], photometric: int, written: Any, options: dict[str, Any]
) -> dict[int, int]:
    """Write a page, and return the tags to change in it, which tifffile writes only with imagecodecs."""
    separate = options["planarconfig"] == 2
    compression, predictor = options.pop("compression"), options.pop("predictor")
    rows = options["rowsperstrip"] or samples.shape[0]
    if options["tile"] is None:
        options["rowsperstrip"] = rows = min(rows, samples.shape[0])
    if photometric != written.photometric:  # a palette that did not hold, or YCbCr
        options |= {"planarconfig": None, "extrasamples": []}
        separate = False
    options |= {"photometric": photometric, "metadata": None, "contiguous": False}
    if photometric == PALETTE:
        options["colormap"] = written.colormap
    if 8 < written.bits < 16 and not any(tag[0] == MAX_SAMPLE for tag in options["extratags"]):
        declared = (MAX_SAMPLE, 3, samples.shape[2], (2**written.bits - 1,) * samples.shape[2], True)
        options["extratags"] = [*options["extratags"], declared]
    stored = np.ascontiguousarray(samples.transpose(2, 0, 1)) if separate else samples
    stored = stored[..., 0] if not separate and samples.shape[2] == 1 else stored
    if compression == NONE or samples.dtype.kind == "b":
        packing = None if compression == NONE else "zlib"
        writer.write(stored, compression=packing, **options)
        return {}
    if compression not in PACKED:
        compression, predictor = DEFLATE, 1
    size = options["tile"] or (rows, samples.shape[1])
    parts = in_strips(samples, separate, size, options["tile"] is not None)
    order = written.file["byteorder"]
    packed = (pack(differences(part, predictor, order), compression) for part in parts)
    options |= {"compression": DEFLATE, "predictor": None if predictor == 1 else 2}
    writer.write(packed, shape=stored.shape, dtype=samples.dtype, **options)
    return {COMPRESSION: compression} | ({PREDICTOR: predictor} if predictor != 1 else {})
