"""Is one model better than another? Means of differences with their uncertainty, and a verdict."""

__all__ = ["Comparison", "every_pair", "holm", "paired", "unpaired"]

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import erfc, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from .._checks import choice, positive, positive_int
from .._metrics import rounded
from ..noise import Noise

_FEWEST = 2000
_FEW = 30  # data of which a bootstrap is too sure
_AT_ONCE = 4_000_000  # numbers drawn at a time
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference of means, A − B, and how sure it is.

    Attributes:
        difference: the mean of A less that of B, in the metric's own sign.
        standard_error: of the difference; ``None`` where some numbers are not finite.
        interval: of the difference, at the level; ``None`` where some numbers are not finite.
        p_value: that a difference at least so large comes by chance; 1 where some numbers are not finite.
        adjusted_p: the same for one of several comparisons, see :func:`holm`; the verdict goes by it.
        n: data, in pairs; or numbers of A.
        m: numbers of B, where there are no pairs.
        better: ``"lower"`` or ``"higher"``; ``None`` where neither is better.
        level: of the interval; a difference is told where ``adjusted_p`` is at most 1 − level.
        method: how the interval and the p-value were found.
        non_finite: how many of the numbers are not finite. None is left out.
    """

    difference: float
    standard_error: float | None
    interval: tuple[float, float] | None
    p_value: float
    adjusted_p: float
    n: int
    m: int | None
    better: str | None
    level: float
    method: str
    non_finite: int = 0

    @property
    def advantage(self) -> float:
        """By how much A is better; where neither is better, by how much it is higher."""
        return -self.difference if self.better == "lower" else self.difference

    @property
    def advantage_interval(self) -> tuple[float, float] | None:
        """The interval of the advantage."""
        if self.interval is None or self.better != "lower":
            return self.interval
        return -self.interval[1], -self.interval[0]

    @property
    def leader(self) -> int | None:
        """0 if A is better (or higher), 1 if B is, ``None`` where no difference can be told."""
        if self.standard_error is None or self.adjusted_p > 1 - self.level:
            return None
        return 0 if self.advantage > 0 else 1

    def verdict(self, names: tuple[str, str] = ("A", "B"), unit: str = "nats") -> str:
        """The answer in one sentence, with one sign: the leader's advantage, or that of A where none leads."""
        if self.standard_error is None or self.advantage_interval is None:
            return f"nothing can be told: {self.non_finite} of the numbers are not finite"
        sign, (low, high) = (-1 if self.leader == 1 else 1), self.advantage_interval
        low, high = (-high, -low) if sign < 0 else (low, high)
        value, error = rounded(sign * self.advantage, self.standard_error)
        digits = len(value.partition(".")[2])
        by = f"{value} ± {error}" if error else value
        by = f"{by} {unit} ({self.level * 100:g} % interval {low:.{digits}f} … {high:.{digits}f})".replace("-", "−")
        word = "better" if self.better else "higher"
        told = f"{names[self.leader or 0]} is {word} by {by}"
        return told if self.leader is not None else f"no difference can be told: {told}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | ({} if self.standard_error is not None else {"difference": str(self.difference)})


