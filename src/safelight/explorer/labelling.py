"""Labels given in the page, kept in a file: a table that finetune reads, and beside it every change."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from safelight.data.label_files import LABEL_TITLES, NAME_TITLES
from safelight.errors import DataError, RunError
from safelight.files import read_file, why, write_atomically

__all__ = ["LabelFile"]

ENDINGS = (".csv", ".tsv", ".txt")
MOST_BYTES = 1 << 26
MOST_CHANGES = 100  # of those made before that a page can undo
MAX_NAME, MAX_LABEL = 4096, 200


@final
class LabelFile:
    """A table of names and labels that others may edit too: each change is made to what it holds by then.

    Columns and rows of others stay as they are. `labels.csv.changes` beside it has a line a change, written
    before the table is: {"time", "undo", "changes": {name: [before, after]}}.

    Args:
        path: of the table, which need not be there yet.
        encoding: of it, such as cp1252; without one UTF-8.

    Raises:
        RunError: it can be no such file.
        DataError: it is there, and is no table of names and labels.

    Example:
        >>> import tempfile
        >>> labels = LabelFile(Path(tempfile.mkdtemp()) / "labels.csv")
        >>> labels.change({"a.png": ["", "cat"], "b.png": ["", "dog"]})
        >>> labels.change({"b.png": ["dog", ""]}, undo=True)
        >>> labels.path.read_text().split()
        ['filename,label', 'a.png,cat', 'b.png,']
        >>> len(labels.changes.read_text().splitlines())
        2
    """

    def __init__(self, path: str | os.PathLike[str], encoding: str | None = None) -> None:
        self.path = Path(path).expanduser()
        self.encoding = encoding or "utf-8"
        self.changes = self.path.with_name(self.path.name + ".changes")
        self._lock = threading.Lock()
        if self.path.suffix.lower() not in ENDINGS:
            raise RunError(f"labels: expected a name ending in {' or '.join(ENDINGS)}, got {path}")
        if not self.path.parent.is_dir():
            raise RunError(f"labels: expected a folder {self.path.parent}, but there is none; make it first")
        for file in (self.path, self.changes):
            if file.is_symlink() or (file.exists() and not file.is_file()):
                raise RunError(f"labels: expected a file, but {file} is a link or a folder; choose another")
        self.read()

    def read(self) -> dict[str, str]:
        """The labels by name; images without one are left out.

        Raises:
            DataError: the file is no table of names and labels.
        """
        titles, rows, _ = self._table()
        name, label = _places(titles, self.path)
        return {_normal(row[name]): row[label] for row in rows if row[label]}

    def latest(self) -> list[dict[str, Any]]:
        """The last changes that were not undone, each one's names with labels before and after."""
        try:
            lines = read_file(self.changes, MOST_BYTES).decode(errors="replace").splitlines()
        except (OSError, ValueError):  # none yet, or too many to look through: none can be undone then
            return []
        past: list[dict[str, Any]] = []
        for line in lines:
            try:
                found = json.loads(line)
                changes, undo = checked(found["changes"]), found["undo"]
            except (ValueError, KeyError, TypeError):  # cut off by a kill
                continue
            if undo:
                past = past[:-1]
            else:
                past.append(changes)
        return past[-MOST_CHANGES:]

    def change(self, changes: Mapping[str, Any], undo: bool = False) -> None:
        """Give labels, or take them back.

        Args:
            changes: names, each with its label before and after; "" is none.
            undo: the reverse of a change made before; names that were labelled otherwise since stay so.

        Raises:
            DataError: these are no changes, or the file is no table any more.
            RunError: it cannot be written.
        """
        given = checked(changes)
        with self._lock:
            titles, rows, separator = self._table()
            name, label = _places(titles, self.path)
            place = {_normal(row[name]): row for row in rows}
            for key, (before, after) in given.items():
                row = place.get(_normal(key))
                if row is None:
                    row = place[_normal(key)] = [""] * len(titles)
                    row[name] = key
                    rows.append(row)
                if not undo or row[label] == before:
                    row[label] = after
            line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "undo": undo, "changes": given}
            text = io.StringIO()
            writer = csv.writer(text, delimiter=separator, lineterminator="\n")
            writer.writerows([titles, *rows])
            try:
                with self.changes.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                write_atomically(self.path, text.getvalue().encode(self.encoding))
            except UnicodeEncodeError as error:
                missing = error.object[error.start]
                raise DataError(
                    f"{self.path}: {self.encoding} has no {missing!r}; save it as UTF-8"
                ) from None
            except OSError as error:
                raise RunError(f"cannot write {self.path}: {why(error)}") from None

    def _table(self) -> tuple[list[str], list[list[str]], str]:
        """Titles, rows as long as these, and what divides columns."""
        try:
            text = read_file(self.path, MOST_BYTES).decode(self.encoding).removeprefix("\ufeff")
            separator = max(",;\t", key=text.split("\n", 1)[0].count)
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(row)]
        except FileNotFoundError:
            return ["filename", "label"], [], ","
        except LookupError:
            told = f"one such as cp1252, shift_jis or gbk, got {self.encoding!r}"
            raise DataError(f"encoding: expected {told}") from None
        except UnicodeDecodeError:
            told = f"expected {self.encoding.upper()}; save it as UTF-8, or tell its --encoding"
            raise DataError(f"{self.path}: {told}") from None
        except (ValueError, csv.Error, OSError) as error:
            raise DataError(f"{self.path}: {error}; expected a table of filename and label") from None
        if not rows or not any(cell.strip().casefold() in LABEL_TITLES for cell in rows[0]):
            rows.insert(0, ["filename", "label"])
        width = max(map(len, rows))
        rows = [[cell.strip() for cell in row] + [""] * (width - len(row)) for row in rows]
        return rows[0], rows[1:], separator


def checked(changes: object) -> dict[str, list[str]]:
    """Changes as they must be.

    Raises:
        DataError: they are not.
    """
    if isinstance(changes, dict) and all(
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME
        and isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(label, str) and len(label) <= MAX_LABEL for label in pair)
        for name, pair in changes.items()
    ):
        return changes
    raise DataError(f"expected names with labels before and after, of at most {MAX_LABEL} characters")


def _places(titles: list[str], path: Path) -> tuple[int, int]:
    """Which columns are names and labels."""
    found = [
        [place for place, title in enumerate(titles) if title.casefold() in wanted]
        for wanted in (NAME_TITLES, LABEL_TITLES)
    ]
    if any(len(places) != 1 for places in found):
        raise DataError(f"{path}: expected one column filename and one label, got {', '.join(titles[:10])}")
    return found[0][0], found[1][0]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
