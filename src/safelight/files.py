"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safelight.errors import RunError

__all__ = [
    "LEFT_OVER",
    "in_a_line",
    "legible",
    "new_file",
    "new_folder",
    "printable",
    "read_file",
    "refuse_links",
    "replacing",
    "sweep",
    "sweep_file",
    "why",
    "write_atomically",
    "write_file",
]

MAX_NAME = 255  # bytes that file systems take
LEFT_OVER = r"\..+\.[0-9a-f]{8}\.partial"  # what a kill while writing leaves

REMEDIES = {
    "free some space": (errno.ENOSPC, errno.EDQUOT),
    "check the permissions": (errno.EACCES, errno.EPERM),
    "nothing can be written on that disk": (errno.EROFS,),
    "raise the limit on the size of files": (errno.EFBIG,),
    "give it a shorter name": (errno.ENAMETOOLONG,),
    "check what is there": (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    "check the path": (errno.ENOENT, errno.ELOOP),
}


def why(error: OSError) -> str:
    """What the system answered, and what to do about that.

    Example:
        >>> why(OSError(errno.ENOSPC, "No space left on device"))
        'No space left on device; free some space'
        >>> why(OSError(errno.EACCES, "Permission denied"))
        'Permission denied; check the permissions'
    """
    remedy = next((words for words, numbers in REMEDIES.items() if error.errno in numbers), "check the disk")
    return f"{error.strerror or error}; {remedy}"


def in_a_line(error: BaseException) -> str:
    """What an error says, without its line breaks; its kind, where it says nothing.

    Example:
        >>> in_a_line(ValueError("cut  off")), in_a_line(KeyError())
        ('cut off', 'KeyError')
    """
    return " ".join(str(error).split())[:200] or type(error).__name__


def new_file(path: str | os.PathLike[str], endings: Sequence[str], overwrite: bool = False) -> Path:
    """Where a command may write a file, refused before any work is done.

    Args:
        path: as it was asked for.
        endings: that the file may have, such as ".png".
        overwrite: replace a file that is there.

    Raises:
        RunError: another ending, a file or link that is there, or no folder to put it in.

    Example:
        >>> new_file("map.png", [".png", ".parquet"]).name
        'map.png'
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in endings:
        raise RunError(f"expected a name ending in {' or '.join(endings)}, got {path}; choose another --out")
    if not path.parent.is_dir():
        raise RunError(f"expected a folder {path.parent} for {path.name}, but there is none; make it first")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"expected a new file, but {path} is a link or a folder; choose another --out")
    if path.exists() and not overwrite:
        raise RunError(f"{path} is there already; replace it with --overwrite, or choose another --out")
    return path


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Where a command may make a folder, refused before any work is done.

    Args:
        path: as it was asked for.

    Raises:
        RunError: something is there that is no empty folder, or there is no folder to put it in.
    """
    path = Path(path).expanduser()
    if path.is_symlink() or (path.exists() and not path.is_dir()) or (path.is_dir() and any(path.iterdir())):
        raise RunError(f"expected a new or empty folder, but {path} is not; choose another --out")
    if not path.absolute().parent.is_dir():
        raise RunError(f"expected a folder {path.parent} for {path.name}, but there is none; make it first")
    return path


def legible(text: str) -> str:
    r"""Text as any file can hold it: of a name that is no UTF-8, the other bytes stand as numbers.

    Example:
        >>> legible("caf\udce9.png")
        'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    r"""Text in one line that says what is in it: signs that are none to see stand as numbers.

    Example:
        >>> printable("two\nlines \x1b[31mé.png")
        'two\\nlines \\x1b[31mé.png'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_file(path: Path, limit: int) -> bytes:
    """A file that may come from anywhere, read only if it is one and has an end.

    Args:
        path: the file.
        limit: the most bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a device or a pipe, or too large.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ValueError("expected a file, got a device or a pipe")
    if about.st_size <= limit:
        with path.open("rb") as file:
            content = file.read(limit + 1)  # it may grow while it is read
        if len(content) <= limit:
            return content
    raise ValueError(f"expected at most {limit >> 20} MiB; is it the right file?")


def sweep(folder: Path, names: str) -> None:
    """Delete what commands that were killed while they wrote have left.

    Args:
        folder: where they wrote.
        names: a regular expression of the files' whole names.
    """
    for path in folder.iterdir():
        if re.fullmatch(rf"\.{names}\.[0-9a-f]{{8}}\.partial", path.name):
            sweep_file(path)


def sweep_file(path: Path) -> None:
    """Delete a file that `replacing` has left, unless somebody is still writing it."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if _lock(file):
            path.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    """Hold a file until it is closed, however its process ends; False where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows deletes no file that is open
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    return True


def refuse_links(path: Path, root: Path) -> Path:
    """The path itself, where no part of it below `root` is a symbolic link: a folder must not reach outside.

    Raises:
        RunError: a part is one.
    """
    for part in (path, *path.parents):
        if part == root:
            break
        if part.is_symlink():
            raise RunError(f"{part} is a link, which is not followed; put what it points to in its place")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place when the block ends, whole or, if that fails, not at all.

    Args:
        path: the file; its folder must be there.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    name = os.fsencode(path.name)[: MAX_NAME - 20]  # room for what is added
    temporary = path.parent / f".{os.fsdecode(name)}.{secrets.token_hex(4)}.partial"
    try:
        with temporary.open("xb") as file:
            _lock(file)  # so that no `sweep` takes it for what a kill has left
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)  # while it is held
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
    with replacing(path) as file:
        file.write(legible(content).encode() if isinstance(content, str) else content)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a run's file atomically.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(f"cannot write {path}: {why(error)} or choose another folder") from None
