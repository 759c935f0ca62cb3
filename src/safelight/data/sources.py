"""Images from wherever they are: `load` turns names, files, folders and arrays into an `ImageSet`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.reading import whole
from safelight.data.images import SPLIT_SEED, ImageSet
from safelight.data.named_sets import NAMED_SETS, fetch, is_cached, read_file, unknown_name
from safelight.data.readers import PICTURES, Accept, as_pixels, read_idx, read_npy, read_npz, read_pictures
from safelight.errors import ConfigError, DataError
from safelight.files import why

__all__ = ["NAMES", "fetch", "load", "overview"]

NAMES = ("digits", *NAMED_SETS)
SPLITS = (None, "train", "validation", "test")


def load(
    source: str | os.PathLike[str] | NDArray[Any] | Sequence[Any],
    split: str | None = None,
    limit: int | None = None,
    progress: bool = False,
    accept: Accept | None = None,
) -> ImageSet:
    """Load images.

    Args:
        source: one of

            - a name: `"mnist"`, `"fashion-mnist"` or `"kmnist"`, downloaded once and checked, or
              `"digits"`, the 1,797 of scikit-learn. A folder of that name is `"./mnist"`;
            - a folder of IDX files named like MNIST's (`train-images-idx3-ubyte` and so on), plain or .gz;
            - a flat folder of PNG or JPEG files of one size, gray or RGB, taken in the order of their names,
              or one such file;
            - an .npy file, or an .npz file: its only array, or the one named `images` (with integer
              `labels` beside it, if there), or `path.npz:member`;
            - a NumPy array of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1 or 3: uint8, uint16,
              bool, or float32 or float64 in [0, 1]. It is not copied unless its form must change. A torch
              tensor, or a list of such arrays or of Pillow's images, will do.
        split: None, "train", "validation" or "test". A set with its own test images gives the others for
            None, the first five sixths of these for "train" and the last sixth for "validation"; its test
            files are opened for "test" alone. Any other set gives everything for None, and the parts of
            `ImageSet.split` otherwise.
        limit: the most images to return: the first of a named set with its own test images, a subset fixed
            by its size otherwise.
        progress: show downloads on standard error.
        accept: called with (C, H, W) of pictures before any is decoded; what it raises ends the loading.

    Returns:
        The images in their own number type, with labels and names where the source has them.

    Raises:
        DataError: the source cannot be found, fetched, read or used.
        ConfigError: `split` or `limit` is none of the above, or the set is too small to be split.

    Example:
        >>> from safelight.data.sources import load
        >>> load("digits")
        ImageSet(1797 × 1×8×8, uint8, digits)
        >>> len(load("digits", "train")), len(load("digits", "test"))
        (1437, 180)
    """
    if split not in SPLITS:
        raise ConfigError(f"expected a split of train, validation or test, got {split!r}")
    if limit is not None:
        limit = whole("limit", limit)
    if isinstance(source, str) and source in NAMED_SETS:
        prefix = "t10k" if split == "test" else "train"
        images = _part(_named(source, prefix, progress), split)
        return images if limit is None else images.subset(slice(limit))
    if isinstance(source, str) and source == "digits":
        images = _digits()
    elif isinstance(source, list | tuple) or hasattr(source, "__array__"):
        images = ImageSet(*as_pixels(_array_of(source), "the array"))
    elif isinstance(source, (str, os.PathLike)):
        images = _from_path(os.fsdecode(source), split, accept)
    else:
        raise DataError(f"expected a name, a path or a NumPy array, got {type(source).__name__}; convert it")
    images = _part(images, split)
    if limit is None or limit >= len(images):
        return images
    return images.subset(np.sort(np.random.default_rng(SPLIT_SEED).permutation(len(images))[:limit]))


def _array_of(source: Any) -> NDArray[Any]:
    """An array of what is as good as one: a tensor, or a list of pictures or arrays of one size."""
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, list | tuple) and any(isinstance(image, np.ma.MaskedArray) for image in source):
        raise DataError("expected every pixel of the images, got masks; fill them, as with image.filled(0)")
    if hasattr(source, "detach"):
        return np.asarray(source.detach().cpu())
    try:
        return np.stack([np.asarray(image) for image in source]) if len(source) else np.empty(0)
    except (TypeError, ValueError) as error:
        raise DataError(f"expected images of one size and kind in a list, got '{error}'") from None


def overview() -> list[tuple[str, str, str, bool, str]]:
    """The sets that have names: name, number of images, size to download, whether it is here, description.

    Example:
        >>> from safelight.data.sources import overview
        >>> [name for name, images, size, here, description in overview()]
        ['digits', 'mnist', 'fashion-mnist', 'kmnist']
    """
    rows = [("digits", "1,797", "none", True, "scikit-learn's handwritten digits, 8×8 gray")]
    for name, known in NAMED_SETS.items():
        size = f"{known.size / 1e6:.0f} MB"
        rows.append((name, "60,000 + 10,000", size, is_cached(name), f"{known.title}: {known.description}"))
    return rows


def _part(images: ImageSet, split: str | None) -> ImageSet:
    if split is None:
        return images
    if split == "test" and images.has_test_split:  # then its test files were read, and no others
        return replace(images, has_test_split=False, source=None)
    part: ImageSet | None = getattr(images.split(), split)
    if part is None:
        raise ConfigError(f"expected enough images for a {split} part, got {len(images)} in all; add images")
    return part


def _named(name: str, prefix: str, progress: bool) -> ImageSet:
    """A set whose files are known to the byte, so that their headers need no reading."""
    pixels = read_file(name, f"{prefix}-images-idx3-ubyte", progress)[16:].reshape(-1, 1, 28, 28)
    labels = read_file(name, f"{prefix}-labels-idx1-ubyte", progress)[8:].astype(np.int64)
    return ImageSet(pixels, labels=labels, source=name, has_test_split=True)


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

    digits = load_digits()
    return ImageSet(
        digits.images.astype(np.uint8)[:, None],  # (N, 1, 8, 8)
        value_range=(0, 16),
        labels=digits.target.astype(np.int64),
        source="digits",
    )


def _from_path(text: str, split: str | None, accept: Accept | None) -> ImageSet:
    """A file or folder; whatever the system or a damaged file does becomes one line."""
    member = None
    path = Path(text)
    try:
        if ".npz:" in text and not path.exists():
            file, _, member = text.rpartition(":")
            path = Path(file)
        path = path.expanduser().absolute()
        if not text or not path.exists():
            raise DataError(_not_found(text, path))
        if path.is_dir():
            images = _from_folder(path, split, accept)
        elif path.is_file() and path.suffix.lower() == ".npy":
            images = ImageSet(*as_pixels(read_npy(path), str(path)))
        elif path.is_file() and path.suffix.lower() == ".npz":
            array, labels = read_npz(path, member)
            images = ImageSet(*as_pixels(array, str(path)), labels=labels)
        elif path.is_file() and path.suffix.lower() in PICTURES:
            pixels, names = read_pictures(path, accept)
            images = ImageSet(pixels, names=names)
        else:
            raise DataError(
                "expected a picture, a folder of images or of IDX files, or an .npy or .npz file, "
                f"got {path}; give the folder that holds it, or convert it"
            )
    except (OSError, RuntimeError) as error:  # the latter where a home folder is unknown
        reason = why(error) if isinstance(error, OSError) else f"{error}; check the path"
        raise DataError(f"expected to read {path}, got {reason}") from error
    except MemoryError as error:
        raise DataError(f"expected {path} to fit into memory, got more; use fewer images") from error
    return replace(images, source=str(path) if member is None else f"{path}:{member}")


def _not_found(text: str, path: Path) -> str:
    if os.sep in text or "/" in text or path.suffix or text.startswith("~"):
        return f"expected a file or folder, got {text!r}, which does not exist; check the path"
    return f"{unknown_name(text, NAMES)}; nor is there a file or folder of that name"


def _from_folder(folder: Path, split: str | None, accept: Accept | None) -> ImageSet:
    train, test = _idx_file(folder, "train-images-idx3"), _idx_file(folder, "t10k-images-idx3")
    if train is None and test is None:
        pixels, names = read_pictures(folder, accept)
        return ImageSet(pixels, names=names)
    prefix, path = ("t10k", test) if split == "test" and test else ("train", train)
    if path is None:
        raise DataError(f"expected train-images-idx3-ubyte in {folder}, got test images alone; add the file")
    images = read_idx(path, 3)[:, None]  # (N, 1, H, W)
    labels_path = _idx_file(folder, f"{prefix}-labels-idx1")
    labels = None if labels_path is None else read_idx(labels_path, 1).astype(np.int64)
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"expected {len(images)} labels in {labels_path}, one for each image of {path}, "
            f"got {len(labels)}; put files there that belong together"
        )
    return ImageSet(*as_pixels(images, str(path)), labels=labels, has_test_split=test is not None)


def _idx_file(folder: Path, stem: str) -> Path | None:
    """Where an IDX file is, under either of the names in use, plain or packed."""
    for name in (f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
