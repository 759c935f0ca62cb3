"""What became of pictures since a run was trained on them."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

from safelight.data.images import ImageSet

__all__ = ["PICTURES", "changed_since", "table_of"]

PICTURES = "pictures.parquet"  # of a run
COLUMNS = ["name", "content"]


def table_of(images: ImageSet) -> bytes | None:
    """Names and hashes of the pictures of a set, as a Parquet file; None of what never lay in files."""
    import pyarrow.parquet as pq

    if images.store is None:
        return None
    buffer = io.BytesIO()
    pq.write_table(images.store.table().select(COLUMNS), buffer, compression="zstd")
    return buffer.getvalue()


def changed_since(run: Path, images: ImageSet) -> str:
    """How many pictures are new, gone, or others by the same names; empty where nobody knows, or none is.

    Args:
        run: a folder that holds the table.
        images: what lies there now.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if images.store is None:
        return ""
    try:
        before = _pairs(pq.read_table(run / PICTURES, columns=COLUMNS, memory_map=False))
    except (OSError, pa.ArrowException, KeyError):
        return ""
    now = _pairs(images.store.table())
    new, gone = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    others = sum(now[name] != before[name] for name in now.keys() & before.keys())
    found = Counter({"new": new, "gone": gone, "other than then": others})
    return ", ".join(f"{count:,} {what}" for what, count in found.items() if count)


def _pairs(table: Any) -> dict[str, int]:
    return dict(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))
