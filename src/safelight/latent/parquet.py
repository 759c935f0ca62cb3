"""Parquet files of codes and maps: streamed, continued after a kill, read back strictly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from safelight.data.images import ImageSet
from safelight.data.rows import Names
from safelight.errors import DataError, RunError
from safelight.files import replacing, sweep, why, write_atomically, write_file
from safelight.latent.codes import Codes, encode
from safelight.networks.base import Autoencoder
from safelight.tasks.objective import Likelihood

__all__ = ["embed", "read_codes", "read_table", "table_of", "write_table"]

ROWS = 8192  # a row group: what a killed embedding does again
MAX_BYTES = 1 << 32  # of a file that is read into memory
FORMAT_VERSION = 1
PART = r"[0-9a-f]{32}\.parquet"  # the name of a finished row group
ABOUT = b"safelight"  # the key of what a file says of itself


def embed(
    network: Autoencoder,
    likelihood: Likelihood,
    images: ImageSet | Iterable[ImageSet],
    path: Path,
    about: Mapping[str, Any] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> int:
    """Stream the codes of images into a Parquet file, with memory for one row group.

    Finished row groups wait beside the file, each under a digest of the weights and of its images, so that an
    embedding that was killed, or found the disk full, goes on where it stopped when it is started again.

    Args:
        network: in evaluation mode.
        likelihood: p(x | z), for the reconstruction loss.
        images: a set, or any number of sets of the same size, one at a time.
        path: the file to make or to replace.
        about: what the file says of itself beside its format, such as the run that it came from.
        on_progress: called with the number of images done.

    Returns:
        The number of images.

    Raises:
        RunError: the disk is full, another process writes the same file, or the folder cannot be written.
        DataError: there are no images.

    Example:
        >>> import tempfile
        >>> import safelight
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> path = Path(tempfile.mkdtemp()) / "codes.parquet"
        >>> embed(DeepConvVAE((1, 8, 8)), Bernoulli(), safelight.load("digits"), path)
        1797
        >>> read_codes(path).mu.shape
        (1797, 20)
    """
    parts = path.parent / f".{path.name}.parts"
    if parts.is_symlink():
        raise RunError(f"expected a folder of ours, but {parts} is a link; remove it")
    weights = _weights_digest(network, likelihood)
    count, written = 0, []
    try:
        parts.mkdir(exist_ok=True)
        with filelock.FileLock(parts / ".lock", timeout=0):
            sweep(parts, PART)
            sweep(path.parent, re.escape(path.name))
            for chunk in _row_groups(images):
                part = parts / f"{_chunk_digest(weights, chunk)}.parquet"
                if not part.is_file():
                    codes = encode(network, likelihood, chunk)
                    write_atomically(part, _packed(table_of(codes), {"kind": "codes"}))
                written.append(part)
                count += len(chunk)
                if on_progress is not None:
                    on_progress(count)
            if not written:
                raise DataError("expected at least one image to embed, got none; check the source")
            _join(written, path, {"kind": "codes", "n": count, **(about or {})})
            for part in parts.iterdir():  # also of images or weights of another day
                if re.fullmatch(PART, part.name):
                    part.unlink()
        (parts / ".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of a user's is in it
            parts.rmdir()
    except filelock.Timeout:
        raise RunError(f"another process is writing {path}; wait for it, or stop it") from None
    except OSError as error:
        raise RunError(f"cannot write {path}: {why(error)}, then start it again") from None
    return count


def _row_groups(images: ImageSet | Iterable[ImageSet]) -> Iterator[ImageSet]:
    count = 0
    for image_set in [images] if isinstance(images, ImageSet) else images:
        named = replace(image_set, names=image_set.names or Names.of_places(len(image_set), count))
        for first in range(0, len(named), ROWS):
            yield named.subset(slice(first, first + ROWS))
        count += len(named)


def _weights_digest(network: Autoencoder, likelihood: Likelihood) -> bytes:
    digest = hashlib.sha256(type(likelihood).__name__.encode())
    for name, tensor in (network.state_dict() | likelihood.state_dict()).items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.digest()


def _chunk_digest(weights: bytes, chunk: ImageSet) -> str:
    """What a row group is made of: 32 hexadecimal digits."""
    digest = hashlib.sha256(weights)
    digest.update(f"{chunk.fingerprint()} {chunk.names}".encode())
    if chunk.labels is not None:
        digest.update(np.ascontiguousarray(chunk.labels).tobytes())
    return digest.hexdigest()[:32]


def table_of(codes: Codes) -> pa.Table:
    """Codes as a table: name, label, mu, logvar, reconstruction."""
    n, latent = codes.mu.shape
    flat = [None if part is None else pa.array(part.ravel()) for part in (codes.mu, codes.logvar)]
    mu, logvar = (
        pa.nulls(n) if part is None else pa.FixedSizeListArray.from_arrays(part, latent)  # before version 26
        for part in flat  # pyarrow reads no fixed-size lists that are null
    )
    return pa.table(
        {
            "name": pa.array(codes.names, pa.string()),
            "label": pa.nulls(n, pa.int64()) if codes.labels is None else pa.array(codes.labels),
            "mu": mu,
            "logvar": logvar,
            "reconstruction": pa.array(codes.reconstruction),
        }
    )


def write_table(table: pa.Table, path: Path, about: Mapping[str, Any]) -> None:
    """Write a table as a Parquet file of ours.

    Args:
        table: its columns.
        path: the file to make or to replace.
        about: what it says of itself, "kind" among it.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    write_file(path, _packed(table, about))


