"""Images from what is in memory: arrays, tensors, lists of pictures, data sets of other libraries."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import MAX_CHANNELS, Fit, FitOptions
from safelight.data.fitting import Look, Untold, choose_fit, fit_pixels, images_of, natural_range
from safelight.data.images import ImageSet
from safelight.data.opening import open_picture
from safelight.data.rows import is_mapped
from safelight.errors import DataError

__all__ = ["array_of", "as_pixels", "fitted", "is_pictures", "one_image", "set_of_pictures"]

Range = tuple[float, float]
SAMPLE = 1 << 22  # values by which black and white are found
PLACES = 100  # in a set, from which the sample comes


def as_pixels(array: NDArray[Any], where: str, options: FitOptions | Fit | None = None) -> ImageSet:
    """An array as a set of images.

    Args:
        array: (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1 to 8, of numbers. It is not copied unless
            its form must change.
        where: what to call it in messages.
        options: what stands for black and white: what is asked for, or a run's own range. By default what
            `natural_range` finds; of 8 bits 0 and 255.

    Raises:
        DataError: it has another shape, is no array of numbers, or has NaN in it.

    Example:
        >>> import numpy as np
        >>> images = as_pixels(np.ones((5, 28, 28, 3)), "the array")
        >>> images.pixels.shape, images.pixels.dtype.name, images.value_range
        ((5, 3, 28, 28), 'float32', (0.0, 1.0))
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError(f"expected every pixel of {where}, got a mask; fill it, as with array.filled(0)")
    if array.dtype.kind not in "buif":
        raise DataError(f"expected numbers in {where}, got {array.dtype}; convert them")
    array = _channels_first(array if is_mapped(array) else np.asarray(array), where)
    if array.dtype == np.bool_:
        return ImageSet(np.minimum(array.view(np.uint8), 1), (0, 1))
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    least, most = _extremes(array, where)
    value_range, note = _meant(array, least, most, options, where)
    low, high = value_range
    notes = [note] if note else []
    if array.dtype == np.uint8 and value_range != (0, 255):
        least, most = float(array.min()), float(array.max())
    if least < low or most > high:
        count = sum(int(((part < low) | (part > high)).sum()) for part in _parts(array))
        notes.append(f"{count:,} values of {array.size:,} outside of {low:g} to {high:g}, taken for these")
        kept = array.dtype if low == int(low) and high == int(high) else np.float32
        array = np.clip(array, low, high).astype(kept)
    if array.dtype not in (np.uint8, np.uint16):
        whole = array.dtype.kind in "iu" and low >= 0 and low == int(low)
        small = np.uint8 if high == 255 else np.uint16 if 255 < high <= 65535 else np.float32
        array = array.astype(small if whole else np.float32, copy=False)
    return ImageSet(array, value_range, notes=tuple(notes))


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    """(N, C, H, W) of whichever way round it is."""
    made = array[:, None] if array.ndim == 3 else array
    if made.ndim == 4 and 0 not in made.shape:
        first, last = made.shape[1], made.shape[3]
        likely = (first in (1, 3), last in (1, 3), first <= MAX_CHANNELS, last <= MAX_CHANNELS)
        if any(likely):
            return made.transpose(0, 3, 1, 2) if likely.index(True) % 2 else made
    raise DataError(
        f"expected images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 to {MAX_CHANNELS} channels "
        f"in {where}, got {array.shape}; reshape the array"
    )


def _parts(array: NDArray[Any]) -> Iterable[NDArray[Any]]:
    """Parts of some megabytes, one after another."""
    step = max(1, (1 << 24) // max(1, array[0].nbytes))
    return (array[first : first + step] for first in range(0, len(array), step))


def _extremes(array: NDArray[Any], where: str) -> Range:
    if array.dtype == np.uint8 or not array.size:
        return 0.0, 255.0
    with np.errstate(invalid="ignore"):
        found = [(float(part.min()), float(part.max())) for part in _parts(array)]
    least, most = min(low for low, _ in found), max(high for _, high in found)
    if not np.isfinite([bound for pair in found for bound in pair]).all():
        spoilt = sum(int((~np.isfinite(part)).sum()) for part in _parts(array))
        raise DataError(
            f"expected finite pixels in {where}, got NaN or infinity in {spoilt:,}; clean the array first"
        )
    return least, most


def _meant(
    array: NDArray[Any], least: float, most: float, options: FitOptions | Fit | None, where: str
) -> tuple[Range, str]:
    """What stands for black and white in an array."""
    is_byte, is_whole = array.dtype == np.uint8, array.dtype.kind in "ui"
    if isinstance(options, Fit):  # of a run
        low, high = options.range
        if is_byte:
            least, most = float(array.min()), float(array.max())
        if not is_whole and least >= 0 and most <= 1 and low == 0:
            return (0.0, 1.0), ""
        if (is_whole and low <= least and most <= high) or (not is_whole and options.dtype == "float32"):
            return options.range, ""
        if is_whole and (low, high) not in ((0, 255), (0, 65535)):
            raise DataError(
                f"expected pixels from {low:g} to {high:g} in {where}, as the run's, got {array.dtype} up to "
                f"{most:g}; say what they mean with safelight.ImageSet(pixels, value_range=...)"
            )
    if isinstance(options, FitOptions) and (asked := options.low_and_high):
        return asked, ""
    if is_byte:
        return (0.0, 255.0), ""
    places = np.unique(np.linspace(0, len(array) - 1, PLACES).astype(int))
    sample = np.stack([array[place] for place in places]).reshape(-1)
    found, note = natural_range(sample[:: max(1, len(sample) // SAMPLE)], array.dtype.kind == "f")
    if array.dtype.kind in "iu" and found[1] < most < 65536:  # a brighter one than in the sample
        found, note = natural_range(np.array([least, most]), False)
    return found, note


def array_of(source: Any) -> NDArray[Any]:
    """An array of what is as good as one: a tensor, or a list of arrays of one size."""
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "detach"):
        return np.asarray(source.detach().cpu())
    if isinstance(source, list | tuple):
        return np.stack([np.asarray(image) for image in source]) if len(source) else np.empty(0)
    return np.asarray(source)


def one_image(source: Any, channels: int) -> Any:
    """What came as one image, as a set of one; None where it is none or several.

    Args:
        source: one image is an array or a tensor, (H, W), (H, W, 3), or (H, W, C) or (C, H, W) of the
            network's own channels; or a picture of Pillow's. (3, H, W) is three images to a network for gray
            ones.
        channels: of the network's images.

    Example:
        >>> one_image(np.zeros((32, 32, 3)), 1).shape, one_image(np.zeros((3, 32, 32)), 1)
        ((1, 3, 32, 32), None)
    """
    if hasattr(source, "convert") and hasattr(source, "save"):
        return [source]
    if not (isinstance(source, np.ndarray) or hasattr(source, "detach")) or source.ndim not in (2, 3):
        return None
    array = array_of(source)
    if array.ndim == 2 or (array.shape[0] == channels > 1 and array.shape[2] not in (3, channels)):
        return array[None]  # (1, H, W) or (1, C, H, W)
    return array.transpose(2, 0, 1)[None] if array.shape[2] in (3, channels) else None


def is_pictures(source: Any) -> bool:
    """Whether something is a list of pictures or paths, or a data set of another library, not one array."""
    if isinstance(source, list | tuple):
        items = [item for item in source if not isinstance(item, int | float)]
        if len(items) < len(source) or not items:
            return False
        if any(isinstance(item, np.ma.MaskedArray) for item in items):
            raise DataError(
                "expected every pixel of the images, got masks; fill them, as with image.filled(0)"
            )
        shapes = {np.shape(item) for item in items if not isinstance(item, str)}
        return len(shapes) != 1 or hasattr(items[0], "convert") or hasattr(items[0], "__fspath__")
    is_array = hasattr(source, "__array__") or isinstance(source, str)
    return not is_array and hasattr(source, "__getitem__") and hasattr(source, "__len__")


def set_of_pictures(source: Any, options: FitOptions | Fit) -> ImageSet:
    """Pictures of any sizes as a set: arrays, (H, W), (H, W, C) or (C, H, W), tensors, Pillow's images.

    Args:
        source: the pictures, or pairs of one and its label, as a torch `Dataset` gives them.
        options: how they are made alike.

    Raises:
        DataError: there are none, or one is no picture.
    """
    found: list[tuple[NDArray[Any], float | None, NDArray[Any] | None]] = []
    labels: list[int] = []
    for place in range(len(source)):
        item = source[place]
        if isinstance(item, tuple) and len(item) == 2:
            item, label = item
            labels.append(int(label))
        found.append(_picture_of(item, f"image {place}"))
    if not found:
        raise DataError("expected at least one image, got none; check the source")
    if labels and len(labels) < len(found):
        raise DataError(f"expected a label for each of {len(found)} images or for none, got {len(labels)}")
    looks = [Look.of(pixels, white) for pixels, white, _ in found[:: max(1, len(found) // PLACES)]]
    if isinstance(options, FitOptions):
        sizes = [(pixels.shape[1], pixels.shape[2]) for pixels, _, _ in found]
        fit, untold, notes = choose_fit(looks, sizes, options)
    else:
        fit = options
        untold, notes = Untold.of(looks, Untold())
    images = [images_of(pixels, fit, untold.range_of(pixels, white), alpha) for pixels, white, alpha in found]
    which = np.repeat(np.arange(len(images)), [len(of_one) for of_one in images])
    return ImageSet(
        np.concatenate(images),
        fit.range,
        np.array(labels, np.int64)[which] if labels else None,
        fit=fit,
        groups=which if len(which) > len(images) else None,  # tiles of one picture stay in one part
        notes=tuple(notes),
    )


def _picture_of(item: Any, where: str) -> tuple[NDArray[Any], float | None, NDArray[Any] | None]:
    """(C, H, W), what white is where it is known, and how opaque, of anything that is a picture."""
    if hasattr(item, "convert") and hasattr(item, "save"):  # Pillow's
        buffer = io.BytesIO()
        kept = item if item.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else item.convert("RGB")
        kept.save(buffer, "PNG", compress_level=0)
        picture = open_picture(buffer.getvalue(), where)
        alpha = picture.alpha
        opaque = None if alpha is None else alpha.astype(np.float32) / np.iinfo(alpha.dtype).max
        return picture.pixels, picture.white, opaque
    array = array_of(item)
    if array.ndim not in (2, 3) or array.dtype.kind not in "buif":
        raise DataError(f"expected a picture in {where}, got {type(item).__name__} {array.shape}; convert it")
    pixels = _channels_first(array[None], where)[0]
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8), 1.0, None
    return pixels, 255.0 if pixels.dtype == np.uint8 else None, None


def fitted(images: ImageSet, options: FitOptions | Fit) -> ImageSet:
    """A set made alike with what a run is for, or with what was asked for; as it is where it is that already.

    Raises:
        DataError: the channels that are wanted cannot be made of its own.
    """
    if isinstance(options, Fit):
        size, channels, how = (options.height, options.width), options.channels, options.how
    else:
        size = options.height_and_width or (images.shape[1], images.shape[2])
        channels, how = options.image_channels or images.shape[0], options.how
    fit = Fit(*size, channels, images.value_range, "pad" if how == "tile" else how, options.background)
    if images.shape == fit.shape:
        return images if isinstance(options, Fit) else replace(images, fit=fit)
    made = np.empty((len(images), *fit.shape), fit.dtype)
    own = images.value_range
    for place in range(len(images)):
        made[place] = fit_pixels(np.asarray(images.pixels[place]), fit, own)
    words = {"pad": "by padding", "crop": "by cropping", "stretch": "by stretching"}[fit.how]
    before = f"{len(images):,} images of {images.shape[2]}×{images.shape[1]}"
    note = f"{before} fitted to {size[1]}×{size[0]} {words}"
    return replace(images, pixels=made, fit=fit, notes=(*images.notes, note), store=None)
