"""Pictures that were read once: their pixels in a file that is mapped, and what is known of each, beside it.

A store is a folder of the cache: `pixels.bin` holds the images one after another, `pictures.arrow` a row for
each, `store.json` how they were made. It is made block by block, so that a reading that was cut off goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import filelock
import numpy as np
from numpy.typing import NDArray

from safelight.config.data import Fit
from safelight.config.reading import from_dict, read_json
from safelight.data.fitting import Untold, count_outside, fit_pixels, tiles_of
from safelight.data.likeness import content_hash, groups_of, look_hash
from safelight.data.listing import Listing
from safelight.data.named_sets import cache_root
from safelight.data.opening import Picture, open_pages, open_picture
from safelight.errors import DataError, Interrupted
from safelight.files import legible, why, write_atomically

__all__ = ["LeftOut", "Store", "clear_stores", "make_store", "stores"]

VERSION = 1  # of what a store holds; one of another is made anew
BLOCK = 256  # pictures that are read and written together
KEPT_REASONS = 1000  # of pictures that were left out
LIMIT_GB = 20.0  # of all stores together, where SAFELIGHT_CACHE_GB says nothing else
LUMA = (0.299, 0.587, 0.114)
PIXELS, TABLE, ABOUT, USED = "pixels.bin", "pictures.arrow", "store.json", "used"

OnReading = Callable[[int, int], object]
Block = tuple[list[NDArray[Any]], Any, list["LeftOut"]]  # images, a row of the table for each, and the rest


@dataclass(frozen=True)
class LeftOut:
    """A picture that could not be taken.

    Attributes:
        name: of the picture.
        reason: why, in a line.
    """

    name: str
    reason: str


@final
@dataclass(frozen=True)
class Store:
    """A store, opened.

    Attributes:
        folder: where it is.
        fit: what its images are made like.
        count: number of images.
        read: number of pictures that were read; fewer than images where they are cut into tiles.
        digest: SHA-256 of names and pixels.
        left_out: pictures that could not be taken, at most a thousand of them.
        left_out_count: how many there are.
    """

    folder: Path
    fit: Fit
    count: int
    read: int
    digest: str
    left_out: tuple[LeftOut, ...]
    left_out_count: int

    def pixels(self) -> np.memmap[Any, Any]:
        """(N, C, H, W), mapped."""
        shape = (self.count, *self.fit.shape)
        return np.memmap(self.folder / PIXELS, self.fit.dtype, "r", shape=shape)

    def table(self) -> Any:
        """A row an image, mapped: name, label, picture, height, width, kind, ..., as `_row` makes it."""
        import pyarrow as pa

        with pa.memory_map(str(self.folder / TABLE)) as source:
            return pa.ipc.open_file(source).read_all()

    def column(self, name: str) -> NDArray[Any]:
        """One column of numbers."""
        return np.asarray(self.table()[name].to_numpy())


def place_of(listing: Listing, fit: Fit, untold: Untold, chosen: NDArray[np.int64] | None) -> Path:
    """Where the store of some pictures is, or would be."""
    which = "all" if chosen is None else hashlib.sha256(chosen.tobytes()).hexdigest()
    text = json.dumps([VERSION, listing.key, asdict(fit), asdict(untold), which])
    return _home() / hashlib.sha256(text.encode()).hexdigest()[:32]


def open_store(folder: Path) -> Store | None:
    """A finished store; None where there is none of this version that is whole."""
    try:
        about = read_json(folder / ABOUT)
        if about.get("version") != VERSION:
            return None
        fit = from_dict(Fit, about["fit"], "store")
        left_out = tuple(LeftOut(*pair) for pair in about["left_out"])
        store = Store(
            folder, fit, about["count"], about["read"], about["digest"], left_out, about["left_out_count"]
        )
        expected = store.count * int(np.prod(fit.shape)) * np.dtype(fit.dtype).itemsize
        if (folder / PIXELS).stat().st_size != expected or not (folder / TABLE).is_file():
            return None
    except Exception:
        return None
    with contextlib.suppress(OSError):
        (folder / USED).touch()  # the time decides which goes first
    return store


def make_store(
    listing: Listing,
    fit: Fit,
    untold: Untold,
    chosen: NDArray[np.int64] | None = None,
    on_progress: OnReading = lambda done, count: None,
) -> Store:
    """Open the store of some pictures, or read them and make it.

    Args:
        listing: the pictures.
        fit: what images are made like.
        untold: what stands for black and white in pictures that do not say.
        chosen: the places of those to take, in order; None for all.
        on_progress: called with the pictures read and all there are; a true answer stops, to go on later.

    Raises:
        DataError: none could be taken, or the cache cannot be written.
        Interrupted: `on_progress` asked for it.
    """
    folder = place_of(listing, fit, untold, chosen)
    if store := open_store(folder):
        return store
    places = np.arange(len(listing)) if chosen is None else chosen
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if store := open_store(folder):  # another process has made it meanwhile
                return store
            shutil.rmtree(folder, ignore_errors=True)
            _make_room(folder, len(places) * int(np.prod(fit.shape)) * np.dtype(fit.dtype).itemsize)
            making = folder.with_suffix(".making")
            making.mkdir(exist_ok=True)
            _Maker(making, listing, fit, untold, places, on_progress).run()
            making.rename(folder)
    except OSError as error:
        raise DataError(
            f"expected to keep the pictures in {_home()}, got {why(error)} or set SAFELIGHT_DATA"
        ) from None
    store = open_store(folder)
    if store is None:
        raise DataError(f"expected {folder} to stay as it is while it is made; try again")
    return store


def stores() -> list[tuple[Path, int, Store | None]]:
    """What the cache holds: each store's folder and bytes, in order of use; None of a broken one."""
    found = []
    with contextlib.suppress(OSError):
        for folder in _home().iterdir():
            if folder.is_dir():
                size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
                found.append((_last_used(folder), folder, size, open_store_quietly(folder)))
    return [(folder, size, store) for _, folder, size, store in sorted(found, key=lambda row: row[0])]


