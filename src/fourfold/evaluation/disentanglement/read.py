"""Codes and factors of a user, from CSV files."""

__all__ = ["Reading", "read_codes", "read_factors", "read_sample"]

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from ..._checks import unknown
from ...data.factors import Factor
from .sample import Sample

_GRID = 50  # a column of fractions with more values than this is taken for continuous


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read, where a guess would be wrong.

    Args:
        header: whether the first line names the columns; None guesses.
        categorical: columns of values without an order, also where they are numbers.
        continuous: columns of numbers that are no grid of values.
        periodic: column → its period, in the column's own units: ``{"angle": 360}``.
    """

    header: bool | None = None
    categorical: tuple[str, ...] = ()
    continuous: tuple[str, ...] = ()
    periodic: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.categorical:
            if name in self.continuous or name in self.periodic:
                raise ValueError(f"Reading: column {name!r} cannot be categorical and continuous or periodic too.")
        for name, period in self.periodic.items():
            if not (isfinite(period) and period > 0):
                raise ValueError(f"Reading: the period of {name!r} must be a finite number above 0, got {period!r}.")


@dataclass(frozen=True, slots=True)
class _Cells:
    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def at(self, row: int, column: int) -> str:
        return f"{self.path}, line {self.lines[row]}, column {self.names[column]!r}"


def read_sample(codes: str | Path, factors: str | Path, reading: Reading = Reading()) -> Sample:
    """Codes from one file and factors from another, row by row of the same data.

    Args:
        codes: a file for :func:`read_codes`.
        factors: a file for :func:`read_factors`.
        reading: what is not to be guessed.

    Raises:
        ValueError: files that cannot be measured; the message names file, column and line.
    """
    z, names = read_codes(codes, reading.header)
    v, about = read_factors(factors, reading)
    if len(z) != len(v):
        raise ValueError(
            f"{codes} has {len(z)} rows and {factors} has {len(v)}, headers not counted: the codes of a datum and its "
            f"factors must be the same row of both. Is a header taken for a row, or a row for a header?"
        )
    if not (z != z[0]).any():
        raise ValueError(f"{codes}: none of the columns {names} varies. Metrics need a code that does.")
    return Sample(z, v, about)


def read_codes(path: str | Path, header: bool | None = None) -> tuple[Float[np.ndarray, "N D"], list[str]]:
    """A table of numbers and the names of its columns (``z1``, ``z2``, … without a header).

    Args:
        path: a CSV file; commas, semicolons or tabs part its columns.
        header: whether the first line names the columns; None: if it holds a word.

    Raises:
        ValueError: a cell that is empty, no number or not finite, rows of another length, fewer than two rows.
    """
    cells = _read(Path(path), header, "z")
    return _numbers(cells, range(len(cells.names))), cells.names


def read_factors(path: str | Path, reading: Reading = Reading()) -> tuple[Float[np.ndarray, "N K"], tuple[Factor, ...]]:
    """A table of factors, and what each column is taken for.

    Words are categorical. Numbers are ordinal: their different values, in order. Continuous are fractions
    with more than 50 different values, or more than half of the rows different, and whole numbers with both.

    Args:
        path: a CSV file; commas, semicolons or tabs part its columns.
        reading: what is not to be guessed.

    Raises:
        ValueError: a cell that is empty or not finite, words where numbers were promised, a factor with one value, a
            column that is spoken of and is not there, rows of another length, fewer than two rows.
    """
    cells = _read(Path(path), reading.header, "v")
    for name in (*reading.categorical, *reading.continuous, *reading.periodic):
        if name not in cells.names:
            raise ValueError(f"{path}: {unknown('column', name, cells.names)}")
    made = [_factor(cells, k, reading) for k in range(len(cells.names))]
    return np.stack([column for column, _ in made], 1), tuple(factor for _, factor in made)


def _factor(cells: _Cells, k: int, reading: Reading) -> tuple[Float[np.ndarray, " N"], Factor]:
    name, texts = cells.names[k], [row[k] for row in cells.rows]
    for row, text in enumerate(texts):
        if not text:
            raise ValueError(f"{cells.at(row, k)} is empty. A factor must be known in every row.")
    if len(set(texts)) == 1:
        raise ValueError(
            f"{cells.path}, column {name!r}: all {len(texts)} rows are {texts[0]!r}. Nothing can be known about a "
            f"constant factor: leave the column out."
        )
    promised = name in reading.continuous or name in reading.periodic
    if name in reading.categorical or (not promised and not all(map(_is_number, texts))):
        values = sorted(set(texts))
        number = {value: i for i, value in enumerate(values)}
        return np.array([number[text] for text in texts], float), Factor(name, "categorical", values=tuple(values))
    column = _numbers(cells, [k])[:, 0]
    if column.min() == column.max():
        raise ValueError(f"{cells.path}, column {name!r}: all rows are {column[0]:g}. Leave a constant factor out.")
    return _of_numbers(name, column, reading)


def _of_numbers(name: str, column: Float[np.ndarray, " N"], reading: Reading) -> tuple[Float[np.ndarray, " N"], Factor]:
    values, numbers = np.unique(column, return_inverse=True)
    fractions = bool((column != np.floor(column)).any())
    period = reading.periodic.get(name)
    steps = np.diff(values)
    even = bool(np.allclose(steps, steps[0]))
    rare, fine = len(values) > len(column) / 2, len(values) > _GRID
    many = (fine or rare) if fractions else (fine and rare)
    if name in reading.continuous or many or (period is not None and not even):
        low, high = float(values[0]), float(values[-1])
        return column, Factor(name, "continuous", low=low, high=high, period=period)
    turns = None if period is None else period / float(steps[0])
    shown = tuple(float(v) if fractions else int(v) for v in values)
    return numbers.astype(float), Factor(name, "ordinal", values=shown, period=turns)


def _numbers(cells: _Cells, columns: Sequence[int]) -> Float[np.ndarray, "N C"]:
    out = np.empty((len(cells.rows), len(columns)))
    for i, row in enumerate(cells.rows):
        for j, k in enumerate(columns):
            if not row[k]:
                raise ValueError(f"{cells.at(i, k)} is empty. Wanted a number.")
            if not _is_number(row[k]):
                raise ValueError(f"{cells.at(i, k)}: {row[k]!r} is no number.")
            out[i, j] = float(row[k])
            if not isfinite(out[i, j]):
                raise ValueError(f"{cells.at(i, k)} is {row[k]}. Every number must be finite; leave such rows out.")
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(path: Path, header: bool | None, letter: str) -> _Cells:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: wanted a CSV file.") from None
    first = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(), delimiter=next((d for d in "\t;" if d in first), ","))
    filled = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    if not filled:
        raise ValueError(f"{path} is empty: wanted a line for each datum.")
    lines, rows = [line for line, _ in filled], [row for _, row in filled]
    for line, row in filled:
        if len(row) != len(rows[0]):
            raise ValueError(f"{path}, line {line}: {len(row)} columns, but line {lines[0]} has {len(rows[0])}.")
    if _has_header(rows) if header is None else header:
        names, rows, lines = rows[0], rows[1:], lines[1:]
    else:
        names = [f"{letter}{k + 1}" for k in range(len(rows[0]))]
    if len(rows) < 2:
        raise ValueError(f"{path}: wanted at least two rows of data, got {len(rows)}.")
    if "" in names:
        raise ValueError(
            f"{path}: column {names.index('') + 1} has no name. Is it an index? Leave it out (pandas: index=False)."
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two columns are called {twice!r}.")
    return _Cells(path, names, rows, lines)


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first line names columns: words over numbers, or words that never come again."""
    first, rest = rows[0], rows[1:]
    if any(map(_is_number, first)) or not rest:
        return False
    if any(_is_number(cell) for cell in rest[0]):
        return True
    return all(name not in {row[k] for row in rest} for k, name in enumerate(first))
