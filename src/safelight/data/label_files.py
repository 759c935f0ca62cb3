"""Labels in text files: one image a line, its name and its class."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from safelight.data.images import ANYWHERE, PARTS, ImageSet
from safelight.data.rows import Names
from safelight.errors import DataError
from safelight.files import read_file, why, write_file

__all__ = [
    "LABEL_TITLES",
    "NAME_TITLES",
    "NO_LABEL",
    "UNKNOWN",
    "Labels",
    "class_of",
    "labelled",
    "names_of",
    "read_labels",
    "write_labels",
]

UNKNOWN = -1  # the label of an image that nobody labelled
NO_LABEL = (
    "",
    "na",
    "n/a",
    "#n/a",
    "nan",
    "none",
    "null",
    "-",
    "?",
    "-1",
)  # in any case; the page's list too
NEVER = ("", "-1")  # a class
MAX_BYTES = 1 << 28
MAX_CLASS_NAME = 200
SEPARATORS = ",;\t"
WHOLE = re.compile(r"[0-9]+(\.0+)?")
NAME_TITLES = ("filename", "file", "name", "image")
LABEL_TITLES = ("label", "class")
PART_TITLES = ("part",)


@final
@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of the classes of a set of images.

    Attributes:
        numbers: (N,) int64, of 0 to K - 1, or -1 where nothing is known.
        classes: the K classes' names.
        parts: (N,) 0, 1 or 2 where images were told to go to training, validation or test, else -1; or None.
        blank: rows of a file that say that nothing is known.

    Example:
        >>> labels = Labels.of(["cat", "dog", None, "cat"])
        >>> labels.numbers.tolist(), labels.classes, labels.counts().tolist()
        ([0, 1, -1, 0], ('cat', 'dog'), [2, 1])
    """

    numbers: NDArray[np.int64]
    classes: tuple[str, ...]
    parts: NDArray[np.int8] | None = None
    blank: int = 0

    @staticmethod
    def of(names: Iterable[str | int | None], keep_na: bool = False) -> Labels:
        """Labels from each image's class by name or number, None or one of `NO_LABEL` where it is not known.

        With `keep_na` words of `NO_LABEL` are classes; what is empty, and -1, is not known all the same.

        Classes that are all whole numbers stand in the order of these, and "3.0", as spreadsheets write a
        column with gaps, is 3; others stand in the order of the alphabet.

        Raises:
            DataError: there are fewer than two classes.
        """
        texts = [None if name is None else class_of(name, keep_na) for name in names]
        found = {text for text in texts if text is not None}
        numeric = all(WHOLE.fullmatch(text) for text in found)
        if numeric:
            texts = [None if text is None else text.split(".")[0] for text in texts]
            found = {text for text in texts if text is not None}
        classes = sorted(found, key=lambda text: (int(text), text) if numeric else (0, text))
        if len(classes) < 2:
            only = f"only {classes[0]!r}" if classes else "no label at all"
            raise DataError(f"expected labels of at least two classes, got {only}; label some others too")
        place = {name: number for number, name in enumerate(classes)}
        numbers = [UNKNOWN if text is None else place[text] for text in texts]
        return Labels(np.array(numbers, np.int64), tuple(classes))

    def renumber(self, images: ImageSet) -> NDArray[np.int64]:
        """Other images' own labels, (N,), as the numbers of these classes, by name; -1 for none of them.

        Classes without names are called by their numbers.
        """
        found = np.full(len(images), UNKNOWN)
        place = {name: number for number, name in enumerate(self.classes)}
        for label in np.unique(images.labels if images.labels is not None else []).tolist():
            name = images.classes[label] if images.classes and label != UNKNOWN else label
            found[images.labels == label] = place.get(class_of(name, keep_na=True) or "", UNKNOWN)
        return found

    def trained_on(self, chosen: NDArray[np.bool_]) -> Labels:
        """The same, but chosen images, (N,), go to training, where they were not told to go elsewhere."""
        parts = np.full(len(self.numbers), ANYWHERE, np.int8) if self.parts is None else self.parts
        return replace(self, parts=np.where(chosen & (parts == ANYWHERE), np.int8(0), parts))

    def counts(self) -> NDArray[np.int64]:
        """(K,) how many images of each class are known."""
        return np.bincount(self.numbers[self.numbers != UNKNOWN], minlength=len(self.classes))