def open_store_quietly(folder: Path) -> Store | None:
    """As `open_store`, without counting as a use."""
    before = _last_used(folder)
    store = open_store(folder)
    if store is not None and before:
        with contextlib.suppress(OSError):
            os.utime(folder / USED, (before, before))
    return store


def clear_stores() -> tuple[int, int]:
    """Delete all stores; their number and bytes."""
    count, size = 0, 0
    for folder, bytes_, _ in stores():
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        count, size = count + 1, size + bytes_
    return count, size


def _home() -> Path:
    return cache_root() / "pictures"


def _last_used(folder: Path) -> float:
    try:
        return (folder / USED).stat().st_mtime
    except OSError:
        return 0.0


def _make_room(keep: Path, needed: int) -> None:
    """Delete the stores that were used longest ago where the limit or the disk asks for it."""
    try:
        limit = float(os.environ.get("SAFELIGHT_CACHE_GB", LIMIT_GB)) * 1e9
    except ValueError:
        raise DataError(
            f"SAFELIGHT_CACHE_GB: expected a number, got {os.environ['SAFELIGHT_CACHE_GB']!r}"
        ) from None
    others = [row for row in stores() if row[0].stem != keep.stem]
    total = sum(size for _, size, _ in others)
    for folder, size, store in others:
        if total + needed <= limit and needed < shutil.disk_usage(_home()).free:
            break
        if store is not None:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
    if needed >= (free := shutil.disk_usage(_home()).free):
        raise DataError(
            f"expected {needed / 1e9:.1f} GB for the pictures in {_home()}, got {free / 1e9:.1f} GB; free "
            "some space, set SAFELIGHT_DATA, or use --limit"
        )


