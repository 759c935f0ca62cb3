"""Images from wherever they are: `load` turns names, files, folders and arrays into an `ImageSet`."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.config.reading import whole
from safelight.data.arrays import array_of, as_pixels, fitted, is_pictures, set_of_pictures
from safelight.data.images import SPLIT_SEED, ImageSet
from safelight.data.label_files import Labels, labelled, names_of, read_labels
from safelight.data.listing import Listing, list_files, list_folder, list_pages, list_parquet, list_zip
from safelight.data.named_sets import NAMED_SETS, fetch, is_cached, read_file, unknown_name
from safelight.data.opening import SUFFIXES, declared
from safelight.data.readers import parts_of_npz, read_idx, read_npy, read_npz
from safelight.data.reading import read_pictures
from safelight.errors import ConfigError, DataError
from safelight.files import why

__all__ = ["NAMES", "fetch", "load", "load_for", "overview"]

NAMES = ("digits", *NAMED_SETS)
SPLITS = (None, "train", "validation", "test")
TIFF = (".tif", ".tiff")

OnReading = Callable[[int, int], object]
Source = str | os.PathLike[str] | NDArray[Any] | Sequence[Any]


def load(
    source: Source,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = False,
    *,
    labels: str = "folders",
    group_by: str | None = None,
    encoding: str | None = None,
    keep_na: bool = False,
    on_reading: OnReading = lambda done, count: None,
    **fit: Any,
) -> ImageSet:
    """Load images.

    Args:
        source: one of

            - a name: `"mnist"`, `"fashion-mnist"` or `"kmnist"`, downloaded once and checked, or
              `"digits"`, the 1,797 of scikit-learn. A folder of that name is `"./mnist"`;
            - a folder of pictures of any sizes, with folders in it: PNG, JPEG, TIFF, WebP, BMP or GIF; or a
              zip file of one; or a pattern such as `"big/*.tif"`; or one picture, or the pages of a TIFF
              stack; or Parquet files with a column of pictures, as in `"shards/*.parquet:image"`. They are
              read once and kept in the cache folder;
            - a folder of IDX files named like MNIST's (`train-images-idx3-ubyte` and so on), plain or .gz;
            - an .npy file, or an .npz file: its only array, or the one named `images` (with `labels` beside
              it, if there), or `train_images`, `val_images` and `test_images` with their labels, or
              `path.npz:member`;
            - a NumPy array of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1 to 8, of numbers. It
              is not copied unless its form must change. A torch tensor will do; so will a list of arrays, of
              Pillow's images or of paths, or a torch `Dataset` of images, with labels or without.
        split: None, "train", "validation" or "test". A set with its own test images gives the others for
            None, the first five sixths of these for "train" and the last sixth for "validation"; its test
            files are opened for "test" alone. Any other set gives everything for None, and the parts of
            `ImageSet.split` otherwise.
        limit: the most images to return: the first of a named set with its own test images, a subset fixed
            by its size otherwise. Of pictures no others are read.
        progress: show downloads on standard error.
        labels: of pictures: "folders" (the first folder of each is its class), "none", or a file of them.
        group_by: a regular expression; images whose names agree in what it finds stay in one part.
        encoding: of a file of labels, as for `read_labels`.
        keep_na: take NA, none, null, ? and the like for classes, not for labels that are not known.
        on_reading: called with the pictures read and all there are; a true answer stops, to go on later.
        fit: fields of `FitOptions`: size, fit, background, channels, range.

    Returns:
        The images in their own number type, with labels and names where the source has them.

    Raises:
        DataError: the source cannot be found, fetched, read or used.
        ConfigError: a setting is none of the above, or the set is too small to be split.
        Interrupted: `on_reading` asked for it.

    Example:
        >>> from safelight.data.sources import load
        >>> load("digits")
        ImageSet(1797 × 1×8×8, uint8, digits)
        >>> len(load("digits", "train")), len(load("digits", "test"))
        (1437, 180)
        >>> load("digits", size=16).shape
        (1, 16, 16)
    """
    if split not in SPLITS:
        raise ConfigError(f"expected a split of train, validation or test, got {split!r}")
    if limit is not None:
        limit = whole("limit", limit)
    options, unknown = FitOptions.parted(fit)
    if unknown:
        raise ConfigError(f"load: unknown argument {next(iter(unknown))!r}; see FitOptions")
    data = DataConfig(labels=labels, group_by=group_by, encoding=encoding, keep_na=keep_na)
    images = _part(
        _found(source, split, data, options, limit if split is None else None, progress, on_reading), split
    )
    if limit is None or limit >= len(images):
        return images
    if isinstance(source, str) and source in NAMED_SETS:
        return images.subset(slice(limit))
    return images.subset(np.sort(np.random.default_rng(SPLIT_SEED).permutation(len(images))[:limit]))


def load_for(
    source: Source,
    data: DataConfig,
    options: FitOptions | Fit,
    split: str | None = None,
    on_reading: OnReading = lambda done, count: None,
) -> ImageSet:
    """Load what a run is to learn from, or look at.

    Args:
        source: as in `load`.
        data: labels and groups; of pictures its limit leaves eight tenths for training.
        options: how they are made alike: what is asked for, or a run's own fit.
        split: None, or "test" for the test images that a source keeps apart.
        on_reading: as in `load`.

    Raises:
        As `load`.
    """
    most = None if data.limit is None else -(-data.limit * 5 // 4) + 2
    return _part(_found(source, split, data, options, most, False, on_reading), split)


def _found(
    source: Source,
    split: str | None,
    data: DataConfig,
    options: FitOptions | Fit,
    most: int | None,
    progress: bool,
    on_reading: OnReading,
) -> ImageSet:
    """The images of a source, made alike, before they are divided."""
    if isinstance(source, str) and source in NAMED_SETS:
        images = _named(source, "t10k" if split == "test" else "train", progress)
    elif isinstance(source, str) and source == "digits":
        images = _digits()
    elif isinstance(source, (str, os.PathLike)):
        found = _at_path(os.fsdecode(source), split, options)
        if isinstance(found, Listing):
            return read_pictures(found, data, options, most, on_reading)
        images = found
    elif is_pictures(source) and all(isinstance(item, str | os.PathLike) for item in source):
        paths = [Path(item).expanduser().absolute() for item in source]
        return replace(
            read_pictures(list_files(paths, "a list of files"), data, options, most, on_reading), source=None
        )
    elif is_pictures(source):
        images = set_of_pictures(source, options)
    elif isinstance(source, list | tuple) or hasattr(source, "__array__"):
        images = as_pixels(array_of(source), "the array", options)
    else:
        raise DataError(f"expected a name, a path or a NumPy array, got {type(source).__name__}; convert it")
    if data.labels == "none":
        images = replace(images, labels=None, classes=None)
    elif data.labels != "folders":
        images = labelled(images, read_labels(data.labels, names_of(images), data.encoding, data.keep_na))
    return fitted(images, options)


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
        names = images.names or tuple(f"test-{place}" for place in range(len(images)))
        return replace(images, has_test_split=False, source=None, names=names)
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


def _at_path(text: str, split: str | None, options: FitOptions | Fit) -> Listing | ImageSet:
    """Pictures, not read yet, or images of arrays; whatever goes wrong becomes one line."""
    path, member = Path(text), None
    try:
        for kind in (".npz", ".parquet"):
            if f"{kind}:" in text and not path.exists():
                file, _, member = text.rpartition(":")
                path = Path(file)
        path = path.expanduser().absolute()
        many = [path] if text and path.exists() else _matching(text, path)
        source = str(path) if member is None else f"{path}:{member}"
        if all(one.suffix.lower() == ".parquet" for one in many):
            return list_parquet(many, source, member)
        if len(many) > 1 or not path.exists():
            return list_files([one for one in many if one.suffix.lower() in SUFFIXES] or many, source)
        if path.is_dir():
            return _in_folder(path, split, options)
        suffix = path.suffix.lower() if path.is_file() else "no file"
        if suffix == ".npy":
            images = as_pixels(read_npy(path), str(path), options)
        elif suffix == ".npz":
            images = _in_npz(path, member, options)
        elif suffix == ".zip":
            return list_zip(path, SUFFIXES)
        elif suffix in SUFFIXES:
            count = declared(path, str(path)).pages if suffix in TIFF else 1
            return list_pages(path, count) if count > 1 else list_files([path], source)
        else:
            raise DataError(
                "expected a picture, a folder or a zip file of pictures, a folder of IDX files, or an .npy, "
                f".npz or .parquet file, got {path}; give the folder that holds it, or convert it"
            )
    except (OSError, RuntimeError) as error:  # the latter where a home folder is unknown
        reason = why(error) if isinstance(error, OSError) else f"{error}; check the path"
        raise DataError(f"expected to read {path}, got {reason}") from error
    except MemoryError as error:
        raise DataError(f"expected {path} to fit into memory, got more; use fewer images") from error
    return replace(images, source=source)


def _matching(text: str, path: Path) -> list[Path]:
    """The files of a pattern."""
    if text and glob.has_magic(text):
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path knows no absolute ones
        files = [Path(name) for name in found if Path(name).is_file()]
        if files:
            return files
        raise DataError(f"expected files that match {text!r}, got none; check the pattern")
    raise DataError(_not_found(text))


def _not_found(text: str) -> str:
    if os.sep in text or "/" in text or Path(text).suffix or text.startswith("~"):
        return f"expected a file or folder, got {text!r}, which does not exist; check the path"
    return f"{unknown_name(text, NAMES)}; nor is there a file or folder of that name"


def _in_npz(path: Path, member: str | None, options: FitOptions | Fit) -> ImageSet:
    divided = parts_of_npz(path) if member is None else None
    if divided is None:
        array, labels = read_npz(path, member)
        images = as_pixels(array, str(path), options)
    else:
        array, labels, parts = divided
        images = replace(as_pixels(array, str(path), options), parts=parts)
    if labels is None:
        return images
    if labels.dtype.kind in "iu":
        return replace(images, labels=labels.astype(np.int64))
    return labelled(images, Labels.of([str(label) or None for label in labels]))


def _in_folder(folder: Path, split: str | None, options: FitOptions | Fit) -> Listing | ImageSet:
    train, test = _idx_file(folder, "train-images-idx3"), _idx_file(folder, "t10k-images-idx3")
    if train is None and test is None:
        shards = sorted(folder.glob("*.parquet"))
        if shards and not any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
            return list_parquet(shards, str(folder))
        return list_folder(folder, SUFFIXES)
    prefix, path = ("t10k", test) if split == "test" and test else ("train", train)
    if path is None:
        raise DataError(f"expected train-images-idx3-ubyte in {folder}, got test images alone; add the file")
    images = as_pixels(read_idx(path, 3)[:, None], str(path), options)  # (N, 1, H, W)
    labels_path = _idx_file(folder, f"{prefix}-labels-idx1")
    labels = None if labels_path is None else read_idx(labels_path, 1).astype(np.int64)
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"expected {len(images)} labels in {labels_path}, one for each image of {path}, "
            f"got {len(labels)}; put files there that belong together"
        )
    made = replace(images, labels=labels, source=str(folder), has_test_split=test is not None)
    return replace(made, digest=_digest(made, test, _idx_file(folder, "t10k-labels-idx1")))


def _digest(images: ImageSet, *also: Path | None) -> str:
    """SHA-256 of images and of the files of the test images, which are not looked at."""
    import hashlib

    digest = hashlib.sha256(replace(images, has_test_split=True).fingerprint().encode())
    for path in also:
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _idx_file(folder: Path, stem: str) -> Path | None:
    """Where an IDX file is, under either of the names in use, plain or packed."""
    for name in (f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
