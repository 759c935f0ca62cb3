"""Which files are cleaned into which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from safelight.cleaning.written import comparison_of
from safelight.data.listing import list_folder
from safelight.data.opening import SUFFIXES
from safelight.errors import DataError, RunError
from safelight.files import refuse_links

__all__ = ["plan"]


def plan(sources: Sequence[Path], out: Path, compare: bool, overwrite: bool) -> list[tuple[Path, Path]]:
    """Which file is cleaned into which; nothing is read or written yet.

    Args:
        sources: pictures, .npy files, or folders of them and of folders; what is in a folder keeps its place.
        out: the file for a single one, if its name ends as that does, or a folder.
        compare: whether a comparison will be written beside each.
        overwrite: whether what is there may be replaced.

    Raises:
        DataError: a source is missing, or no picture.
        RunError: the outputs would fall on each other, on the sources, or on what is there.
    """
    files, names = zip(*(found for source in sources for found in _files(source)), strict=True)
    if len(sources) == 1 and sources[0].is_file() and out.suffix and not out.is_dir():
        targets = [out]
        if out.suffix.lower() != files[0].suffix.lower():
            raise RunError(
                f"expected an output of the same kind as {files[0].name}, got {out.name}; "
                f"end it in {files[0].suffix}, or give a folder"
            )
        if out.exists() and out.samefile(files[0]):
            raise RunError(f"expected another file than the input, got {out}; choose another --out")
    else:
        targets = [out / name for name in names]
        if out.exists() and not out.is_dir():
            raise RunError(f"expected a folder, got the file {out}; choose another --out")
        folders = {source.resolve() if source.is_dir() else source.parent.resolve() for source in sources}
        whole = {source.resolve() for source in sources if source.is_dir()}
        if out.resolve() in folders or whole & set(out.resolve().parents):
            raise RunError(f"expected another folder than the input's, got {out}; choose another --out")
        for parent in {target.parent for target in targets}:
            refuse_links(parent, out)
    written = [*targets, *(comparison_of(target) for target in targets if compare)]
    theirs = {_identity(file) for file in files}
    covered = next((path for path in written if _identity(path) in theirs), None)
    if covered is not None:
        raise RunError(f"expected outputs beside what is cleaned, got {covered}; choose another --out")
    path, count = Counter(written).most_common(1)[0]
    if count > 1:
        raise RunError(
            f"expected outputs of different names, got {path.name} {count} times; clean them apart"
        )
    there = [path for path in written if path.exists() or path.is_symlink()]
    if there and not overwrite:
        raise RunError(
            f"expected no outputs yet, got {there[0]}{f' and {len(there) - 1} more' * (len(there) > 1)}; "
            "choose another --out, or add --overwrite"
        )
    return list(zip(files, targets, strict=True))


def _files(source: Path) -> list[tuple[Path, str]]:
    """The files of a source, and what each is called in --out."""
    taken = (*SUFFIXES, ".npy")
    if source.is_dir():
        return [(source / name, name) for name in list_folder(source, taken).names]
    if not source.is_file():
        raise DataError(
            f"expected a picture, an .npy file or a folder of them, got {source}, which is not there"
        )
    if source.suffix.lower() not in taken:
        raise DataError(f"expected a file of {', '.join(taken)}, got {source.name}; convert it")
    return [(source, source.name)]


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, under whatever name; a link is one of its own."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
