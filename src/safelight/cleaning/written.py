"""Files that cleaning writes: results, and comparisons beside them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from safelight.data.pictures import make_folder, png, tile
from safelight.errors import RunError
from safelight.files import MAX_NAME, replacing, why

__all__ = ["compare_in", "comparison_of", "write", "writing"]


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A file of the user's, there whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with replacing(make_folder(target.parent) / target.name) as file:
            yield file
    except OSError as error:
        raise RunError(f"cannot write {target}: {why(error)} or choose another folder") from None


def write(target: Path, content: bytes) -> None:
    """Write such a file.

    Raises:
        RunError: it cannot be written.
    """
    with writing(target) as file:
        file.write(content)


def comparison_of(target: Path) -> Path:
    """Where the comparison of a file goes: beside it, by a name that file systems take.

    One that is cut short ends in what tells the whole from others that begin alike.
    """
    stem, ending = os.fsencode(target.stem), b"-compare.png"
    if len(stem) + len(ending) > MAX_NAME:
        ending = b"-" + hashlib.sha256(stem).hexdigest()[:8].encode() + ending
        stem = stem[: MAX_NAME - len(ending)]
    return target.with_name(os.fsdecode(stem + ending))


def compare_in(target: Path, before: NDArray[Any], after: NDArray[Any]) -> None:
    """Write the comparison of a file: noisy and clean images, and under gray what was added or taken away.

    Args:
        target: the file.
        before: (N, C, H, W), as shares of white; a single one stands beside its clean version, more above.
        after: the same, cleaned.

    Raises:
        RunError: it cannot be written.
    """
    difference = 0.5 + 0.5 * (after - before)
    columns = len(before) if len(before) > 1 else 3
    write(comparison_of(target), png(tile(np.concatenate([before, after, difference]), columns)))
