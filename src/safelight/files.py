"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from safelight.errors import RunError

__all__ = ["write_atomically", "write_file"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or, after a kill or on a full disk, as it was before.

    Args:
        path: the file; its folder must be there.
        content: text is written as UTF-8.

    Raises:
        OSError: the disk is full, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.json"
        >>> write_atomically(path, "[1, 2]")
        >>> path.read_text()
        '[1, 2]'
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a run's file atomically.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}; free some space or choose another folder"
        ) from None