def _packed(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(_metadata(about)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _metadata(about: Mapping[str, Any]) -> dict[bytes, str]:
    return {ABOUT: json.dumps({"format_version": FORMAT_VERSION, **about})}


def _join(parts: list[Path], path: Path, about: Mapping[str, Any]) -> None:
    """One file of all parts, a row group each."""
    with parts[0].open("rb") as first:  # opened here: pyarrow takes no name that is no UTF-8
        schema = pq.read_schema(first).with_metadata(_metadata(about))
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            with part.open("rb") as content:
                writer.write_table(pq.read_table(content, schema=schema))


def read_codes(path: str | os.PathLike[str]) -> Codes:
    """Read what `embed` wrote.

    Raises:
        DataError: it is missing, damaged, too large for memory, or none of ours.
    """
    table, _ = read_table(path, "codes")
    try:
        mu = _matrix(table["mu"])
        codes = Codes(
            mu=mu,
            logvar=None if table["logvar"].null_count else _matrix(table["logvar"]),
            reconstruction=table["reconstruction"].to_numpy(),
            labels=None if table["label"].null_count else table["label"].to_numpy(),
            names=tuple(table["name"].to_pylist()),
        )
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} does not hold codes ({error}); make it with safelight embed") from None
    return codes


def read_table(path: str | os.PathLike[str], kind: str) -> tuple[pa.Table, dict[str, Any]]:
    """A Parquet file of ours, and what it says of itself.

    Args:
        path: the file.
        kind: what it should hold, codes or a map.

    Raises:
        DataError: it is missing, damaged, too large for memory, or none of ours.
    """
    try:
        with Path(path).open("rb") as content, pq.ParquetFile(content) as file:
            metadata = file.metadata
            about: dict[str, Any] = json.loads((metadata.metadata or {}).get(ABOUT, b"{}"))
            if (about.get("kind"), about.get("format_version")) != (kind, FORMAT_VERSION):
                raise ValueError(f"it holds {about.get('kind', 'something else')}")
            if sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)) > MAX_BYTES:
                raise ValueError("it is too large")
            return file.read(), about
    except OSError as error:
        raise DataError(f"{path} cannot be read: {why(error)}") from None
    except (ValueError, AttributeError, pa.ArrowException) as error:
        detail = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as {kind} of safelight ({detail}); make it again") from None


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of lists of one length, (N, D)."""
    array = column.combine_chunks()
    values: NDArray[np.float32] = array.flatten().to_numpy()
    return values.reshape(len(array), -1)
