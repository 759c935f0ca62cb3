"""The folder of the cache that stores lie in: what is there, and room for more."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import filelock

from safelight.data.named_sets import cache_root
from safelight.errors import DataError

__all__ = ["ABOUT", "USED", "Kept", "clear_kept", "home", "kept", "lock_of", "make_room"]

LIMIT_GB = 20.0  # of all stores together, where SAFELIGHT_CACHE_GB says nothing else
ABOUT, USED = "store.json", "used"  # written last; and whose time tells of the last use


@dataclass(frozen=True)
class Kept:
    """A folder of the cache.

    Attributes:
        folder: where it is.
        size: bytes.
        used: when it was used last, in seconds since 1970; 0 where that is not known.
        is_whole: whether it is a store; else one that is being made, or whose making was cut off.
    """

    folder: Path
    size: int
    used: float
    is_whole: bool


def home() -> Path:
    """Where stores lie."""
    return cache_root() / "pictures"


def lock_of(folder: Path) -> filelock.BaseFileLock:
    """What is held while a store is made or deleted."""
    return filelock.FileLock(folder.with_suffix(".lock"))


def kept() -> list[Kept]:
    """The folders of the cache, in order of use."""
    found = []
    with contextlib.suppress(OSError):
        for folder in home().iterdir():
            if folder.is_dir() and not folder.is_symlink():
                size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
                found.append(Kept(folder, size, _last_used(folder), (folder / ABOUT).is_file()))
    return sorted(found, key=lambda one: one.used)


def clear_kept() -> tuple[int, int]:
    """Delete every store that no process is making; the number and bytes of what went."""
    count, size = 0, 0
    for one in kept():
        try:
            with lock_of(one.folder).acquire(timeout=0):
                shutil.rmtree(one.folder, ignore_errors=True)
                one.folder.with_suffix(".lock").unlink(missing_ok=True)
        except filelock.Timeout:
            continue
        count, size = count + 1, size + one.size
    with contextlib.suppress(OSError):
        for path in home().glob("*.json"):  # what was found to suit pictures
            path.unlink(missing_ok=True)
    return count, size


def make_room(keep: Path, needed: int) -> None:
    """Delete the stores that were used longest ago where the limit or the disk asks for it.

    Args:
        keep: the store to come.
        needed: its bytes.

    Raises:
        DataError: it does not fit even so.
    """
    try:
        limit = float(os.environ.get("SAFELIGHT_CACHE_GB", LIMIT_GB)) * 1e9
    except ValueError:
        raise DataError(
            f"SAFELIGHT_CACHE_GB: expected a number, got {os.environ['SAFELIGHT_CACHE_GB']!r}"
        ) from None
    others = [one for one in kept() if one.folder.stem != keep.stem]
    total = sum(one.size for one in others)
    for one in others:
        if total + needed <= limit and needed < shutil.disk_usage(home()).free:
            break
        if one.is_whole:
            shutil.rmtree(one.folder, ignore_errors=True)
            total -= one.size
    if needed >= (free := shutil.disk_usage(home()).free):
        raise DataError(
            f"expected {needed / 1e9:.1f} GB for the pictures in {home()}, got {free / 1e9:.1f} GB; free "
            "some space, set SAFELIGHT_DATA, or use --limit"
        )


def _last_used(folder: Path) -> float:
    try:
        return (folder / USED).stat().st_mtime
    except OSError:
        return 0.0
