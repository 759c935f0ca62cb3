"""Codes that `embed` wrote, read back batch by batch: a Parquet file, or a folder of shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from safelight.config.reading import read_json
from safelight.data.label_files import UNKNOWN
from safelight.errors import DataError
from safelight.files import in_a_line, refuse_links, why
from safelight.latent.codes import Codes
from safelight.latent.parquet import ABOUT, MAX_BYTES
from safelight.machine import derive_seed

__all__ = ["StoredCodes", "joined", "sample_of", "stored_codes"]

SHARDS, JOB, MANIFEST = "part-*.parquet", "job.json", "manifest.json"  # of a folder
COLUMNS = ("name", "label", "mu", "logvar", "reconstruction")
ROWS = 8192  # that are held at a time
KEY = 16  # digits of the weights' SHA-256 that a run is called by


@final
class StoredCodes:
    """Codes in files.

    Args:
        path: of the file or the folder.
        files: that hold them, in order.

    Attributes:
        path: as given.
        rows: number of rows in all files, those with an error among them.
        dimensions: of a code.
        left_out: after `batches`, number of rows without a code, as their pictures could not be read.

    Raises:
        DataError: a file is damaged, or holds no codes.

    Example:
        >>> import tempfile
        >>> import safelight
        >>> run = safelight.train("digits", latent=4, epochs=1, threads=1)
        >>> path = run.embed("digits", Path(tempfile.mkdtemp()) / "codes.parquet")
        >>> stored = StoredCodes(path, [path])
        >>> stored.rows, stored.dimensions, [len(batch) for batch in stored.batches()]
        (1797, 4, [1797])
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path, self._files = path, files
        self.rows, self.left_out = 0, 0
        self._weights, lengths = set[str](), set[int]()
        for file in files:
            with _opened(file) as table:
                self.rows += table.metadata.num_rows
                self._weights.add(_weights(table.schema_arrow))
                lengths.add(_length(table))
        if len(lengths - {0}) > 1:
            raise DataError(f"expected codes of one length in {path}, got {sorted(lengths)}; embed again")
        self.dimensions = max(lengths, default=0)

    @property
    def notes(self) -> list[str]:
        """What is to be known of them, a sentence each; complete after `batches`."""
        found = []
        if (self.path / JOB).is_file() and not (self.path / MANIFEST).is_file():
            found.append(f"{self.path} is not finished: {self.rows:,} rows are there so far")
        if not self._told():
            found.append(f"{self.path} does not say which weights made its codes")
        if self.left_out:
            found.append(f"left out {self.left_out:,} pictures that embed could not read")
        return found

    def of_run(self, path: Path, weights: str, dimensions: int) -> StoredCodes:
        """Themselves, where a run's weights made them.

        Args:
            path: the run's folder, for the message.
            weights: the first digits of their SHA-256.
            dimensions: of the run's codes; 0 where that is not known.

        Raises:
            DataError: another run made them.
        """
        made_by = self._told()
        if any(one[:KEY] != weights[:KEY] for one in made_by):
            which = ", ".join(sorted(one[:KEY] for one in made_by))
            raise DataError(
                f"expected codes that {path} made (weights {weights}), got {self.path} of others ({which}); "
                "embed the pictures with this run, or name the run that made them"
            )
        if self.dimensions and dimensions and self.dimensions != dimensions:
            raise DataError(
                f"expected codes of {dimensions} numbers, as {path} makes them, got {self.dimensions} in "
                f"{self.path}; name the run that made them"
            )
        return self

    def batches(self) -> Iterator[Codes]:
        """The codes in order, at most some thousand at a time; rows with an error are counted, not given.

        Raises:
            DataError: a file is damaged.
        """
        self.left_out = 0
        for file in self._files:
            with _opened(file) as table:
                columns = [name for name in (*COLUMNS, "error") if name in table.schema_arrow.names]
                for batch in table.iter_batches(ROWS, columns=columns):
                    fine = pc.is_valid(batch["mu"])
                    if "error" in columns:
                        fine = pc.and_(fine, pc.is_null(batch["error"]))
                    kept = batch.filter(fine)
                    self.left_out += len(batch) - len(kept)
                    if len(kept):
                        yield _codes(kept, self.dimensions)

    def _told(self) -> set[str]:
        """The weights that files and job name."""
        told = self._weights - {""}
        job = self.path / JOB
        if not told and self.path.is_dir() and job.is_file():
            try:
                told = {str(read_json(refuse_links(job, self.path)).get("weights", ""))} - {""}
            except OSError as error:
                raise DataError(f"{job} cannot be read: {why(error)}") from None
        return told


