"""What pictures lie at a place, before any is opened: in folders, zip files, Parquet shards, stacks."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from safelight.errors import DataError
from safelight.files import in_a_line, legible, why

__all__ = ["Listing", "list_files", "list_folder", "list_pages", "list_parquet", "list_zip", "natural"]

MAX_MEMBER = 1 << 31  # bytes of a picture in an archive or a column
NOT_PICTURES = ("thumbs.db", "desktop.ini")
Where = tuple["Path | bytes", int]  # a file, or what it would hold; and a page


@dataclass(frozen=True)
class Listing:
    """Pictures that lie somewhere.

    Attributes:
        source: where, as a run keeps it.
        names: of the pictures, relative to there, in natural order.
        read: from the place of one to its file or content, and the page in it.
        key: what tells this listing from any other, also from the same files changed: SHA-256 over names,
            sizes and times.
        labels: what each belongs to, such as its first folder; empty where nothing tells.
        passed_over: number of files that are no pictures by their names.
        are_pages: whether they are the pages of one file.
    """

    source: str
    names: Sequence[str]
    read: Callable[[int], Where]
    key: str
    labels: Sequence[str | None] = field(default=())
    passed_over: int = 0
    are_pages: bool = False

    def __len__(self) -> int:
        return len(self.names)


def natural(name: str) -> list[tuple[int, str | int]]:
    """What to sort names by so that 2 comes before 10.

    Example:
        >>> sorted(["b10", "b2", "a"], key=natural)
        ['a', 'b2', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    return [(1, int(part)) if place % 2 else (0, part.casefold()) for place, part in enumerate(parts)]


def list_folder(folder: Path, suffixes: Sequence[str]) -> Listing:
    """The pictures in a folder and all those in it, hidden ones left alone; the first level is the class.

    Links to files are followed, links to folders are not: so no loop of them can hold it.

    Raises:
        DataError: a folder cannot be read, or there are no pictures.
    """
    names, passed_over, total = [], 0, 0
    for name, about in _walk(folder):
        if not name.lower().endswith(tuple(suffixes)):
            passed_over += PurePosixPath(name).name.lower() not in NOT_PICTURES
            continue
        names.append(name)
        total += _stamp(name, about.st_size, about.st_mtime_ns)
    if not names:
        raise DataError(
            f"expected pictures ({', '.join(s[1:].upper() for s in suffixes)}) in {folder} or its folders, "
            f"got none{f' among {passed_over} files' * bool(passed_over)}; check the path"
        )
    names.sort(key=lambda name: [natural(part) for part in name.split("/")])
    labels = [name.split("/")[0] if "/" in name else None for name in names]
    return Listing(
        str(folder),
        names,
        lambda place: (folder / names[place], 0),
        _key("folder", total, len(names)),
        labels if len(set(labels) - {None}) > 1 else (),
        passed_over,
    )


def list_files(paths: Sequence[Path], source: str) -> Listing:
    """Files that were named one by one, or by a pattern; called by what tells them apart.

    Raises:
        DataError: one is not there.
    """
    names, total = [], 0
    try:
        root = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # of several drives
        root = Path()
    for path in paths:
        try:
            about = path.stat()
        except OSError as error:
            raise DataError(f"expected a picture in {path}, got {why(error)}") from None
        name = path.relative_to(root).as_posix() if root.parts else path.as_posix()
        names.append(name)
        total += _stamp(name, about.st_size, about.st_mtime_ns)
    return Listing(source, names, lambda place: (paths[place], 0), _key("files", total, len(names)))


def list_pages(path: Path, count: int) -> Listing:
    """The pages of a stack, called by their numbers from 0."""
    about = path.stat()
    names = [f"{path.name}:{page}" for page in range(count)]
    key = _key("pages", _stamp(str(path), about.st_size, about.st_mtime_ns), count)
    return Listing(str(path), names, lambda page: (path, page), key, are_pages=True)


def list_zip(path: Path, suffixes: Sequence[str]) -> Listing:
    """The pictures of a zip file, as of a folder.

    Raises:
        DataError: it is none, or holds no pictures.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"expected a zip file in {path}, got '{error}'; get it again") from None
    members = [
        info
        for info in archive.infolist()
        if info.filename.lower().endswith(tuple(suffixes)) and not _is_hidden(info.filename)
    ]
    if not members:
        raise DataError(f"expected pictures in {path}, got none among {len(archive.infolist())} members")
    members.sort(key=lambda info: [natural(part) for part in info.filename.split("/")])
    top = {info.filename.split("/")[0] for info in members if "/" in info.filename}
    inside = f"{next(iter(top))}/" if len(top) == 1 and all("/" in i.filename for i in members) else ""
    names = [legible(info.filename.removeprefix(inside)) for info in members]
    labels = [name.split("/")[0] if "/" in name else None for name in names]

    def read(place: int) -> Where:
        info = members[place]
        if info.file_size > MAX_MEMBER:
            raise DataError(f"expected at most {MAX_MEMBER >> 20} MiB in {names[place]}, got more")
        try:
            with archive.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DataError(f"expected to unpack {names[place]}, got '{error}'") from None
        return content, 0

    about = path.stat()
    key = _key("zip", _stamp(str(path), about.st_size, about.st_mtime_ns), len(names))
    return Listing(str(path), names, read, key, labels if len(set(labels) - {None}) > 1 else ())


def list_parquet(paths: Sequence[Path], source: str, column: str | None = None) -> Listing:
    """Pictures in a column of Parquet files: bytes, or Hugging Face's {bytes, path}; with the column `label`.

    Args:
        paths: the files, in order.
        source: what was asked for.
        column: which; by default `image`, or the only one that can be.

    Raises:
        DataError: they cannot be read, or have no such column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: list[str] = []
    labels: list[str | None] = []
    places: list[tuple[int, int, int]] = []  # file, row group, row
    total = 0
    files = []
    for at, path in enumerate(paths):
        try:
            file = pq.ParquetFile(path, memory_map=True)
            chosen = column or _image_column(file.schema_arrow, path)
            files.append((file, chosen))
            for group in range(file.num_row_groups):
                told, given = _names_and_labels(file, group, chosen, path)
                labels += given
                for row, name in enumerate(told):
                    names.append(legible(name or f"{path.name}:{len(places)}"))
                    places.append((at, group, row))
            about = path.stat()
            total += _stamp(str(path), about.st_size, about.st_mtime_ns)
        except (OSError, pa.ArrowException, KeyError) as error:
            detail = in_a_line(error)
            raise DataError(f"expected a Parquet file in {path}, got '{detail}'; get it again") from None
    lock = threading.Lock()

    @lru_cache(maxsize=3)
    def group_of(at: int, group: int) -> Any:
        file, chosen = files[at]
        return file.read_row_group(group, columns=[chosen])[chosen]

    def read(place: int) -> Where:
        at, group, row = places[place]
        with lock:
            value = group_of(at, group)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"expected bytes of a picture in row {row} of {paths[at].name}, got none")
        return content, 0

    if len(set(names)) < len(names):  # paths that do not tell rows apart
        names = [f"{place}:{name}" for place, name in enumerate(names)]
    return Listing(
        source, names, read, _key(f"parquet {column}", total, len(names)), labels if any(labels) else ()
    )