def labelled(images: ImageSet, labels: Labels) -> ImageSet:
    """A set with these labels, divided as they say where they do."""
    images = replace(images, labels=labels.numbers, classes=labels.classes)
    if labels.parts is None or (labels.parts == ANYWHERE).all():
        return images
    parts = np.zeros(len(images), np.uint8)
    for number, rows in enumerate(images.split(parts=labels.parts).rows.values()):
        parts[rows] = number
    return replace(images, parts=parts)


def names_of(images: ImageSet) -> Sequence[str]:
    """The images' names; where they have none, their places: "0", "1" and so on."""
    return images.names or Names.of_places(len(images))


def read_labels(
    path: str | os.PathLike[str], names: Sequence[str], encoding: str | None = None, keep_na: bool = False
) -> Labels:
    r"""Read the classes of some images from a table.

    UTF-8 or UTF-16 with its mark, unless told; columns divided by commas, semicolons or tabs, or by what
    Excel's first line "sep=;" says. A line that names the columns ("filename", "label") lets others stand
    beside them; without it there are these two alone. An image without a label, with one of `NO_LABEL`, or
    not in the file, stays unknown. A column "part" may send images to train, validation or test.

    Args:
        path: the file.
        names: each image's name; see `names_of`. A row may call it otherwise, if that can mean no other: by
            a whole path, the file's name alone, backslashes, another case of the ending.
        encoding: of the file, such as cp1252, shift_jis or gbk; which of them it is cannot be told from its
            bytes.
        keep_na: take words of `NO_LABEL` for classes.

    Raises:
        DataError: the file cannot be read as such a table, names an image that is not there, or gives an
            image two classes; or there are fewer than two classes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("b.png;dog\na.png;cat")
        >>> read_labels(path, ["a.png", "b.png", "c.png"]).numbers.tolist()
        [0, 1, -1]
    """
    find = _finder(names)
    given: list[str | None] = [None] * len(names)
    lines = [0] * len(names)  # where each was given, for messages
    parts = np.full(len(names), ANYWHERE, np.int8)
    blank = 0
    for line, name, label, part in _rows(path, encoding, keep_na):
        blank += label is None
        place = find(name)
        if place is None:
            raise DataError(
                f"{path}, line {line}: there is no {name!r} among the {len(names)} images, whose first is "
                f"{names[0]!r}; correct the name or delete the line"
            )
        if given[place] is not None and label and given[place] != label:
            raise DataError(
                f"{path}, line {line}: {name!r} is {label!r} here and {given[place]!r} in line "
                f"{lines[place]}; keep one of them"
            )
        if label:
            given[place], lines[place] = label, line
        if part:
            parts[place] = _part_of(part, f"{path}, line {line}")
    try:
        return replace(Labels.of(given, keep_na), parts=parts, blank=blank)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_labels(path: str | os.PathLike[str], names: Sequence[str], labels: Labels) -> None:
    """Write the known classes as a table of "filename" and "label" that `read_labels` reads.

    Raises:
        RunError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename", "label"))
    for name, number in zip(names, labels.numbers.tolist(), strict=True):
        if number != UNKNOWN:
            writer.writerow((name, labels.classes[number]))
    write_file(Path(path), text.getvalue())


def _part_of(word: str, where: str) -> int:
    if word.casefold() not in PARTS:
        raise DataError(f"{where}: expected {', '.join(PARTS)} or nothing as the part, got {word!r}")
    return PARTS.index(word.casefold())


def _rows(
    path: str | os.PathLike[str], encoding: str | None, keep_na: bool
) -> Iterator[tuple[int, str, str | None, str]]:
    """Line number, name, label (None where nothing is known) and part ("" where none is told) of each row."""
    text = _text(Path(path), encoding)
    first = text.lstrip().split("\n", 1)[0]
    told = re.fullmatch(f'"?sep=([{SEPARATORS}])"?\\s*', first)
    separator = told[1] if told else max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    name_at, label_at, part_at, width = 0, 1, None, 2  # without a line of titles
    titled = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells) or (told and reader.line_num <= 1):
                continue
            if titled is None:
                titles = [cell.casefold() for cell in cells]
                titled = any(title in LABEL_TITLES for title in titles)
                if titled:
                    name_at, label_at = _find(titles, NAME_TITLES, path), _find(titles, LABEL_TITLES, path)
                    has_parts = any(title in PART_TITLES for title in titles)
                    part_at = _find(titles, PART_TITLES, path) if has_parts else None
                    width = len(titles)
                    continue
            where = f"{path}, line {reader.line_num}"
            if len(cells) != width:
                raise DataError(
                    f"{where}: expected {width} columns, got {len(cells)}; name the columns in a first line, "
                    "and put text with a separator in it in quotation marks"
                )
            name, label = cells[name_at], cells[label_at]
            if len(label) > MAX_CLASS_NAME:
                raise DataError(
                    f"{where}: expected a class of at most {MAX_CLASS_NAME} characters, got {len(label)}; "
                    "is this a table of names and labels?"
                )
            yield reader.line_num, name, class_of(label, keep_na), "" if part_at is None else cells[part_at]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; expected lines such as a.png,cat"
        ) from None


def _find(titles: list[str], wanted: Sequence[str], path: str | os.PathLike[str]) -> int:
    found = [place for place, title in enumerate(titles) if title in wanted]
    if len(found) != 1:
        raise DataError(
            f"{path}: expected one column called {' or '.join(wanted)}, got {len(found)} among "
            f"{', '.join(titles[:10])}; name the columns filename and label"
        )
    return found[0]


def _text(path: Path, encoding: str | None) -> str:
    try:
        data = read_file(path, MAX_BYTES)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read labels from {path}: {why(error)}") from None
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    told = encoding or ("utf-16" if marked else "utf-8-sig")
    try:
        text = data.decode(told)
    except LookupError:
        raise DataError(f"encoding: expected one such as cp1252, shift_jis or gbk, got {told!r}") from None
    except UnicodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(
            f"{path}: expected a text file of names and labels in {told.removesuffix('-sig').upper()}, got "
            "bytes that are none; save it as UTF-8, or tell finetune and suggest its --encoding, such as "
            "cp1252"
        )
    return text


def _finder(names: Sequence[str]) -> Callable[[str], int | None]:
    """From a name in a file of labels to the place of the image that it can only mean, or None.

    Systems differ in how they write an accented letter, the ending, and what stands between folders;
    spreadsheets hold whole paths, or the file's name alone.
    """
    exact = {_normal(name): place for place, name in enumerate(names)}
    tails: dict[str, int | None] = {}
    for place, name in enumerate(names):
        parts = _parts(name)
        for first in range(len(parts)):
            tail = "/".join(parts[first:])
            tails[tail] = None if tail in tails else place  # of several it may mean any

    def find(name: str) -> int | None:
        if (place := exact.get(_normal(name))) is not None:
            return place
        parts = _parts(name)
        for first in range(len(parts)):  # a whole path ends in what the set calls it
            tail = "/".join(parts[first:])
            if tail in tails:
                return tails[tail]
        return None

    return find


def _parts(name: str) -> list[str]:
    """Folders and file, however they are divided, the ending in small letters."""
    parts = [part for part in _normal(name).replace("\\", "/").split("/") if part not in ("", ".")]
    if parts:
        stem, dot, ending = parts[-1].rpartition(".")
        parts[-1] = f"{stem}{dot}{ending.lower()}"
    return parts


def class_of(name: object, keep_na: bool = False) -> str | None:
    """A class's name as it is compared; None where it says that nothing is known.

    Example:
        >>> class_of(" cat "), class_of("N/A"), class_of("N/A", keep_na=True), class_of("", keep_na=True)
        ('cat', None, 'N/A', None)
    """
    text = _normal(str(name)).strip()
    return None if text.casefold() in (NEVER if keep_na else NO_LABEL) else text


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
