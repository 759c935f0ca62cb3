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
from safelight.data.strips import HORIZONTAL, NONE, PACKED, as_stored, in_strips, pack
from safelight.data.tiff import CIELAB, INKS, MIN_IS_BLACK, MIN_IS_WHITE, PALETTE, RGB, YCBCR

__all__ = ["encode_tiff"]

DEFLATE = 8  # of the tag Compression
SEPARATE, FLOATS = 2, 3  # of the tags PlanarConfiguration, SampleFormat
SAMPLE_FORMAT = 339
BITS, COMPRESSION, PREDICTOR, IMAGEJ_TAGS = 258, 259, 317, (50838, 50839)


def encode_tiff(pages: Iterable[NDArray[Any]], like: Sequence[Picture]) -> bytes:
    """A TIFF file of pictures.

    Pages lie as in the file that they were read from, with its byte order, packing (LZW, PackBits, deflate,
    zstd or none; any other becomes deflate), differences, tiles, resolution, colour profile, descriptions (of
    ImageJ and OME too) and other tags, but for Exif data. Samples keep their type and bits. Palettes stay
    where no pixel is far from their colours.

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
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file, buffer.getbuffer() as content:  # no copy of a large picture
        for number, change in enumerate(changes):
            page: Any = file.pages[number]
            for tag, value in change.items():
                count = page.tags[tag].count
                struct.pack_into(
                    f"{file.byteorder}{count}H", content, page.tags[tag].valueoffset, *[value] * count
                )
    return buffer.getvalue()


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
    if written.bits < 8:
        seen = seen * ((2**written.bits - 1) / 255)
    samples = in_numbers(seen, np.dtype(np.uint8) if written.dtype.kind == "b" else written.dtype)
    if photometric == INKS and samples.shape[2] == 3:
        samples = to_cmyk(samples)
    elif photometric == CIELAB and samples.shape[2] == 3:
        samples = to_lab(samples)
    elif photometric == MIN_IS_WHITE and samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        white = 2**written.bits - 1 if written.bits < 8 else picture.white or np.iinfo(samples.dtype).max
        samples = in_numbers(white - samples.astype(np.float64), samples.dtype)
    if picture.alpha is not None:
        if written.multiplied:
            samples = multiplied(samples, picture.alpha)
        at = min(written.alpha_at, samples.shape[2])
        samples = np.insert(samples, at, picture.alpha, axis=2)
    return samples, RGB if photometric == YCBCR else photometric


def _write(
    writer: Any, samples: NDArray[Any], photometric: int, written: Any, options: dict[str, Any]
) -> dict[int, int]:
    """Write a page, and return the tags to change in it, which tifffile writes only with imagecodecs."""
    compression, predictor = options.pop("compression"), options.pop("predictor")
    bits = written.bits
    if compression not in PACKED:
        compression, predictor = DEFLATE, NONE
    if photometric != written.photometric:  # a palette that did not hold, or YCbCr
        options |= {"planarconfig": None, "extrasamples": []}
        bits = 8
    options |= {"photometric": photometric, "metadata": None, "contiguous": False}
    if photometric == PALETTE:
        options["colormap"] = written.colormap
    separate = options["planarconfig"] == SEPARATE
    stored = np.ascontiguousarray(samples.transpose(2, 0, 1)) if separate else samples
    stored = stored[..., 0] if samples.shape[2] == 1 else stored
    if compression == NONE and bits == 8 * samples.dtype.itemsize:
        writer.write(stored, **options)
        return {}
    size = options["tile"] or (min(options["rowsperstrip"], len(samples)), samples.shape[1])
    parts = in_strips(samples, separate, size, options["tile"] is not None)
    order = written.file["byteorder"]
    packed = (pack(as_stored(part, bits, predictor, order), compression) for part in parts)
    changes, dtype = {COMPRESSION: compression, BITS: bits}, samples.dtype
    if predictor != NONE:
        options["predictor"], changes[PREDICTOR] = HORIZONTAL, predictor
        if dtype.kind == "f":  # declared as whole numbers, since tifffile has no differences of others
            dtype, changes[SAMPLE_FORMAT] = np.dtype(f"i{dtype.itemsize}"), FLOATS
    writer.write(packed, shape=stored.shape, dtype=dtype, compression=DEFLATE, **options)
    return changes