def _names_and_labels(
    file: Any, group: int, column: str, path: Path
) -> tuple[list[str | None], list[str | None]]:
    """What the rows of a group are called, and what they belong to; None where nothing tells."""
    import pyarrow as pa

    schema = file.schema_arrow
    if column not in schema.names:
        raise DataError(
            f"expected a column {column!r} in {path}, got {', '.join(schema.names[:10])}; say which, "
            f"as in {path.name}:{schema.names[0]}"
        )
    count = file.metadata.row_group(group).num_rows
    kind = schema.field(column).type
    names: list[str | None] = [None] * count
    labels: list[str | None] = [None] * count
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        table = file.read_row_group(group, columns=[f"{column}.path"])
        names = [row and row["path"] for row in table[column].to_pylist()]
    if "label" in schema.names:
        classes = _class_names(schema)
        for row, label in enumerate(file.read_row_group(group, columns=["label"])["label"].to_pylist()):
            if isinstance(label, int) and 0 <= label < len(classes):
                labels[row] = classes[label]
            elif label is not None and label != -1:
                labels[row] = str(label)
    return names, labels


def _image_column(schema: Any, path: Path) -> str:
    import pyarrow as pa

    fits = [
        entry.name
        for entry in schema
        if pa.types.is_binary(entry.type)
        or pa.types.is_large_binary(entry.type)
        or (pa.types.is_struct(entry.type) and entry.type.get_field_index("bytes") >= 0)
    ]
    if "image" in fits:
        return "image"
    if len(fits) != 1:
        raise DataError(
            f"expected one column of pictures in {path}, got {', '.join(fits) or 'none'} among "
            f"{', '.join(schema.names[:10])}; say which, as in {path.name}:image"
        )
    return str(fits[0])


def _class_names(schema: Any) -> list[str]:
    """The names of classes that Hugging Face's datasets keep beside a table."""
    import json

    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        names = about["info"]["features"]["label"]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return []


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder by their names, with `/` between; hidden ones left alone."""
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            with os.scandir(folder / inner) as entries:
                for entry in entries:
                    if entry.name.startswith((".", "__MACOSX")):
                        continue
                    name = f"{inner}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/")
                        continue
                    try:
                        about = entry.stat()
                    except OSError:  # a link to nowhere, or gone by now
                        continue
                    if stat.S_ISREG(about.st_mode):
                        yield name, about
        except OSError as error:
            raise DataError(f"expected to read the folder {folder / inner}, got {why(error)}") from None


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _stamp(name: str, size: int, time: int) -> int:
    """A number for a file as it is; their sum does not depend on their order."""
    text = f"{name}\0{size}\0{time}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def _key(kind: str, total: int, count: int) -> str:
    return hashlib.sha256(f"{kind} {count} {total % (1 << 128)}".encode()).hexdigest()
