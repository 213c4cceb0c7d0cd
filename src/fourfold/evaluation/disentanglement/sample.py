"""Codes beside the factors that made the data: the table that metrics of disentanglement are of."""

__all__ = ["Sample", "checked_codes", "checked_factors", "kept_factors"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ..._checks import unknown
from ...data.factors import Factor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """N data: the codes of each, and the factors that each was made from.

    Codes that do not vary (dead latents) are allowed, as long as one varies: they carry no information, and metrics say
    what they make of them. A factor that does not vary is refused: nothing could be known about it, and some averages
    over factors would divide by its entropy.

    Args:
        codes: z, ``(N, D)``: one row for each datum, one column for each latent.
        factors: v, ``(N, K)``: of a discrete factor the number of a value, of a continuous one the value.
        about: what the K columns are.

    Raises:
        ValueError: fewer than two rows, rows that do not match, numbers that are not finite, no code that varies, a
            factor that does not, a number that stands for no value of its factor, names that are not K different ones.

    Example:
        >>> scale = Factor("scale", "ordinal", values=(0.5, 1.0))
        >>> Sample(np.array([[0.1, 0.0], [0.9, 0.0]]), np.array([[0], [1]]), (scale,)).latents
        2
    """

    codes: np.ndarray
    factors: np.ndarray
    about: tuple[Factor, ...]

    def __post_init__(self) -> None:
        codes, factors = checked_codes(self.codes, "Sample: codes"), _numbers(self.factors, "Sample: factors")
        if len(codes) != len(factors):
            raise ValueError(
                f"Sample: codes have {len(codes)} rows and factors {len(factors)}. Each datum is one row of both: "
                f"codes are (N, D), factors (N, K). Is one transposed, or in another order?"
            )
        if not codes.shape[1] or not (codes != codes[0]).any():
            raise ValueError(f"Sample: none of the {codes.shape[1]} codes varies. Metrics need one that does.")
        checked_factors(factors, self.about, "Sample")
        for name, array in (("codes", codes), ("factors", factors)):
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def latents(self) -> int:
        """D, how many codes there are, dead ones too."""
        return self.codes.shape[1]

    def take(self, rows: np.ndarray) -> "Sample":
        """These rows."""
        return Sample(self.codes[rows], self.factors[rows], self.about)

    def without(self, names: Sequence[str]) -> "Sample":
        """The same without the factors of these names."""
        if not names:
            return self
        kept = kept_factors(self.about, names, "Sample.without")
        return Sample(self.codes, self.factors[:, kept], tuple(self.about[k] for k in kept))


def kept_factors(about: Sequence[Factor], exclude: Sequence[str], where: str) -> list[int]:
    """The numbers of the factors that are not excluded by their names."""
    known = [factor.name for factor in about]
    for name in exclude:
        if name not in known:
            raise ValueError(f"{where}: exclude: {unknown('factor', name, known)}")
    kept = [k for k, name in enumerate(known) if name not in exclude]
    if not kept:
        raise ValueError(f"{where}: exclude leaves no factor of {known}.")
    return kept


def checked_codes(codes: np.ndarray, where: str) -> np.ndarray:
    """Codes as an ``(N, D)`` array of float64, finite, with at least two rows."""
    array = _numbers(codes, where)
    if len(array) < 2:
        raise ValueError(f"{where}: wanted at least two rows, got {len(array)}.")
    return array


def checked_factors(factors: np.ndarray, about: Sequence[Factor], where: str) -> None:
    """Complains of columns that are not what the factors say they are."""
    if len(about) != factors.shape[1]:
        raise ValueError(f"{where}: factors have {factors.shape[1]} columns, but about tells of {len(about)}.")
    names = [factor.name for factor in about]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{where}: wanted at least one factor, each with a name of its own, got {names}.")
    for factor, column in zip(about, factors.T, strict=True):
        if (column == column[0]).all():
            raise ValueError(
                f"{where}: factor {factor.name!r} is constant ({column[0]:g} in all {len(column)} rows): nothing can "
                f"be known about it. Leave it out."
            )
        if factor.size is not None:
            wrong = np.flatnonzero((column != np.floor(column)) | (column < 0) | (column >= factor.size))
            if len(wrong):
                raise ValueError(
                    f"{where}: row {wrong[0]}, factor {factor.name!r}: {column[wrong[0]]:g} is no number of a value, "
                    f"0 to {factor.size - 1}. A {factor.kind} column holds numbers of values; make the factor "
                    f"continuous if it holds the values."
                )


def _numbers(given: np.ndarray, where: str) -> np.ndarray:
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: wanted a table of numbers, as many in each row.") from None
    if array.ndim != 2:
        raise ValueError(f"{where}: wanted two dimensions, (rows, columns), got the shape {array.shape}.")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{where}: row {row}, column {column} is {array[row, column]}. Every number must be finite.")
    return array
