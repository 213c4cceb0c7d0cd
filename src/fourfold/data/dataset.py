"""A data set: named splits of rows, what their numbers mean, and the protocol that goes with every result."""

__all__ = ["DataSet", "DataSpec", "Split"]

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np

from .._tokens import EOS, PAD
from .rows import Array, Rows, blocks
from .vocabulary import Vocabulary

_FIRST = 10_000  # rows that a mean is taken over: enough, and quick on data larger than memory


@final
@dataclass(frozen=True, slots=True)
class DataSpec:
    """What a recipe needs to know of the data to build a model.

    Args:
        shape: of a datum.
        levels: 256, 2 or None, as in :class:`DataSet`.
        classes: how many labels; None without labels.
        mean: of the training rows, grey values from 0 to 1: a good place for a likelihood to start from.
        grey: whether a value is a grey value from 0 to 1, as in :class:`DataSet`; with 256 levels it always is.
        n: how many training rows there are, for objectives that estimate what belongs to all of them (q(z), TC).
        vocabulary: the words that the model is shown, of data that are sentences; None for others.
    """

    shape: tuple[int, ...]
    levels: int | None
    classes: int | None
    mean: np.ndarray | None = field(default=None, compare=False, repr=False)
    grey: bool = False
    n: int | None = field(default=None, compare=False, repr=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grey", self.grey or self.levels == 256)


@final
@dataclass(frozen=True, eq=False)
class Split:
    """Rows of data, with a label each or none.

    Args:
        x: ``(N, D)`` or ``(N, C, H, W)``; uint8 levels, or float32 values; ``(N, T)`` int32 numbers of words. May be a
            memory map or :class:`Rows`.
        labels: ``(N,)`` whole numbers from 0, kept as int64.

    Raises:
        ValueError: if x is empty, of another type or shape, or not finite; if labels do not fit x.

    Example:
        >>> len(Split(np.zeros((3, 4), np.float32), np.array([0, 1, 1])))
        3
    """

    x: Array
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.x, np.ndarray | Rows):
            raise ValueError(f"Split: x must be a NumPy array, got {type(self.x).__name__}. Use np.asarray(x).")
        if self.x.dtype not in (np.uint8, np.float32, np.int32):
            raise ValueError(
                f"Split: x must be uint8 (levels) or float32 (or int32, numbers of words), got {self.x.dtype}. "
                "Convert it: x.astype(np.float32)."
            )
        if self.x.ndim not in (2, 4) or 0 in self.x.shape:
            raise ValueError(
                f"Split: x must have at least one row, of shape (D,) or (C, H, W), got shape {self.x.shape}. "
                "Use fourfold.data.from_arrays, which brings arrays to that form."
            )
        if self.x.dtype == np.float32:
            _check_finite(self.x)
        if self.labels is not None:
            object.__setattr__(self, "labels", _check_labels(self.labels, len(self.x)))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.x.shape[1:])