@final
class _Maker:
    """Reads pictures into a folder, block by block, from where an earlier one was cut off."""

    def __init__(
        self,
        folder: Path,
        listing: Listing,
        fit: Fit,
        untold: Untold,
        places: NDArray[np.int64],
        on_progress: OnReading,
    ) -> None:
        self.folder, self.listing, self.fit, self.untold, self.places = folder, listing, fit, untold, places
        self.on_progress = on_progress
        self.bytes_of_one = int(np.prod(fit.shape)) * np.dtype(fit.dtype).itemsize

    def run(self) -> None:
        import pyarrow as pa

        blocks = [self.places[i : i + BLOCK] for i in range(0, len(self.places), BLOCK)]
        done = 0
        rows = 0
        while done < len(blocks) and (path := self._block(done)).exists():
            rows += len(_read_block(path)[0])
            done += 1
        with (self.folder / PIXELS).open("ab") as pixels:
            pixels.truncate(rows * self.bytes_of_one)
            for number, (images, table, left_out) in enumerate(self._read(blocks[done:]), done):
                for image in images:
                    pixels.write(np.ascontiguousarray(image).data)
                pixels.flush()
                _write_block(self._block(number), table, left_out)
                read = min(len(self.places), (number + 1) * BLOCK)
                if self.on_progress(read, len(self.places)):
                    raise Interrupted("stopped while reading pictures; the same command goes on from there")
        parts = [_read_block(self._block(number)) for number in range(len(blocks))]
        table = pa.concat_tables([part for part, _ in parts])
        left_out = [entry for _, entries in parts for entry in entries]
        if not len(table):
            raise DataError(f"expected pictures, got none that can be taken: {described(left_out)}")
        table = self._grouped(table)
        with pa.OSFile(str(self.folder / TABLE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        self._write_about(table, left_out)
        for number in range(len(blocks)):
            self._block(number).unlink()

    def _block(self, number: int) -> Path:
        return self.folder / f"block-{number:07d}.arrow"

    def _read(self, blocks: list[NDArray[np.int64]]) -> Iterator[Block]:
        """The blocks in order, read by a thread a core; no more than a few are waiting."""
        count = os.cpu_count() or 1
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(count) as executor:
            try:
                for block in blocks:
                    waiting.append(executor.submit(self._read_block_of, block))
                    if len(waiting) > 2 * count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read_block_of(self, places: NDArray[np.int64]) -> Block:
        import pyarrow as pa

        images: list[NDArray[Any]] = []
        rows: list[dict[str, Any]] = []
        left_out: list[LeftOut] = []
        for place in places.tolist():
            name = self.listing.names[place]
            try:
                source, page = self.listing.read(place)
                picture = open_picture(source, legible(name), page)
                made = self._images_of(picture)
                if picture.header.pages > 1 and not self.listing.are_pages:
                    others = list(open_pages(source, legible(name)))[1:]
                    made += [image for other in others for image in self._images_of(other)]
            except (DataError, OSError, MemoryError) as error:
                reason = why(error) if isinstance(error, OSError) else str(error) or "out of memory"
                reason = reason.replace(f" in {legible(name)}", "")
                left_out.append(LeftOut(legible(name), reason))
                continue
            label = self.listing.labels[place] if len(self.listing.labels) else None
            for number, (image, about) in enumerate(made):
                images.append(image)
                called = legible(name if len(made) == 1 else f"{name}#{number}")
                about |= {"name": called, "label": label, "picture": place}
                rows.append(_row(image, self.fit, about))
        return images, pa.Table.from_pylist(rows, _schema()), left_out

    def _images_of(self, picture: Picture) -> list[tuple[NDArray[Any], dict[str, Any]]]:
        """The images that a picture gives, and what there is to say of each."""
        pixels, fit = picture.pixels, self.fit
        own = self.untold.range_of(pixels, picture.white)
        about = {
            "height": pixels.shape[1],
            "width": pixels.shape[2],
            "kind": picture.header.kind,
            "bits": picture.header.bits,
            "alpha": picture.alpha is not None,
            "frames": 1 if picture.header.pages > 1 else picture.header.frames,
            "clipped": count_outside(pixels, own),
        }
        opaque = None
        if picture.alpha is not None:
            most = 1.0 if picture.alpha.dtype.kind == "f" else float(np.iinfo(picture.alpha.dtype).max)
            opaque = picture.alpha.astype(np.float32) / most
        if fit.how != "tile":
            return [(fit_pixels(pixels, fit, own, opaque), about)]
        tiles = tiles_of(pixels, fit.height, fit.width)
        return [
            (fit_pixels(pixels[:, r, c], fit, own, None if opaque is None else opaque[r, c]), dict(about))
            for r, c in tiles
        ]

    def _grouped(self, table: Any) -> Any:
        import pyarrow as pa

        columns = [table[name].to_numpy() for name in ("content", "look", "picture")]
        return table.append_column("group", pa.array(groups_of(*columns), pa.int64()))

    def _write_about(self, table: Any, left_out: list[LeftOut]) -> None:
        digest = hashlib.sha256(json.dumps(asdict(self.fit)).encode())
        for name, content in zip(table["name"].to_pylist(), table["content"].to_pylist(), strict=True):
            digest.update(f"{name}\0{content}\0".encode())
        about = {
            "version": VERSION,
            "source": legible(self.listing.source),
            "fit": asdict(self.fit),
            "count": len(table),
            "read": len(self.places) - len(left_out),
            "digest": digest.hexdigest(),
            "left_out": [(entry.name, entry.reason) for entry in left_out[:KEPT_REASONS]],
            "left_out_count": len(left_out),
        }
        (self.folder / USED).touch()
        write_atomically(self.folder / ABOUT, json.dumps(about))


def described(left_out: list[LeftOut] | tuple[LeftOut, ...], count: int = 3) -> str:
    """Some of the pictures that were left out, with the reasons.

    Example:
        >>> described([LeftOut("a.png", "truncated"), LeftOut("b.png", "empty")], 1)
        'a.png: truncated; and 1 more'
    """
    shown = "; ".join(f"{entry.name}: {entry.reason}" for entry in left_out[:count])
    return shown + (f"; and {len(left_out) - count:,} more" if len(left_out) > count else "")


def _row(image: NDArray[Any], fit: Fit, about: dict[str, Any]) -> dict[str, Any]:
    low, high = fit.range
    x = (image.astype(np.float32) - low) / (high - low)
    gray = np.tensordot(np.array(LUMA, np.float32), x, 1) if len(x) == 3 else x.mean(0)
    content = content_hash(image)
    edges = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return {
        **about,
        "content": content,
        "look": look_hash(gray, content),
        "mean": float(gray.mean()),
        "contrast": float(gray.std()),
        "sharpness": float(edges.var()),
    }


def _schema() -> Any:
    import pyarrow as pa

    kinds = {
        **dict.fromkeys(("name", "label", "kind"), pa.string()),
        **dict.fromkeys(("picture", "clipped"), pa.int64()),
        **dict.fromkeys(("height", "width", "bits", "frames"), pa.int32()),
        "alpha": pa.bool_(),
        **dict.fromkeys(("content", "look"), pa.uint64()),
        **dict.fromkeys(("mean", "contrast", "sharpness"), pa.float32()),
    }
    return pa.schema(list(kinds.items()))


def _write_block(path: Path, table: Any, left_out: list[LeftOut]) -> None:
    import pyarrow as pa

    about = json.dumps([(entry.name, entry.reason) for entry in left_out])
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({b"left_out": about.encode()})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_atomically(path, sink.getvalue().to_pybytes())


def _read_block(path: Path) -> tuple[Any, list[LeftOut]]:
    import pyarrow as pa

    table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
    entries = json.loads((table.schema.metadata or {})[b"left_out"])
    return table.replace_schema_metadata(None), [LeftOut(*entry) for entry in entries]
