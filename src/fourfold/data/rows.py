"""Rows: the layout every array is brought to, and files too large for memory, read row by row."""

__all__ = ["RESIDENT_BYTES", "Array", "Rows", "blocks", "nbytes", "standard", "take"]

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

RESIDENT_BYTES = 2 << 30
"""Arrays below this size are held in memory (or on the device); larger files stay on disk."""

_CHANNELS = (1, 3, 4)


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
    """Rows of a ``.npy`` file, memory-mapped and read on demand; not an array: index it to get one.

    It is opened anew in every process that it is sent to, so that worker processes receive a path and not a copy.

    Args:
        path: a ``.npy`` file.
        index: which of its rows, in which order; all of them by default.
    """

    def __init__(self, path: str | Path, index: np.ndarray | None = None) -> None:
        self.path = Path(path)
        self.index = index
        self._map: np.ndarray | None = None
        empty = standard(self._open()[:0], str(path))
        count = len(self._open()) if index is None else len(index)
        self.shape: tuple[int, ...] = (count, *empty.shape[1:])
        self.dtype = empty.dtype

    def _open(self) -> np.ndarray:
        rows = self._map
        if rows is None:
            rows = self._map = np.load(self.path, mmap_mode="r", allow_pickle=False)
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
        if self.index is not None:
            which = self.index[which]
        return standard(np.asarray(self._open()[which]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def __repr__(self) -> str:
        return f"Rows({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"


Array = np.ndarray | Rows
"""What a split holds: an array (or a NumPy memory map), or rows of a file."""


def take(x: Array, index: np.ndarray) -> Array:
    """The rows of x at the index; rows of a file stay on disk."""
    if isinstance(x, Rows):
        return Rows(x.path, index if x.index is None else x.index[index])
    return x[index]


def nbytes(x: Array) -> int:
    """How much memory the rows need."""
    return int(x.nbytes)


def blocks(x: Array, size: int = 4096) -> Iterator[np.ndarray]:
    """The array in pieces of a few thousand rows, so that a file is never in memory whole."""
    for start in range(0, len(x), size):
        yield x[start : start + size]