def _check_finite(x: Array) -> None:
    start = 0
    for block in blocks(x):
        good = np.isfinite(block.reshape(len(block), -1)).all(axis=1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise ValueError(f"Split: x must be finite, but row {row} holds NaN or infinity. Remove or fill such rows.")
        start += len(block)


def _check_labels(labels: np.ndarray, rows: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise ValueError(f"Split: labels must be one per row, shape ({rows},), got shape {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"Split: labels must be whole numbers, got {labels.dtype}. Convert them: y.astype(np.int64).")
    if labels.min() < 0:
        raise ValueError(f"Split: labels must count from 0, got {labels.min()}. Renumber them with np.unique.")
    return labels.astype(np.int64, copy=False)


def _check_sentences(x: Array, words: int, where: str) -> None:
    """Every row is words, then one <eos>, then <pad> alone."""
    start = 0
    for block in blocks(x):
        if block.ndim != 2 or block.min() < 0 or block.max() >= words:
            raise ValueError(f"{where}: wanted rows (N, T) of numbers from 0 to {words - 1}, one for each word.")
        ended = np.cumsum(block == EOS, axis=1)
        good = (ended[:, -1] == 1) & ((block == PAD) == ((ended == 1) & (block != EOS))).all(axis=1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise ValueError(f"{where}: row {row} is not words, then <eos> ({EOS}) once, then <pad> ({PAD}) alone.")
        start += len(block)


@final
@dataclass(frozen=True, eq=False)
class DataSet:
    """Splits of one source of data, and what their numbers mean.

    Args:
        name: for people and for the protocol.
        train: what is learnt from.
        validation: held out for choices made during training; None if there is none.
        test: held out for results; None if there is none.
        levels: 256: uint8 level v stands for the grey value v/255. 2: uint8, already 0 or 1. None: float32 as given, or
            words.
        classes: how many labels there are; None without labels.
        protocol: anything JSON can hold: split, seed, source, checksum. Name and counts are filled in.
        origin: the arguments of :func:`fourfold.data.load` that give these data again; None for data from memory.
        class_names: what the labels 0, 1 … stand for, where they have names. Labels of two data sets are matched by
            these, so that a class is the same class whatever its number.
        vocabulary: the words, of data that are sentences: rows of int32 numbers, each ended by <eos> and filled up with
            <pad>.

    Raises:
        ValueError: if splits differ in shape or type, or the levels or classes do not fit them.

    Example:
        >>> x = np.eye(4, dtype=np.float32)
        >>> data = DataSet("eye", Split(x), None, None, levels=None, classes=None)
        >>> data.spec
        DataSpec(shape=(4,), levels=None, classes=None, grey=False)
        >>> data.protocol
        {'dataset': 'eye', 'n_train': 4, 'n_validation': 0, 'n_test': 0}
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    levels: int | None
    classes: int | None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] | None = None
    class_names: tuple[str, ...] | None = None
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        if self.levels not in (None, 2, 256):
            raise ValueError(
                f"DataSet {self.name!r}: levels must be 256, 2 or None (real values), got {self.levels!r}."
            )
        for part, split in self.parts.items():
            self._check(part, split)
        if self.class_names is not None and len(set(self.class_names)) != self.classes:
            raise ValueError(
                f"DataSet {self.name!r}: class_names wants one name for each of {self.classes} classes, "
                f"got {len(set(self.class_names))} different ones."
            )
        counts = {f"n_{part}": len(getattr(self, part) or ()) for part in ("train", "validation", "test")}
        protocol = {"dataset": self.name, **counts, **self.protocol}
        try:
            json.dumps(protocol)
        except TypeError as error:
            raise ValueError(f"DataSet {self.name!r}: protocol must be JSON: {error}.") from None
        object.__setattr__(self, "protocol", protocol)

    def _check(self, part: str, split: Split) -> None:
        where = f"DataSet {self.name!r}, {part}"
        if split.shape != self.train.shape:
            raise ValueError(f"{where}: a datum has shape {split.shape}, but {self.train.shape} in train.")
        real = np.float32 if self.vocabulary is None else np.int32
        wanted = np.dtype(real if self.levels is None else np.uint8)
        if split.x.dtype != wanted:
            raise ValueError(f"{where}: levels={self.levels} wants {wanted} values, got {split.x.dtype}.")
        if self.vocabulary is not None:
            _check_sentences(split.x, len(self.vocabulary), where)
        if self.levels == 2 and any(block.max() > 1 for block in blocks(split.x)):
            raise ValueError(f"{where}: levels=2 wants only 0 and 1, got larger values. Grey values have levels=256.")
        if (split.labels is None) != (self.classes is None):
            raise ValueError(f"{where}: labels and classes go together: give both, in every split, or neither.")
        if split.labels is not None and self.classes is not None and split.labels.max() >= self.classes:
            raise ValueError(f"{where}: label {split.labels.max()} is outside 0..{self.classes - 1}.")

    @property
    def parts(self) -> dict[str, Split]:
        """The splits that exist, by name."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one datum: ``(C, H, W)`` or ``(D,)``."""
        return self.train.shape

    @property
    def spec(self) -> DataSpec:
        """What a recipe needs to know."""
        if self.vocabulary is not None:
            known = self.vocabulary.shown
            return DataSpec(self.shape, self.levels, self.classes, n=len(self.train), vocabulary=known)
        rows = np.asarray(self.train.x[:_FIRST], dtype=np.float32)
        scale = 255 if self.levels == 256 else 1
        return DataSpec(self.shape, self.levels, self.classes, rows.mean(axis=0) / scale, self.grey, len(self.train))

    @cached_property
    def grey(self) -> bool:
        """Whether a value is a grey value from 0 to 1: of 256 levels, or images of float32 that stay within [0, 1]."""
        if self.levels is not None:
            return self.levels == 256
        every = (block for split in self.parts.values() for block in blocks(split.x))
        return len(self.shape) == 3 and all(block.min() >= 0 and block.max() <= 1 for block in every)

    def with_origin(self, origin: Mapping[str, Any]) -> "DataSet":
        """The same data set, saying how to load it again."""
        twin = copy(self)
        object.__setattr__(twin, "origin", dict(origin))
        return twin

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(split):,}" for name, split in self.parts.items())
        if (words := self.vocabulary) is not None:
            counts = f"{words.known:,} of {len(words):,} words known, {counts}"
        return f"DataSet({self.name!r}, shape={self.shape}, levels={self.levels}, classes={self.classes}, {counts})"
