"""Rows: the layout every array is brought to, and files too large for memory, read row by row."""

__all__ = ["RESIDENT_BYTES", "Array", "Rows", "blocks", "nbytes", "standard", "take"]

from collections.abc import Iterator, Sequence
from copy import copy
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

RESIDENT_BYTES = 2 << 30
"""Arrays below this size are held in memory (or on the device); larger files stay on disk."""

_CHANNELS = (1, 3, 4)
_MOST_OPEN = 256  # files at a time: each that is mapped holds one of the process's few file descriptors


def standard(block: np.ndarray, name: str = "data: x") -> np.ndarray:
    """The array in the layout of a data set: ``(N, D)`` or ``(N, C, H, W)``, uint8 or float32.

    Booleans become 0 and 1; floats of any width float32; ``(N, H, W)`` one channel; ``(N, H, W, C)`` with 1, 3 or 4
    channels last is turned, unless its second dimension has such a size too. The rule looks at the type and the shape
    of one row only, so that it may be applied to any part of an array.

    Raises:
        ValueError: for any other type or number of dimensions.

    Example:
        >>> standard(np.zeros((5, 8, 6, 3))).shape
        (5, 3, 8, 6)
    """
    kind = block.dtype.kind
    if block.dtype == np.bool_:
        block = block.view(np.uint8)
    elif kind == "f":
        block = block.astype(np.float32, copy=False)
    elif block.dtype != np.uint8:
        raise ValueError(f"{name}: wanted uint8, bool or float values, got {block.dtype}. {_fix(kind)}")
    if block.ndim == 2:
        return block
    if block.ndim == 3:
        return block[:, None]
    if block.ndim != 4:
        raise ValueError(
            f"{name}: wanted (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C), got shape {block.shape}. Reshape it."
        )
    last = block.shape[3] in _CHANNELS and block.shape[1] not in _CHANNELS
    return block.transpose(0, 3, 1, 2) if last else block


def _fix(kind: str) -> str:
    if kind in "iu":
        return "Save levels 0..255 as uint8; divide 16-bit images by 65535 and save float32."
    if kind == "c":
        return "Split complex numbers into real and imaginary features."
    return "Save plain numbers: objects and strings would need pickle, which is never loaded."


@final
class Rows:
    """Rows of ``.npy`` files, one after the other, memory-mapped and read on demand; not an array: index it to get one.

    They are opened anew in every process that they are sent to, so that worker processes receive paths and not a copy.

    Args:
        path: a ``.npy`` file; or several (shards) whose rows are of one shape and type, which then count through.
        index: which of their rows, in which order; all of them by default.

    Raises:
        ValueError: a file that is damaged or has no rows, or whose rows are others than those of the first.
    """

    def __init__(self, path: str | Path | Sequence[str | Path], index: np.ndarray | None = None) -> None:
        self.paths = (Path(path),) if isinstance(path, str | Path) else tuple(map(Path, path))
        self.index = index
        self._maps: dict[int, np.ndarray] = {}
        first, counts = _header(self.paths[0]), []
        empty = standard(np.empty((0, *first.shape[1:]), first.dtype), str(self.paths[0]))
        for path in self.paths:
            rows = _header(path) if counts else first
            if (rows.dtype, rows.shape[1:]) != (first.dtype, first.shape[1:]):
                raise ValueError(
                    f"{path}: wanted rows of shape {first.shape[1:]} and type {first.dtype}, as in {self.paths[0]}, "
                    f"got {rows.shape[1:]} and {rows.dtype}. Write all of them alike."
                )
            counts.append(len(rows))
        self._ends = np.cumsum(counts)
        count = int(self._ends[-1]) if index is None else len(index)
        self.shape: tuple[int, ...] = (count, *empty.shape[1:])
        self.dtype = empty.dtype

    def taken(self, index: np.ndarray) -> "Rows":
        """Some of the rows, in the order of the index; they stay on disk."""
        some = copy(self)
        some._maps = {}
        some.index = index if self.index is None else self.index[index]
        some.shape = (len(some.index), *self.shape[1:])
        return some

    @property
    def shards(self) -> tuple[int, ...]:
        """How many of the rows lie in each file; those of one file follow one another.

        Raises:
            ValueError: if they are taken in another order than that of the files.
        """
        if self.index is None:
            return tuple(np.diff(self._ends, prepend=0).tolist())
        if len(self.index) > 1 and (np.diff(self.index) < 0).any():
            raise ValueError("Rows: these are taken in another order than that of their files: they lie in no shards.")
        return tuple(np.diff(np.searchsorted(self.index, self._ends), prepend=0).tolist())

    def _open(self, number: int) -> np.ndarray:
        rows = self._maps.get(number)
        if rows is None:
            while len(self._maps) >= _MOST_OPEN:
                self._maps.pop(next(iter(self._maps)))
            rows = self._maps[number] = np.load(self.paths[number], mmap_mode="r", allow_pickle=False)
        return rows

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        if len(self.paths) == 1:
            return standard(np.asarray(self._open(0)[which if self.index is None else self.index[which]]))
        rows = _counted(which, len(self)) if self.index is None else self.index[which]
        return standard(self._gathered(rows))

    def _gathered(self, rows: np.ndarray) -> np.ndarray:
        """Rows of several files, each file read once and from its beginning to its end."""
        ascending = len(rows) < 2 or bool((np.diff(rows) >= 0).all())
        order = np.arange(len(rows)) if ascending else np.argsort(rows, kind="stable")
        rows = rows[order]
        cuts = np.searchsorted(rows, self._ends)
        first = self._open(0)
        found = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for number in np.flatnonzero(np.diff(cuts, prepend=0)).tolist():
            here = slice(cuts[number - 1] if number else 0, cuts[number])
            start = self._ends[number - 1] if number else 0
            found[order[here]] = self._open(number)[rows[here] - start]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __repr__(self) -> str:
        where = repr(str(self.paths[0])) if len(self.paths) == 1 else f"{len(self.paths)} files"
        return f"Rows({where}, shape={self.shape}, dtype={self.dtype})"


def _counted(which: slice | np.ndarray, n: int) -> np.ndarray:
    """The numbers below n that an index names, as NumPy understands it; nothing of the size of n is made."""
    if isinstance(which, slice):
        return np.arange(*which.indices(n))
    which = np.flatnonzero(which) if which.dtype == np.bool_ else which
    if len(which) and not (-n <= which.min() and which.max() < n):
        raise IndexError(f"Rows: wanted rows from {-n} to {n - 1}, got {which.min()} to {which.max()}.")
    return np.where(which < 0, which + n, which)


def _header(path: Path) -> np.ndarray:
    """A file as it says it is, once it is seen to be all there."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}. Save it with np.save(file, x).") from None
    if not rows.ndim or not len(rows):
        raise ValueError(f"{path}: wanted at least one row, got an array of shape {rows.shape}. Remove the file.")
    return rows


Array = np.ndarray | Rows
"""What a split holds: an array (or a NumPy memory map), or rows of a file."""


def take(x: Array, index: np.ndarray) -> Array:
    """The rows of x at the index; rows of a file stay on disk."""
    return x.taken(index) if isinstance(x, Rows) else x[index]


def nbytes(x: Array) -> int:
    """How much memory the rows need."""
    return int(x.nbytes)


def blocks(x: Array, size: int = 4096) -> Iterator[np.ndarray]:
    """The array in pieces of a few thousand rows, so that a file is never in memory whole."""
    for start in range(0, len(x), size):
        yield x[start : start + size]
