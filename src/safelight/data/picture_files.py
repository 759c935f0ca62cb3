"""One picture at a time, out of a file and into one of the same kind, depth and transparency."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.data.png16 import decode_png16, encode_png16
from safelight.data.readers import DAMAGE
from safelight.errors import DataError

__all__ = ["SUFFIXES", "Picture", "encode_picture", "read_picture"]

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
SUFFIXES = tuple(FORMATS)
MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I;16B")  # Pillow's names of what is taken
KEPT = ("icc_profile", "exif", "dpi")
JPEG_QUALITY = 95
MAX_IMAGE = 64_000_000
BITS_PER_SAMPLE = 258  # of TIFF's tags


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and all that its file must have to be of the same kind.

    Attributes:
        pixels: (C, H, W) float32 in [0, 1], C being 1 or 3.
        alpha: (H, W) in the file's own numbers, or None.
        bits: 8 or 16 a sample.
        format: PNG, JPEG or TIFF.
        extras: colour profile, Exif data and resolution, as Pillow keeps them; of 16-bit colour, the profile
            alone is written.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[Any] | None = None
    bits: int = 8
    format: str = "PNG"
    extras: dict[str, Any] = field(default_factory=dict)


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG or TIFF file: gray or RGB, of 8 or 16 bits, with alpha or without.

    Of 16-bit TIFFs those with gray and alpha are not taken.

    Raises:
        DataError: it is something else, damaged, or too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are capped here
        try:
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:  # reads the header alone
                return _decode(path, image)
        except DataError:
            raise
        except (OSError, Image.DecompressionBombError, *DAMAGE) as error:
            detail = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(
                f"expected a PNG, JPEG or TIFF picture in {path}, got '{detail}'; replace or remove it"
            ) from None


def encode_picture(pixels: NDArray[Any], like: Picture) -> bytes:
    """The file of a picture with other pixels.

    Args:
        pixels: (C, H, W) in [0, 1].
        like: everything else.

    Example:
        >>> import numpy as np
        >>> data = encode_picture(np.zeros((1, 8, 8)), Picture(np.ones((1, 8, 8), np.float32)))
        >>> data[1:4]
        b'PNG'
    """
    most = 2**like.bits - 1
    levels = np.rint(np.asarray(pixels, np.float64).transpose(1, 2, 0).clip(0, 1) * most)
    samples = levels.astype(np.uint8 if like.bits == 8 else np.uint16)
    if like.alpha is not None:
        samples = np.concatenate([samples, like.alpha[..., None]], axis=2)
    if like.bits == 16 and samples.shape[2] > 1:
        encode = encode_png16 if like.format == "PNG" else _encode_tiff16
        return encode(samples, like.extras.get("icc_profile", b""))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": JPEG_QUALITY} if like.format == "JPEG" else {}
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.save(buffer, like.format, **options, **like.extras)
    return buffer.getvalue()


def _decode(path: Path, image: Image.Image) -> Picture:
    if image.mode not in MODES:
        raise DataError(
            f"expected a picture in gray or RGB, with alpha or without, got {path} in "
            f"{image.mode}; convert it"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"expected one picture in {path}, got {getattr(image, 'n_frames', 1)}; split it")
    if image.width * image.height * len(image.getbands()) > MAX_IMAGE:
        raise DataError(
            f"expected at most {MAX_IMAGE} values in a picture, got more in {path}; scale it down"
        )
    bits = 16 if image.mode.startswith("I;16") else _declared_bits(path, image)
    if bits == 16 and len(image.getbands()) > 1:
        samples = _read_tiff16(path) if image.format == "TIFF" else decode_png16(path.read_bytes(), str(path))
    else:
        samples = np.asarray(image.convert("L") if image.mode == "1" else image)
        samples = samples.astype(samples.dtype.newbyteorder("=")).reshape(image.height, image.width, -1)
    alpha = samples[..., -1].copy() if samples.shape[2] in (2, 4) else None
    colours = samples[..., :-1] if alpha is not None else samples
    pixels = np.ascontiguousarray(colours.transpose(2, 0, 1).astype(np.float32) / (2**bits - 1))
    extras = {name: image.info[name] for name in KEPT if name in image.info}
    return Picture(pixels, alpha, bits, str(image.format), extras)


def _declared_bits(path: Path, image: Image.Image) -> int:
    """Bits a sample as the file has them; Pillow tells only of gray when they are 16."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return 16 if struct.unpack(">24xB", file.read(25))[0] == 16 else 8
    if image.format == "TIFF":
        declared = image.tag_v2.get(BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return 16 if 16 in np.atleast_1d(declared) else 8
    return 8


def _read_tiff16(path: Path) -> NDArray[np.uint16]:
    import tifffile

    try:
        samples = np.asarray(tifffile.imread(path))
    except (ValueError, tifffile.TiffFileError) as error:
        raise DataError(f"expected a plain TIFF of 16 bits in {path}, got '{error}'; save it again") from None
    if samples.dtype != np.uint16 or samples.ndim != 3:
        raise DataError(
            f"expected 16-bit samples (H, W, C) in {path}, got {samples.dtype} {samples.shape}; save it again"
        )
    return samples


def _encode_tiff16(samples: NDArray[np.uint16], profile: bytes) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    extra = ["unassalpha"] if samples.shape[2] == 4 else None
    tifffile.imwrite(buffer, samples, photometric="rgb", extrasamples=extra, iccprofile=profile or None)
    return buffer.getvalue()