def paired(
    a: ArrayLike,
    b: ArrayLike,
    *,
    better: str | None = "lower",
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Comparison:
    r"""The mean difference of two numbers of each datum, such as the NLL under two models.

    .. math:: \bar d = \frac1N \sum_i (a_i - b_i), \qquad
        \mathrm{s.e.} = \sqrt{\frac{1}{N (N - 1)} \sum_i (d_i - \bar d)^2}

    Data differ far more from one another than models do on one of them, so this error is much smaller than those of
    the two means. The interval is the bias-corrected and accelerated bootstrap's, over data; the p-value is its
    inverse: at most 1 − level exactly where the interval leaves out 0. Where no resample comes near 0, the p-value is
    that of a normal, as no number of resamples could tell one so small. Of fewer than 30 data the bootstrap is too sure
    (of two, it finds a difference where there is none every other time); interval and p-value are Student's t then.

    It is an error over data. Another seed of training moves a model too, and nothing in the numbers says by how much;
    for that, see :func:`unpaired`.

    Args:
        a: numbers of the data under A, ``(N,)``.
        b: numbers of the same data, in the same order, under B.
        better: ``"lower"`` (an NLL) or ``"higher"`` (an ELBO); ``None`` where neither is better (a rate).
        level: of the interval.
        resamples: of the bootstrap, at least 2000.
        seed: of the bootstrap.

    Raises:
        ValueError: numbers that are not two arrays of one length of at least 2, or options out of range.

    References:
        Efron 1987, "Better bootstrap confidence intervals", for the interval.

    Example:
        >>> nll = np.random.default_rng(0).normal(90, 20, 1000)
        >>> better = nll - 0.8 + np.random.default_rng(1).normal(0, 3, 1000)
        >>> paired(better, nll).verdict(("iwae", "vae"))
        'iwae is better by 0.963 ± 0.094 nats (95 % interval 0.778 … 1.145)'
    """
    return every_pair((a, b), better=better, level=level, resamples=resamples, seed=seed)[0, 1]


def every_pair(
    numbers: Sequence[ArrayLike],
    *,
    better: str | None = "lower",
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> dict[tuple[int, int], Comparison]:
    """Every pair of several models as in :func:`paired`, on the same resamples; p-values adjusted by :func:`holm`.

    The intervals are those of each pair by itself. Arguments and errors as in ``paired``.
    """
    _check(better, level)
    if positive_int(resamples, "paired: resamples") < _FEWEST:
        raise ValueError(f"paired: resamples must be at least {_FEWEST}, got {resamples}: fewer give no stable ends.")
    arrays = [np.asarray(one, dtype=np.float64) for one in numbers]
    if len(arrays) < 2 or arrays[0].ndim != 1 or len(arrays[0]) < 2 or len({one.shape for one in arrays}) > 1:
        raise ValueError(
            "paired: wanted arrays (N,) of one length of at least 2, one number for each of the same data, "
            f"got {', '.join(str(one.shape) for one in arrays)}."
        )
    pairs = list(combinations(range(len(arrays)), 2))
    with np.errstate(invalid="ignore"):  # inf − inf: counted, not hidden
        columns = [arrays[i] - arrays[j] for i, j in pairs]
    finite = [column if np.isfinite(column).all() else np.zeros_like(column) for column in columns]
    method = f"BCa bootstrap over data, {resamples} resamples, seed {seed}"
    if len(arrays[0]) < _FEW:
        found = [_of_few(d, better, level) for d in columns]
    else:
        means = _resampled(np.stack(finite, 1), resamples, seed)
        found = [_of_differences(d, drawn, better, level, method) for d, drawn in zip(columns, means.T, strict=True)]
    adjusted = holm([one.p_value for one in found])
    return {pair: replace(one, adjusted_p=p) for pair, one, p in zip(pairs, found, adjusted, strict=True)}


def unpaired(a: ArrayLike, b: ArrayLike, *, better: str | None = "lower", level: float = 0.95) -> Comparison:
    r"""The difference of the means of two groups, such as the test NLL of runs of two recipes with several seeds.

    .. math:: \bar a - \bar b, \qquad \mathrm{s.e.} = \sqrt{s_a^2 / n_a + s_b^2 / n_b}

    with Student's t of Welch's degrees of freedom. Of three seeds each the error itself is known badly, and the
    interval is wide: that is the truth of it.

    Args:
        a: a number for each run of A.
        b: a number for each run of B.
        better: as in :func:`paired`.
        level: of the interval.

    Raises:
        ValueError: fewer than two numbers in a group, or options out of range.

    References:
        Welch 1947, "The generalization of Student's problem when several different population variances are involved".

    Example:
        >>> unpaired([1.0, 1.2, 1.1], [2.0, 2.3, 1.9]).verdict()
        'A is better by 0.97 ± 0.13 nats (95 % interval 0.53 … 1.40)'
    """
    from scipy.stats import t

    _check(better, level)
    groups = [np.asarray(one, dtype=np.float64) for one in (a, b)]
    if any(group.ndim != 1 or len(group) < 2 for group in groups):
        raise ValueError(
            f"unpaired: wanted at least 2 numbers in each group, got {', '.join(str(g.shape) for g in groups)}."
        )
    with np.errstate(invalid="ignore"):
        difference = float(groups[0].mean() - groups[1].mean())
    n, m = map(len, groups)
    broken = int(sum((~np.isfinite(group)).sum() for group in groups))
    method = "Welch's t over runs"
    if broken:
        return Comparison(difference, None, None, 1.0, 1.0, n, m, better, level, method, broken)
    parts = [float(group.var(ddof=1) / len(group)) for group in groups]
    error = sqrt(sum(parts))
    if not error:
        p = float(difference == 0)
        return Comparison(difference, 0.0, (difference, difference), p, p, n, m, better, level, method)
    freedom = error**4 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    half, p = float(t.isf((1 - level) / 2, freedom)) * error, 2 * float(t.sf(abs(difference) / error, freedom))
    span, method = (difference - half, difference + half), f"{method}, {freedom:.1f} degrees of freedom"
    return Comparison(difference, error, span, p, p, n, m, better, level, method)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, adjusted so that the chance of even one false finding among them stays the level.

    The k-th smallest of m is multiplied by m − k + 1, and none comes out smaller than those before it.

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure".

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _check(better: str | None, level: float) -> None:
    choice(better, ("lower", "higher", None), "paired: better")
    if not 0.5 <= positive(level, "paired: level") <= 0.999:
        raise ValueError(f"paired: level must be from 0.5 to 0.999, got {level}.")


def _resampled(columns: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of the columns ``(N, C)`` over N data drawn with replacement, the same for all: ``(resamples, C)``."""
    n, noise, means = len(columns), Noise(seed, stream="bootstrap"), []
    values = torch.from_numpy(columns)
    at_once = max(_AT_ONCE // n, 1)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = noise.uniform((rows, n), dtype=torch.float64).mul_(n).long()
        drawn += n * torch.arange(rows)[:, None]
        counts = torch.bincount(drawn.flatten(), minlength=rows * n).view(rows, n)
        means.append(counts.double() @ values / n)
    return torch.cat(means).numpy()


def _of_few(d: np.ndarray, better: str | None, level: float) -> Comparison:
    """The comparison that a few differences ``(N,)`` give: Student's t, exact where they are normal."""
    from scipy.stats import t

    n, method = len(d), f"Student's t over {len(d)} data"
    simple = _simple(d, better, level, method)
    if simple:
        return simple
    mean, error = float(d.mean()), float(d.std(ddof=1) / sqrt(n))
    half, p = float(t.isf((1 - level) / 2, n - 1)) * error, 2 * float(t.sf(abs(mean) / error, n - 1))
    return Comparison(mean, error, (mean - half, mean + half), p, p, n, None, better, level, method)


def _simple(d: np.ndarray, better: str | None, level: float, method: str) -> Comparison | None:
    """The comparison of differences that are not all finite, or all the same; ``None`` of others."""
    n, broken = len(d), int((~np.isfinite(d)).sum())
    with np.errstate(invalid="ignore"):
        mean = float(d.mean())
    if broken:
        return Comparison(mean, None, None, 1.0, 1.0, n, None, better, level, method, broken)
    if not d.std(ddof=1):
        p = float(mean == 0)
        return Comparison(mean, 0.0, (mean, mean), p, p, n, None, better, level, method)
    return None


def _of_differences(d: np.ndarray, means: np.ndarray, better: str | None, level: float, method: str) -> Comparison:
    """The comparison that differences ``(N,)`` and the means of their resamples give."""
    simple = _simple(d, better, level, method)
    if simple:
        return simple
    n, mean, error = len(d), float(d.mean()), float(d.std(ddof=1) / sqrt(len(d)))
    interval, p = _bca(d, means, mean, level)
    if not (means <= 0).any() or not (means >= 0).any():
        p = min(p, erfc(abs(mean) / error / sqrt(2)))
    return Comparison(mean, error, interval, p, p, n, None, better, level, method)


def _bca(d: np.ndarray, means: np.ndarray, mean: float, level: float) -> tuple[tuple[float, float], float]:
    """The BCa interval, and the p-value that is its inverse: at most 1 − level where 0 is outside of it.

    Both count in ranks among one more than the resamples, so that one is the inverse of the other exactly.
    """
    ordered, ranks = np.sort(means), len(means) + 1
    centred = d - mean
    below = (np.count_nonzero(means < mean) + 0.5 * np.count_nonzero(means == mean)) / len(means)
    bias = _quantile(below, ranks)
    acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))

    def moved(z: float) -> float:
        return _NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))

    def back(share: float) -> float:
        u = _quantile(share, ranks) - bias
        return _NORMAL.cdf(u / (1 + acceleration * u) - bias)

    z = _NORMAL.inv_cdf((1 + level) / 2)
    low = ordered[max(int(ranks * moved(-z)), 1) - 1]
    high = ordered[-max(int(ranks * (1 - moved(z))), 1)]
    left = back((np.count_nonzero(means <= 0) + 1) / ranks)
    right = 1 - back(1 - (np.count_nonzero(means >= 0) + 1) / ranks)
    return (float(low), float(high)), min(1.0, 2 * left, 2 * right)


def _quantile(share: float, ranks: int) -> float:
    return _NORMAL.inv_cdf(min(max(share, 1 / ranks), 1 - 1 / ranks))
