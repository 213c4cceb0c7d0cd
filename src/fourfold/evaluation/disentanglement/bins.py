"""Numbers as classes: equal-width bins of codes, and factors as labels or as columns of a regression."""

__all__ = ["BINS", "columns", "equal_width", "labels", "labels_of", "standardised"]

import numpy as np
from jaxtyping import Float, Int

from ...data.factors import Factor
from .sample import Sample

BINS = 20  # of Locatello et al. 2019, for codes and for continuous factors


def equal_width(values: Float[np.ndarray, "N D"], bins: int = BINS) -> Int[np.ndarray, "N D"]:
    """The bin of each number, 0 … bins − 1: equally wide bins from the least to the greatest number of each column.

    A column that does not vary falls into one bin. Bins hang on two numbers: one outlier can put all others
    into a single bin.
    """
    out = np.empty(values.shape, np.int64)
    for j, column in enumerate(values.T):
        low, high = column.min(), column.max()
        edges = np.linspace(low, high, bins + 1)[1:-1]
        out[:, j] = np.searchsorted(edges, column, side="right") if low < high else 0
    return out


def labels(sample: Sample, bins: int = BINS) -> Int[np.ndarray, "N K"]:
    """Each factor as classes: a discrete one as it is, a continuous one in equally wide bins.

    The bins of a periodic continuous factor lie on its circle, and begin at its least value.
    """
    return np.stack([labels_of(f, c, bins) for f, c in zip(sample.about, sample.factors.T, strict=True)], 1)


def labels_of(factor: Factor, column: Float[np.ndarray, " N"], bins: int = BINS) -> Int[np.ndarray, " N"]:
    """One factor as classes."""
    if factor.discrete:
        return column.astype(np.int64)
    if factor.period is not None and factor.low is not None:
        turn = np.mod(column - factor.low, factor.period) / factor.period
        return np.minimum((turn * bins).astype(np.int64), bins - 1)
    return equal_width(column[:, None], bins)[:, 0]


def columns(factor: Factor, column: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N C"]:
    """One factor as the columns that a linear model can use.

    A categorical factor is one column of 0 and 1 for each value but the first, a periodic one its cosine and its sine,
    any other the number itself.
    """
    if factor.kind == "categorical":
        return (column[:, None] == np.arange(1, factor.size or 1)).astype(np.float64)
    if factor.period is not None:
        angle = 2 * np.pi * column / factor.period
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    return column[:, None]


def standardised(
    values: Float[np.ndarray, "N D"], like: Float[np.ndarray, "M D"] | None = None
) -> Float[np.ndarray, "N D"]:
    """Each column less its mean, in units of its standard deviation (those of ``like``); a constant one becomes 0."""
    base = values if like is None else like
    alive = base.max(0) > base.min(0)  # the deviation of a constant column can be a rounding error
    return np.where(alive, (values - base.mean(0)) / np.where(alive, base.std(0), 1.0), 0.0)