def stored_codes(source: object) -> StoredCodes | None:
    """The codes at a place; None where there are none, but pictures or whatever else.

    Args:
        source: a Parquet file that `embed` wrote, or a folder of shards, or anything else.

    Raises:
        DataError: a folder has no finished shard yet, or a file is damaged.
    """
    if isinstance(source, StoredCodes):
        return source
    if not isinstance(source, str | os.PathLike):
        return None
    try:
        path = Path(os.fsdecode(source)).expanduser()
        if path.is_dir():
            files = [refuse_links(file, path) for file in sorted(path.glob(SHARDS))]
            if not files and (path / JOB).is_file() and read_json(path / JOB).get("kind") == "codes":
                raise DataError(
                    f"expected codes in {path}, got no finished shard yet; wait, or go on with embed"
                )
        else:
            files = [path] if path.suffix.lower() == ".parquet" and path.is_file() else []
    except (OSError, RuntimeError, ValueError):  # of a name that no file can have
        return None
    if not files or not _holds_codes(files[0]):
        return None
    return StoredCodes(path, files)


def sample_of(parts: Iterable[Codes], count: int, seed: int = 0) -> Codes:
    """At most so many codes, each as likely as any other, in their order; no more than these are held.

    Every code draws a number, and those of the least numbers are kept, so that it makes no difference in
    which parts they come.

    Args:
        parts: of codes.
        count: the most to keep.
        seed: fixes the choice.

    Raises:
        DataError: there are none.

    Example:
        >>> five = Codes(np.ones((5, 2), np.float32), None, np.ones(5, np.float32), None, tuple("abcde"))
        >>> parts = [five] * 3
        >>> len(sample_of(parts, 7)), len(sample_of(parts, 99))
        (7, 15)
    """
    rng = np.random.default_rng(derive_seed(seed, "codes from files"))
    kept: Codes | None = None
    numbers = np.empty(0)
    for part in parts:
        kept = part if kept is None else joined([kept, part])
        numbers = np.concatenate([numbers, rng.random(len(part))])
        if len(numbers) > count:
            chosen = np.sort(np.argsort(numbers, kind="stable")[:count])
            kept, numbers = kept.subset(chosen), numbers[chosen]
    if kept is None:
        raise DataError("expected at least one code, got none: every picture had an error; embed others")
    return kept


def joined(parts: list[Codes]) -> Codes:
    """Codes one after another; labels that some do not have are unknown."""
    logvars = [part.logvar for part in parts if part.logvar is not None]
    has_labels = any(part.labels is not None for part in parts)
    labels = [np.full(len(part), UNKNOWN, np.int64) if part.labels is None else part.labels for part in parts]
    return Codes(
        mu=np.concatenate([part.mu for part in parts]),
        logvar=np.concatenate(logvars) if len(logvars) == len(parts) else None,
        reconstruction=np.concatenate([part.reconstruction for part in parts]),
        labels=np.concatenate(labels) if has_labels else None,
        names=tuple(name for part in parts for name in part.names),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Parquet file while it is read; whatever is wrong with it becomes one line."""
    try:
        with path.open("rb") as content, pq.ParquetFile(content) as table:
            about = table.metadata
            if any(about.row_group(i).total_byte_size > MAX_BYTES for i in range(about.num_row_groups)):
                raise ValueError(f"a row group of more than {MAX_BYTES >> 30} GiB")
            yield table
    except OSError as error:
        raise DataError(f"{path} cannot be read: {why(error)}") from None
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"expected codes in {path}, got '{in_a_line(error)}'; embed again") from None


def _holds_codes(path: Path) -> bool:
    """Whether a Parquet file has the columns of codes."""
    try:
        with path.open("rb") as content:
            names = pq.read_schema(content).names
    except (OSError, ValueError, pa.ArrowException):  # whoever takes it for pictures says what is wrong
        return False
    return {"name", "mu", "reconstruction"} <= set(names)


def _weights(schema: Any) -> str:
    """What a file says of the weights that made it; empty where it says nothing."""
    about = json.loads((schema.metadata or {}).get(ABOUT, b"{}"))
    return str(about.get("weights", "")) if isinstance(about, dict) else ""


def _length(table: Any) -> int:
    """How many numbers a code of a file has; 0 where it has no codes."""
    kind = table.schema_arrow.field("mu").type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for batch in table.iter_batches(ROWS, columns=["mu"]):
        if len(found := batch["mu"].drop_null()):
            return len(found[0])
    return 0


def _codes(batch: Any, dimensions: int) -> Codes:
    """A batch of rows that all have a code."""
    labels = batch["label"] if "label" in batch.schema.names else pa.nulls(len(batch))
    logvar = batch["logvar"] if "logvar" in batch.schema.names else pa.nulls(len(batch))
    known = labels.null_count < len(labels)
    return Codes(
        mu=_matrix(batch["mu"], dimensions),
        logvar=None if logvar.null_count else _matrix(logvar, dimensions),
        reconstruction=np.asarray(batch["reconstruction"].to_numpy(zero_copy_only=False), np.float32),
        labels=pc.fill_null(labels, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
        if known
        else None,
        names=tuple(batch["name"].to_pylist()),
    )


def _matrix(column: Any, dimensions: int) -> NDArray[np.float32]:
    """A column of lists of one length, (N, D)."""
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, dimensions)
