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

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import Fit
from safelight.config.reading import from_dict, read_json
from safelight.data.cache import ABOUT, USED, Kept, home, kept, lock_of, make_room
from safelight.data.fitting import LUMA, Untold, count_outside, images_of
from safelight.data.likeness import content_hash, groups_of, look_hash
from safelight.data.listing import Listing
from safelight.data.opening import Picture, open_pages, open_picture
from safelight.errors import DataError, Interrupted
from safelight.files import legible, why, write_atomically

__all__ = ["LeftOut", "Store", "make_store", "measured", "stores"]

VERSION = 3  # of what a store holds; one of another is made anew
BLOCK = 256  # pictures that are read and written together
KEPT_REASONS = 1000  # of pictures that were left out
PIXELS, TABLE = "pixels.bin", "pictures.arrow"

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
        source: where the pictures lie.
        count: number of images.
        read: number of pictures that were read; fewer than images where they are cut into tiles.
        digest: SHA-256 of names and pixels.
        left_out: pictures that could not be taken, at most a thousand of them.
        left_out_count: how many there are.
        passed_over: number of files beside the pictures that are none by their names.
    """

    folder: Path
    fit: Fit
    source: str
    count: int
    read: int
    digest: str
    left_out: tuple[LeftOut, ...]
    left_out_count: int
    passed_over: int = 0

    def pixels(self) -> np.memmap[Any, Any]:
        """(N, C, H, W), mapped."""
        shape = (self.count, *self.fit.shape)
        return np.memmap(self.folder / PIXELS, self.fit.dtype, "r", shape=shape)

    def table(self) -> Any:
        """A row an image, mapped: name, label, picture, page, height, width, kind, ..., see `_schema`."""
        import pyarrow as pa

        with pa.memory_map(str(self.folder / TABLE)) as source:
            return pa.ipc.open_file(source).read_all()

    def column(self, name: str) -> NDArray[Any]:
        """One column of numbers."""
        return np.asarray(self.table()[name].to_numpy())

    def once(self) -> NDArray[np.int64]:
        """The first image of each picture and of each of its pages; all but where they are cut into tiles."""
        starts = [np.diff(self.column(name), prepend=-1) != 0 for name in ("picture", "page")]
        return np.flatnonzero(np.logical_or(*starts))


def place_of(listing: Listing, fit: Fit, untold: Untold, chosen: NDArray[np.int64] | None) -> Path:
    """Where the store of some pictures is, or would be."""
    which = "all" if chosen is None else hashlib.sha256(chosen.tobytes()).hexdigest()
    text = json.dumps([VERSION, listing.key, asdict(fit), asdict(untold), which])
    return home() / hashlib.sha256(text.encode()).hexdigest()[:32]


def open_store(folder: Path) -> Store | None:
    """A finished store; None where there is none of this version that is whole."""
    store = _read_store(folder)
    if store is not None:
        with contextlib.suppress(OSError):
            (folder / USED).touch()  # the time decides which goes first
    return store


def _read_store(folder: Path) -> Store | None:
    """As `open_store`, without counting as a use."""
    try:
        about = read_json(folder / ABOUT)
        if about.get("version") != VERSION:
            return None
        fit, left_out = from_dict(Fit, about["fit"], "store"), tuple(LeftOut(*p) for p in about["left_out"])
        names = ("source", "count", "read", "digest", "left_out_count")
        store = Store(folder=folder, fit=fit, left_out=left_out, **{name: about[name] for name in names})
        expected = store.count * int(np.prod(store.fit.shape)) * np.dtype(store.fit.dtype).itemsize
        if (folder / PIXELS).stat().st_size != expected or not (folder / TABLE).is_file():
            return None
    except Exception:
        return None
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
        with lock_of(folder):
            if store := open_store(folder):  # another process has made it meanwhile
                return store
            shutil.rmtree(folder, ignore_errors=True)
            make_room(folder, len(places) * int(np.prod(fit.shape)) * np.dtype(fit.dtype).itemsize)
            making = folder.with_suffix(".making")
            making.mkdir(exist_ok=True)
            _Maker(making, listing, fit, untold, places, on_progress).run()
            making.rename(folder)
    except OSError as error:
        raise DataError(
            f"expected to keep the pictures in {home()}, got {why(error)} or set SAFELIGHT_DATA"
        ) from None
    store = open_store(folder)
    if store is None:
        raise DataError(f"expected {folder} to stay as it is while it is made; try again")
    return store


def stores() -> list[tuple[Kept, Store | None]]:
    """What the cache holds, in order of use; None of what is broken, or not finished."""
    return [(one, _read_store(one.folder)) for one in kept()]


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
                pages = [picture]
                if picture.header.pages > 1 and not self.listing.are_pages:
                    pages += list(open_pages(source, legible(name)))[1:]
                made = [image for number, one in enumerate(pages) for image in self._images_of(one, number)]
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
                rows.append(about | measured(image, self.fit))
        return images, pa.Table.from_pylist(rows, _schema()), left_out

    def _images_of(self, picture: Picture, page: int) -> list[tuple[NDArray[Any], dict[str, Any]]]:
        """The images that one page of a picture gives, and what there is to say of each."""
        pixels, fit = picture.pixels, self.fit
        own = self.untold.range_of(pixels, picture.white)
        about = {
            "page": page,
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
        return [(image, dict(about)) for image in images_of(pixels, fit, own, opaque)]

    def _grouped(self, table: Any) -> Any:
        import pyarrow as pa

        content, look, picture = (table[name].to_numpy() for name in ("content", "look", "picture"))
        if self.fit.how == "tile":  # many tiles of smooth ground look alike: pictures are compared as a whole
            whole = np.zeros(picture.max(initial=-1) + 1, np.uint64)
            np.add.at(whole, picture, content)
            content, look = whole[picture], None
        return table.append_column("group", pa.array(groups_of(content, look, picture), pa.int64()))

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


def measured(image: NDArray[Any], fit: Fit) -> dict[str, Any]:
    """What is to be known of an image by its pixels alone.

    Args:
        image: (C, H, W).
        fit: what it was made like.

    Returns:
        By name: hashes of content and look; mean and contrast (standard deviation) of its grays, from 0 to 1;
        sharpness, the variance of their Laplacian.
    """
    low, high = fit.range
    x = (image.astype(np.float32) - low) / (high - low)
    gray = np.tensordot(LUMA, x, 1) if len(x) == 3 else x.mean(0)
    content = content_hash(image)
    edges = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return {
        "content": content,
        "look": look_hash(gray, content),
        "mean": float(gray.mean()),
        "contrast": float(gray.std()),
        "sharpness": float(edges.var()) if edges.size else 0.0,
    }


def _schema() -> Any:
    import pyarrow as pa

    kinds = {
        **dict.fromkeys(("name", "label", "kind"), pa.string()),
        **dict.fromkeys(("picture", "clipped"), pa.int64()),
        **dict.fromkeys(("page", "height", "width", "bits", "frames"), pa.int32()),
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
