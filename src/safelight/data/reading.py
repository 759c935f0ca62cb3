"""From pictures as they lie to a set of images: what suits them, their store, and that in words."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.config.reading import from_dict, read_json
from safelight.data.cache import home
from safelight.data.fitting import Look, Untold, choose_fit
from safelight.data.images import SPLIT_SEED, ImageSet
from safelight.data.label_files import UNKNOWN, Labels, class_of, labelled, read_labels
from safelight.data.likeness import groups_of
from safelight.data.listing import Listing
from safelight.data.opening import declared, open_picture
from safelight.data.rows import Names
from safelight.data.store import VERSION, LeftOut, Store, described, make_store
from safelight.errors import DataError
from safelight.files import legible, why, write_atomically

__all__ = ["read_pictures", "summary"]

HEADERS, LOOKED_AT = 2000, 100  # pictures whose sizes, and whose pixels, decide what suits a set
HOW = {"pad": "by padding", "crop": "by cropping", "stretch": "by stretching", "tile": "cut into tiles"}


def read_pictures(
    listing: Listing,
    data: DataConfig,
    options: FitOptions | Fit,
    most: int | None = None,
    on_reading: Callable[[int, int], object] = lambda done, count: None,
) -> ImageSet:
    """The pictures of a listing as a set of images, mapped from the store that holds them.

    Args:
        listing: the pictures.
        data: how they are labelled and grouped.
        options: how they are made alike: what is asked for, or a run's own fit.
        most: at most so many pictures are read, a subset that is fixed by its size.
        on_reading: called with the pictures read and all there are; a true answer stops, to go on later.

    Raises:
        DataError: none can be taken, or the cache cannot be written.
        Interrupted: `on_reading` asked for it.
    """
    chosen = None
    if most is not None and most < len(listing):
        chosen = np.sort(np.random.default_rng(SPLIT_SEED).permutation(len(listing))[:most])
    fit, untold, notes = _suiting(listing, options)
    store = make_store(listing, fit, untold, chosen, on_reading)
    table = store.table()
    every = np.arange(store.count)
    names = Names(table["name"].combine_chunks(), every)
    groups = _grouped(store, names, data.group_by)
    labels = _labels(table["label"], names, data)
    images = ImageSet(
        store.pixels(),
        fit.range,
        names=names,
        source=listing.source,
        groups=groups,
        fit=fit,
        notes=(*summary(listing, store), *notes),
        digest=store.digest,
        store=replace(store, passed_over=listing.passed_over),
    )
    return images if labels is None else labelled(images, labels)


def _suiting(listing: Listing, options: FitOptions | Fit) -> tuple[Fit, Untold, list[str]]:
    """The fit, what stands for black and white where a picture does not say, and all that in words.

    It is kept beside the stores: a second start opens no picture.
    """
    asked = json.dumps([VERSION, listing.key, type(options).__name__, asdict(options)])
    path = home() / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"
    try:
        known = read_json(path)
        untold = from_dict(Untold, known["untold"], "untold")
        return from_dict(Fit, known["fit"], "fit"), untold, known["notes"]
    except Exception:
        pass
    looks, sizes, left_out = _looks(listing)
    if not looks:
        raise DataError(
            f"expected pictures in {listing.source}, got none that can be taken: {described(left_out)}"
        )
    if isinstance(options, Fit):
        own = {"uint16": Untold(whole=options.range), "float32": Untold(real=options.range)}
        fit = options
        untold, notes = Untold.of(looks, own.get(options.dtype, Untold()))
    else:
        if options.low_and_high and all(look.kind == "told" for look in looks):
            raise DataError(
                f"expected --range auto for {listing.source}, as these pictures say themselves what black "
                f"and white are, got {options.range}; leave it out"
            )
        fit, untold, notes = choose_fit(looks, sizes, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {"fit": asdict(fit), "untold": asdict(untold), "notes": notes}
        write_atomically(path, json.dumps(known))
    except OSError as error:
        raise DataError(
            f"expected to keep the pictures in {path.parent}, got {why(error)} or set SAFELIGHT_DATA"
        ) from None
    return fit, untold, notes


def _looks(listing: Listing) -> tuple[list[Look], list[tuple[int, int]], list[LeftOut]]:
    """Some of the pictures, spread over all of them: what they look like, and the sizes of some more."""
    looks, sizes, left_out = [], [], []
    count = len(listing)
    near = set(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int).tolist())
    for place in sorted({*near, *np.linspace(0, count - 1, min(count, HEADERS)).astype(int).tolist()}):
        name = legible(listing.names[place])
        try:
            source, page = listing.read(place)
            if place in near:
                picture = open_picture(source, name, page)
                looks.append(Look.of(picture.pixels, picture.white))
                sizes.append((picture.pixels.shape[1], picture.pixels.shape[2]))
            else:
                header = declared(source, name)
                sizes.append((header.height, header.width))
        except (DataError, OSError) as error:
            left_out.append(LeftOut(name, str(error)))
    return looks, sizes, left_out


def _grouped(store: Store, names: Names, pattern: str | None) -> NDArray[np.int64]:
    """Which images stay together: copies, near ones, tiles of one picture, and what the names say."""
    groups = store.column("group")
    if pattern is None:
        return groups
    known: dict[str, int] = {}
    belongs = np.empty(store.count, np.int64)
    for place, name in enumerate(names):
        found = re.search(pattern, name)
        key = f"={found[found.re.groups and 1]}" if found else name
        belongs[place] = known.setdefault(key, len(known))
    return groups_of(
        groups.astype(np.uint64), np.arange(store.count, dtype=np.uint64) << np.uint64(40), belongs
    )


def _labels(column: Any, names: Names, data: DataConfig) -> Labels | None:
    if data.labels == "none":
        return None
    if data.labels != "folders":
        return read_labels(data.labels, names, data.encoding, data.keep_na)
    known = column.combine_chunks().dictionary_encode()
    told = [class_of(name, data.keep_na) for name in known.dictionary.to_pylist()]
    classes = sorted({name for name in told if name is not None}, key=_class_order)
    if len(classes) < 2:
        return None
    rank = np.array([UNKNOWN if name is None else classes.index(name) for name in told])
    numbers = known.indices.fill_null(UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
    return Labels(np.where(numbers < 0, UNKNOWN, rank[numbers]), tuple(classes))


def _class_order(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isascii() and name.isdigit() else (1, 0, name)


def summary(listing: Listing, store: Store) -> list[str]:
    """What came in and what became of it, in a sentence or three."""
    table, fit = store.table(), store.fit
    sizes = Counter(zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True))
    least, most = min(sizes, key=math.prod), max(sizes, key=math.prod)
    rows = store.once()
    kinds = Counter(table["kind"].take(rows).to_pylist())
    classes = len({label for label in table["label"].to_pylist() if label is not None})
    with_alpha = int(np.count_nonzero(store.column("alpha")[rows]))
    count = len(rows)
    in_files = f" in {store.read:,} file{'s' * (store.read != 1)}" if store.read < count else ""  # stacks
    said = [f"{count:,} picture{'s' * (count != 1)}{in_files}{f' of {classes:,} classes' * (classes > 1)}"]
    if len(kinds) > 1:
        said.append(", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()))
    if len(sizes) > 1:
        said.append(f"{len(sizes):,} sizes ({least[0]}×{least[1]} to {most[0]}×{most[1]})")
    else:
        said.append(f"all {least[0]}×{least[1]}")
    if with_alpha:
        behind = "white" if fit.background == "border" else fit.background
        said.append(f"{with_alpha:,} with alpha on {behind}")
    if fit.how == "tile":
        said.append(f"cut into {store.count:,} tiles of {fit.width}×{fit.height}")
    elif set(sizes) != {(fit.width, fit.height)}:
        said.append(f"fitted to {fit.width}×{fit.height} {HOW[fit.how]}")
    colours = {1: "gray", 3: "colour"}.get(fit.channels, f"{fit.channels} channels")
    notes = [", ".join([*said, colours])]
    animated = int(np.count_nonzero(store.column("frames")[rows] > 1))
    if animated:
        notes.append(f"{animated:,} with several frames, of which the first was taken")
    clipped = int(store.column("clipped")[rows].sum())
    if clipped:
        notes.append(f"{clipped:,} values outside of black and white, taken for these")
    groups = store.column("group") if fit.how != "tile" else np.arange(store.count)
    copies = store.count - len(np.unique(groups))
    if copies:
        notes.append(f"{copies:,} look like another one; such stay in one part")
    if listing.passed_over:
        notes.append(f"{listing.passed_over:,} passed over, no picture by its name")
    if store.left_out_count:
        notes.append(f"{store.left_out_count:,} left out ({described(store.left_out)})")
    return notes
