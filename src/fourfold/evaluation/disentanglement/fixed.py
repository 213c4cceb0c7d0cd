"""Metrics that hold one factor fixed: those of β-VAE and of FactorVAE."""

__all__ = ["BETA_DLIB", "BETA_HIGGINS", "FACTOR_DLIB", "BetaProtocol", "FactorProtocol", "beta_vae", "factor_vae"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from ..._checks import non_negative, positive_int
from .learning import logistic
from .sample import kept_factors
from .score import NotApplicable, Score, Tick
from .source import Source

_CODES_AT_ONCE = 1 << 15


@final
@dataclass(frozen=True, slots=True)
class BetaProtocol:
    """How the metric of β-VAE is found.

    Args:
        name: what the score is called.
        pairs: L, pairs of data that one point is the mean of.
        train: points that the classifier is fitted to.
        test: points that it is judged by.
        exclude: names of factors that are not asked for.
    """

    name: str = "beta_vae_dlib"
    pairs: int = 64
    train: int = 10_000
    test: int = 5_000
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("pairs", "train", "test"):
            positive_int(getattr(self, field), f"BetaProtocol: {field}")


#: Of Locatello et al. 2019.
BETA_DLIB = BetaProtocol()
#: Of Higgins et al. 2017, but for the classifier; they also leave out the shape of dSprites: ``exclude=("shape",)``.
BETA_HIGGINS = BetaProtocol("beta_vae_higgins", pairs=200)


def beta_vae(
    source: Source, rng: np.random.Generator, protocol: BetaProtocol = BETA_DLIB, tick: Tick | None = None
) -> Score:
    r"""The metric of β-VAE: can a linear classifier tell which factor was held fixed?

    .. math:: z_{\mathrm{diff}} = \frac1L \sum_{l=1}^L |z_{1,l} - z_{2,l}|, \qquad
        \text{accuracy of } \hat y(z_{\mathrm{diff}})

    where the two data of each pair share the value of factor y, anew in each pair, and differ in the others as they
    come. It saturates and hardly sees rotations: a perfect code of dSprites' factors, randomly rotated, has 0.90. A
    random code has one over the number of factors.

    The classifier is scikit-learn's multinomial logistic regression with its defaults, as in Locatello et al. 2019;
    Higgins et al. train a linear one by Adagrad, discard the worse half of 30 scores, and that makes theirs hard to
    compare with any other.

    Args:
        source: a table, or a model and a simulator.
        rng: where factors, rows and pairs are drawn from.
        protocol: L, points, factors left out.
        tick: told how many points are made: each asks for 2L codes, in all 1.9 million of the default protocol.

    Raises:
        NotApplicable: fewer than two factors.

    References:
        Higgins et al. 2017, "β-VAE"; Locatello et al. 2019, arXiv:1811.12359.
    """
    kept = _kept(source, protocol.exclude, protocol.name)
    made = _counter(tick, protocol.train + protocol.test)
    x, y = _points(source, kept, (protocol.train, protocol.pairs), rng, made)
    model = logistic(x, y)
    x, y = _points(source, kept, (protocol.test, protocol.pairs), rng, made)
    right = model.predict(x) == y

    def again(rng: np.random.Generator) -> float:
        return float(right[rng.integers(len(right), size=len(right))].mean())

    said = (
        f"L = {protocol.pairs}, {protocol.train} points to fit, {protocol.test} to judge, logistic regression, factors "
        f"{', '.join(source.about[k].name for k in kept)}"
    )
    resampled = "the points that judge; the classifier stays as it is"
    return Score(protocol.name, float(right.mean()), said, protocol.test, resampled, again)


def _points(
    source: Source,
    kept: Sequence[int],
    wanted: tuple[int, int],
    rng: np.random.Generator,
    made: Callable[[int], None],
) -> tuple[Float[np.ndarray, "n D"], Int[np.ndarray, " n"]]:
    n, pairs = wanted
    y = rng.integers(len(kept), size=n)
    x = np.empty((n, source.latents))
    most = max(1, _CODES_AT_ONCE // (2 * pairs))
    for number, factor in enumerate(kept):
        rows = np.flatnonzero(y == number)
        for chunk in np.split(rows, range(most, len(rows), most)):
            codes = source.alike(factor, len(chunk) * pairs, 2, rng)
            x[chunk] = np.abs(codes[:, 0] - codes[:, 1]).reshape(len(chunk), pairs, -1).mean(1)
            made(len(chunk))
    return x, y


@final
@dataclass(frozen=True, slots=True)
class FactorProtocol:
    """How the metric of FactorVAE is found.

    Args:
        name: what the score is called.
        batch: data that share the value of the factor, for one vote.
        train: votes that make the table.
        test: votes that are judged by it.
        variance: data that the variance of each code is of.
        least_std: codes whose standard deviation is below have no vote; in the units of the codes.
    """

    name: str = "factor_vae"
    batch: int = 64
    train: int = 10_000
    test: int = 5_000
    variance: int = 10_000
    least_std: float = 0.05

    def __post_init__(self) -> None:
        for field in ("batch", "train", "test", "variance"):
            positive_int(getattr(self, field), f"FactorProtocol: {field}")
        non_negative(self.least_std, "FactorProtocol: least_std")
        if self.batch < 2 or self.variance < 2:
            raise ValueError("FactorProtocol: a variance wants at least two: batch and variance must be 2 or more.")


#: Of Locatello et al. 2019.
FACTOR_DLIB = FactorProtocol()


def factor_vae(
    source: Source, rng: np.random.Generator, protocol: FactorProtocol = FACTOR_DLIB, tick: Tick | None = None
) -> Score:
    r"""The metric of FactorVAE: does the code that varies least tell which factor was held fixed?

    .. math:: d = \arg\min_j \frac{\mathrm{Var}_{\mathrm{batch}}[z_j]}{\mathrm{Var}[z_j]}, \qquad
        \hat y(d) = \text{the factor that had most votes for } d

    and the score is how often ŷ is right on other votes. Codes that hardly vary are left out, by a threshold in the
    units of the codes (0.05): codes of another scale than a VAE's should be scaled first. None left scores 0. A factor
    that is known by two codes is no worse than one known by one.

    Args:
        source: a table, or a model and a simulator.
        rng: where factors and rows are drawn from.
        protocol: batch, votes, threshold.
        tick: told how many votes are cast: each asks for a batch of codes, in all a million of the default protocol.

    Raises:
        NotApplicable: fewer than two factors.

    References:
        Kim and Mnih 2018, arXiv:1802.05983; Locatello et al. 2019, arXiv:1811.12359.
    """
    kept = _kept(source, (), protocol.name)
    spread = source.draw(protocol.variance, rng).codes.var(0, ddof=1)
    active = np.flatnonzero(np.sqrt(spread) >= max(protocol.least_std, 1e-300))
    said = (
        f"batches of {protocol.batch}, {protocol.train} votes to fit, {protocol.test} to judge, "
        f"{len(active)} codes with a standard deviation of at least {protocol.least_std:g}"
    )
    if not len(active):
        return Score(protocol.name, 0.0, said, protocol.test, "nothing: no code varies enough")
    cast = _counter(tick, protocol.train + protocol.test)
    votes = [_votes(source, (active, spread), (n, protocol.batch), rng, cast) for n in (protocol.train, protocol.test)]
    train, test = (np.bincount(v, minlength=len(active) * len(kept)).astype(float) for v in votes)

    def value(train: np.ndarray, test: np.ndarray) -> float:
        rows = train.reshape(len(active), -1).argmax(1)
        return float(test.reshape(len(active), -1)[np.arange(len(active)), rows].sum() / test.sum())

    def again(rng: np.random.Generator) -> float:
        return value(*(rng.multinomial(int(v.sum()), v / v.sum()) for v in (train, test)))

    resampled = "both sets of votes, not the data that they are of"
    table = {"votes": train.reshape(len(active), -1), "codes": active}
    return Score(protocol.name, value(train, test), said, protocol.test, resampled, again, table)


def _votes(
    source: Source,
    codes: tuple[Int[np.ndarray, " A"], Float[np.ndarray, " D"]],
    wanted: tuple[int, int],
    rng: np.random.Generator,
    cast: Callable[[int], None],
) -> Int[np.ndarray, " n"]:
    """Each vote as the number of the code times that of factors, plus the factor."""
    (active, spread), (n, batch), factors = codes, wanted, len(source.about)
    found, most = [], max(1, _CODES_AT_ONCE // batch)
    for factor, count in enumerate(np.bincount(rng.integers(factors, size=n), minlength=factors).tolist()):
        for first in range(0, count, most):
            alike = source.alike(factor, min(most, count - first), batch, rng)[:, :, active]
            found.append((alike.var(1, ddof=1) / spread[active]).argmin(1) * factors + factor)
            cast(len(alike))
    return np.concatenate(found)


def _counter(tick: Tick | None, total: int) -> Callable[[int], None]:
    """Adds up what is done, and tells of it."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        if tick:
            tick(done, total)

    return add


def _kept(source: Source, exclude: tuple[str, ...], metric: str) -> list[int]:
    kept = kept_factors(source.about, exclude, metric)
    if len(kept) < 2:
        raise NotApplicable(f"{metric}: which of one factor was held fixed is no question; there must be two.")
    return kept
