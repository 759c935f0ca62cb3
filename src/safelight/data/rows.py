"""Rows of what stays in a file, read when they are asked for: pixels and names of sets larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, final, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Names", "Rows", "is_mapped", "selected"]


@final
class Rows:
    """Some rows of an array that stays where it is, such as in a file: they are read when they are asked for.

    Args:
        array: (N, ...), usually mapped from a file.
        rows: (n,) which of its rows, in order.

    Example:
        >>> import numpy as np
        >>> rows = Rows(np.arange(10) * 10, np.array([7, 2, 5]))
        >>> len(rows), int(rows[1]), rows[1:].tolist(), rows.select([2, 0])[:].tolist()
        (3, 20, [20, 50], [50, 70])
    """

    def __init__(self, array: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self._array, self._rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype, self.ndim = array.dtype, array.ndim
        self.nbytes = math.prod(self.shape) * array.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self._array[self._rows[index]])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[place] for place in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def select(self, indices: Any) -> Rows:
        """Some of these rows."""
        return Rows(self._array, self._rows[indices])


def selected(pixels: Any, indices: Any) -> Any:
    """Chosen images, and of those in a file only which they are."""
    if isinstance(pixels, Rows):
        return pixels.select(indices)
    if isinstance(pixels, np.memmap) and not isinstance(indices, slice):
        return Rows(pixels, np.arange(len(pixels))[indices])
    return pixels[indices]


def is_mapped(pixels: Any) -> bool:
    """Whether an array's rows are in a file, and not in memory."""
    return isinstance(pixels, Rows | np.memmap)


@final
class Names(Sequence[str]):
    """Names that stay in a file, or are the places of images that have none.

    Args:
        column: an array of Arrow's strings; None where each row's number is its name.
        rows: (n,) which of them, in order.

    Example:
        >>> import pyarrow as pa
        >>> names = Names(pa.array(["a", "b", "c"]), np.array([2, 0]))
        >>> names, names == ("c", "a"), Names.chosen(names, [1])
        (('c', 'a'), True, ('a',))
    """

    def __init__(self, column: Any, rows: NDArray[np.int64]) -> None:
        self._column, self._rows = column, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return Names(self._column, self._rows[index])
        row = int(self._rows[index])
        return str(row if self._column is None else self._column[row])

    def __iter__(self) -> Iterator[str]:
        for part in np.array_split(self._rows, max(1, len(self._rows) >> 12)):
            found = part if self._column is None else self._column.take(part)
            yield from map(str, found.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))

    @staticmethod
    def of_places(count: int, first: int = 0) -> Names:
        """What images without names are called: by their places in the whole set, "0", "1" and so on."""
        return Names(None, np.arange(first, first + count))

    @staticmethod
    def chosen(names: Sequence[str], indices: Any) -> Sequence[str]:
        """Some of a set's names, by whatever NumPy can index with."""
        if isinstance(names, Names):
            return Names(names._column, names._rows[indices])
        return tuple(np.array(names, dtype=object)[indices])
