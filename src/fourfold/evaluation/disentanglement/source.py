"""Where metrics that hold a factor fixed take their codes from: a table, or a model and a simulator."""

__all__ = ["Encode", "Sampled", "Source", "Tabled"]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from ..._checks import positive_int
from ...data.factors import Factor
from .bins import BINS, labels_of
from .sample import Sample
from .score import NotApplicable

#: From factors, ``(n, K)``, to codes, ``(n, D)``: a simulator followed by an encoder, or a control.
Encode = Callable[[np.ndarray], np.ndarray]


@runtime_checkable
class Source(Protocol):
    """What gives codes with their factors, and codes of data that share the value of one factor."""

    @property
    def about(self) -> tuple[Factor, ...]:
        """The factors."""
        ...

    @property
    def latents(self) -> int:
        """How many codes a datum has."""
        ...

    def draw(self, n: int, rng: np.random.Generator) -> Sample:
        """A sample of n data, or of all that there are."""
        ...

    def parts(self, train: int, test: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Two samples: one to fit on, one to judge by."""
        ...

    def alike(self, factor: int, groups: int, size: int, rng: np.random.Generator) -> Float[np.ndarray, "G S D"]:
        """Codes of groups of data; in each group all have the same value of this factor, a new one for each group."""
        ...

    def recoded(self, encode: Encode) -> "Source":
        """The same data with other codes, made from their factors."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A model and a simulator: factors are drawn, and encoded anew, as often as a metric asks.

    To hold a factor fixed, its column is overwritten in a draw of all factors: the rest is what it would be anyway only
    if the factors are independent.

    Args:
        about: the factors.
        encode: from factors, ``(n, K)``, to codes, ``(n, D)``: rendered, then encoded. It is given tens of thousands
            of rows at once, and cuts them into batches itself.
        factors: ``factors(n, rng)`` draws factors, ``(n, K)``; None draws each value, or all of a range, alike, and
            each factor independently.

    Raises:
        ValueError: no factor, or one with a single value: leave that out.

    Example:
        >>> shape, x = Factor("shape", "categorical", ("disc", "bar")), Factor("x", "ordinal", (0, 1, 2))
        >>> exact = Sampled((shape, x), lambda factors: factors.astype(float))
        >>> groups = exact.alike(1, 5, 4, np.random.default_rng(0))
        >>> groups.shape, float(np.ptp(groups[:, :, 1], axis=1).max())
        ((5, 4, 2), 0.0)
    """

    about: tuple[Factor, ...]
    encode: Encode
    factors: Callable[[int, np.random.Generator], np.ndarray] | None = None

    def __post_init__(self) -> None:
        still = [factor.name for factor in self.about if factor.size == 1]
        if still or not self.about:
            raise ValueError(f"Sampled: wanted at least one factor, each of at least two values; leave out {still}.")

    @property
    def latents(self) -> int:
        """How many codes a datum has: found by encoding two."""
        return self.encode(self._factors(2, np.random.default_rng(0))).shape[1]

    def _factors(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n K"]:
        if self.factors is not None:
            return np.asarray(self.factors(n, rng), np.float64)
        return np.stack([_uniform(factor, n, rng) for factor in self.about], 1)

    def draw(self, n: int, rng: np.random.Generator) -> Sample:
        """A sample of n data, with replacement."""
        factors = self._factors(positive_int(n, "Sampled.draw: n"), rng)
        return Sample(self.encode(factors), factors, self.about)

    def parts(self, train: int, test: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Two samples, each drawn with replacement."""
        return self.draw(train, rng), self.draw(test, rng)

    def alike(self, factor: int, groups: int, size: int, rng: np.random.Generator) -> Float[np.ndarray, "G S D"]:
        """Codes of groups of data that share the value of this factor."""
        drawn = self._factors(groups * size, rng).reshape(groups, size, -1)
        drawn[:, :, factor] = drawn[:, :1, factor]
        codes = self.encode(drawn.reshape(groups * size, -1))
        return np.asarray(codes, np.float64).reshape(groups, size, -1)

    def recoded(self, encode: Encode) -> "Sampled":
        """The same factors, encoded otherwise."""
        return Sampled(self.about, encode, self.factors)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Like:
    """Rows in order of their class; of each row, how many are like it, where they begin, and its place among them."""

    order: np.ndarray
    count: np.ndarray
    start: np.ndarray
    place: np.ndarray
    usable: np.ndarray  # rows that are not the only ones of their class


def _like(of: Int[np.ndarray, " N"]) -> _Like:
    order, counts = np.argsort(of, kind="stable"), np.bincount(of)
    start = (np.cumsum(counts) - counts)[of]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return _Like(order, counts[of], start, place - start, np.flatnonzero(counts[of] > 1))


def _uniform(factor: Factor, n: int, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    if factor.size is not None:
        return rng.integers(factor.size, size=n).astype(np.float64)
    assert factor.low is not None and factor.high is not None  # Factor has seen to it
    return rng.uniform(factor.low, factor.high, n)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tabled:
    """A table of rows: what is not in it cannot be drawn.

    To hold a factor fixed, rows are drawn from those with the same value of it; of a continuous factor, with a value in
    the same of 20 bins. The first row of a group is any row of the table, and the others are never that row, so that no
    code is compared with itself.

    Args:
        sample: codes and factors.

    Example:
        >>> v = np.array([[0], [0], [1], [1]])
        >>> table = Tabled(Sample(v + 0.5, v, (Factor("side", "ordinal", ("left", "right")),)))
        >>> float(np.ptp(table.alike(0, 3, 2, np.random.default_rng(0)), axis=1).max())
        0.0
    """

    sample: Sample
    _like: tuple["_Like", ...] = field(default=(), repr=False)  # of the factors: other codes of the same rows share it

    def __post_init__(self) -> None:
        if not self._like:
            pairs = zip(self.sample.about, self.sample.factors.T, strict=True)
            object.__setattr__(self, "_like", tuple(_like(labels_of(factor, column, BINS)) for factor, column in pairs))

    @property
    def about(self) -> tuple[Factor, ...]:
        """The factors."""
        return self.sample.about

    @property
    def latents(self) -> int:
        """How many codes a datum has."""
        return self.sample.latents

    def draw(self, n: int, rng: np.random.Generator) -> Sample:
        """n rows, each once, or the whole table if it has no more."""
        if n >= len(self.sample):
            return self.sample
        return self.sample.take(np.sort(rng.permutation(len(self.sample))[:n]))

    def parts(self, train: int, test: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Two samples of other rows; of a table with fewer rows, two thirds and one third of them, or as asked."""
        n = len(self.sample)
        if train + test > n:
            train = min(max(round(n * train / (train + test)), 2), n - 2)
            test = n - train
        rows = rng.permutation(n)
        first, second = np.sort(rows[:train]), np.sort(rows[train : train + test])
        try:
            return self.sample.take(first), self.sample.take(second)
        except ValueError as error:
            raise ValueError(
                f"Tabled.parts: a table of {n} rows cannot be parted into {train} to fit and {test} to judge: {error} "
                f"Give more rows."
            ) from None

    def alike(self, factor: int, groups: int, size: int, rng: np.random.Generator) -> Float[np.ndarray, "G S D"]:
        """Codes of groups of rows that share the value, or the bin, of this factor."""
        like = self._like[factor]
        if not len(like.usable):
            raise NotApplicable(
                f"Tabled.alike: no two rows share a value of factor {self.about[factor].name!r}, so it cannot be held "
                f"fixed. Give more rows, or make the factor continuous."
            )
        first = rng.choice(like.usable, groups)
        count, start, place = (each[first, None] for each in (like.count, like.start, like.place))
        step = 1 + rng.integers(np.broadcast_to(count - 1, (groups, size - 1)))
        others = like.order[start + (place + step) % count]
        return self.sample.codes[np.concatenate([first[:, None], others], 1)]

    def recoded(self, encode: Encode) -> "Tabled":
        """The same rows with other codes."""
        return Tabled(Sample(encode(self.sample.factors), self.sample.factors, self.sample.about), self._like)
