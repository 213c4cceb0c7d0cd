"""Is p(x | z) as sure as it should be? Reliability of pixel probabilities, and the probability integral transform."""

__all__ = ["Calibration", "Uncalibrated", "pit", "reliability"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..distributions import Bernoulli, ContinuousBernoulli, DiagonalGaussian, Distribution, Factorised
from ..models import Model
from ..noise import Noise
from .batches import BatchLike, ready
from .importance import Progress

_CONDITIONAL = "p(x|z), one z ~ q(z|x) a datum"
_BROKEN = "the likelihood has numbers that are not finite. Has the training diverged?"
_RESAMPLES = 200
#: Where the distribution function of the transform is compared with the diagonal.
_EDGES = 200


class Uncalibrated(ValueError):
    """The likelihood, or the data, have no such calibration; the message says why."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far what is said is from what is seen.

    Attributes:
        distance: the expected calibration error, or the Kolmogorov–Smirnov distance.
        standard_error: of it, by bootstrap over the data; elements of a datum are not independent. ``None`` for one.
        floor: the same distance for one draw of x from the very distributions that were asked: what chance alone makes
            of it. A distance must be well above it to say anything.
        expected: in each bin, the mean of what was said: the probability of a 1; or the share of a uniform variable.
        observed: in each bin, what was seen: the frequency of ones; or the share of the transformed values.
        spread: standard errors of ``observed``, by the same bootstrap; not a number for a bin that few data reach.
        counts: elements in each bin.
        n: data.
        elements: modelled elements of all data.
    """

    distance: float
    standard_error: float | None
    floor: float
    expected: np.ndarray
    observed: np.ndarray
    spread: np.ndarray
    counts: np.ndarray
    n: int
    elements: int

    @property
    def estimator(self) -> str:
        """Which conditional it is of, and with what budget."""
        return f"{_CONDITIONAL}; {len(self.counts)} bins, {self.elements:,} elements; {self.floor:.2g} by chance alone"


@torch.inference_mode()
def reliability(
    model: Model, batches: Iterable[BatchLike], noise: Noise, bins: int = 20, progress: Progress | None = None
) -> Calibration:
    r"""Predicted probabilities of a 1 against how often a 1 came, over all pixels of all data.

    .. math:: \mathrm{ECE} = \frac1n \sum_b \Big| \sum_{i \in b} x_i - \sum_{i \in b} p_i \Big|

    The probabilities are those of p(x | z) at one z ~ q(z | x) of that very datum: z has seen x. For data of the model
    and the exact posterior this is calibrated; an encoder that knows its data too well makes pixels look surer than
    the decoder's probabilities, and an overconfident decoder the other way round. It says nothing of p(x).

    Args:
        model: any model with a Bernoulli likelihood, in eval mode.
        batches: the data, better held out.
        noise: where z and the resamples are drawn from.
        bins: equally wide, from 0 to 1.
        progress: told (done, total) data.

    Raises:
        Uncalibrated: another likelihood (see ``pit``), or grey values, which no frequency of ones can match.
        ValueError: a model in training mode, or no data.

    References:
        Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599.
    """
    ready(model, "reliability")
    bins, done = positive_int(bins, "reliability: bins"), 0
    found: list[np.ndarray] = []
    for i, batch in enumerate(batches):
        key = noise.fork(str(i))
        p_x, x, kept = _predicted(model, batch, key)
        if not isinstance(p_x, Bernoulli):
            raise Uncalibrated(
                f"a reliability diagram is of a Bernoulli likelihood, this one is {_name(p_x)}; see PIT."
            )
        if ((x != 0) & (x != 1) & (kept > 0)).any():
            raise Uncalibrated("the data are grey: no frequency of ones can match them. Binarise them.")
        p = p_x.mean[0].flatten(1).double()
        if not torch.isfinite(p)[kept > 0].all():
            raise Uncalibrated(f"reliability: {_BROKEN}")
        p = p.nan_to_num()  # where nothing is modelled
        again = p_x.sample(key.fork("chance"))[0].flatten(1)
        place = (p * bins).long().clamp(max=bins - 1)
        found.append(np.stack([_summed(place, kept * v, bins) for v in (torch.ones_like(p), p, x, again)], 1))
        done += len(x)
        if progress:
            progress(done, None)
    if not found:
        raise ValueError("reliability: there are no data. Give at least one batch.")
    sums = np.concatenate(found)  # (N, 4, bins): elements, said, seen, seen by chance
    totals = sums.sum(0)
    again = _resampled(sums, noise)
    counts = totals[0]
    with np.errstate(invalid="ignore"):
        said, seen = totals[1] / counts, totals[2] / counts
        spread = (again[:, 2] / again[:, 0]).std(0, ddof=1) if len(sums) > 1 else np.full(bins, np.nan)
    error = float(_ece(again[:, 0], again[:, 1], again[:, 2]).std(ddof=1)) if len(sums) > 1 else None
    distance, floor = float(_ece(counts, totals[1], totals[2])), float(_ece(counts, totals[1], totals[3]))
    return Calibration(distance, error, floor, said, seen, spread, counts, len(sums), int(counts.sum()))


@torch.inference_mode()
def pit(
    model: Model, batches: Iterable[BatchLike], noise: Noise, bins: int = 20, progress: Progress | None = None
) -> Calibration:
    r"""The probability integral transform of every element: uniform where p(x | z) is calibrated.

    .. math:: u_i = F_i(x_i^-) + v\,\big(F_i(x_i) - F_i(x_i^-)\big), \qquad v \sim U[0, 1)

    with F the distribution function of element i under p(x | z), at one z ~ q(z | x) of that very datum; where F jumps
    (levels of grey), the transform is randomised within the jump. A hump in the middle says that p(x | z) is too wide,
    heaps at both ends that it is too narrow, a slope that it is biased. The distance is the largest between the
    distribution function of u and the diagonal, at 200 points.

    Args:
        model: any model with a Gaussian, logistic, categorical or (continuous) Bernoulli likelihood, in eval mode.
        batches: the data, better held out.
        noise: where z, v and the resamples are drawn from.
        bins: bars of the histogram; they divide 200.
        progress: told (done, total) data.

    Raises:
        Uncalibrated: a likelihood whose elements have no distribution function here.
        ValueError: a model in training mode, no data, or bins that do not divide 200.

    References:
        Dawid 1984; Czado, Gneiting and Held 2009, for discrete data.
    """
    ready(model, "pit")
    if _EDGES % positive_int(bins, "pit: bins"):
        raise ValueError(f"pit: bins must divide {_EDGES}, got {bins}. Take 10, 20, 25, 40 or 50.")
    found: list[np.ndarray] = []
    for i, batch in enumerate(batches):
        key = noise.fork(str(i))
        p_x, x, kept = _predicted(model, batch, key)
        low, high = (part[0].flatten(1).double() for part in _jump(p_x, x.reshape(batch.x.shape)))
        v = key.fork("within").uniform(tuple(low.shape), dtype=torch.float64)
        place = ((low + v * (high - low)) * _EDGES).long().clamp(0, _EDGES - 1)
        if not torch.isfinite(low + high)[kept > 0].all():
            raise Uncalibrated(f"PIT: {_BROKEN}")
        chance = (key.fork("chance").uniform(tuple(low.shape)) * _EDGES).long()
        found.append(np.stack([_summed(place, kept, _EDGES), _summed(chance, kept, _EDGES)], 1))
        if progress:
            progress(sum(map(len, found)), None)
    if not found:
        raise ValueError("pit: there are no data. Give at least one batch.")
    sums = np.concatenate(found)  # (N, 2, edges)
    again = _resampled(sums[:, :1], noise)[:, 0]
    totals = sums.sum(0)
    bars = lambda cells: (cells / cells.sum(-1, keepdims=True)).reshape(*cells.shape[:-1], bins, -1).sum(-1)  # noqa: E731
    error = float(_ks(again).std(ddof=1)) if len(sums) > 1 else None
    spread = bars(again).std(0, ddof=1) if len(sums) > 1 else np.full(bins, np.nan)
    counts = totals[0].reshape(bins, -1).sum(1)
    expected = np.full(bins, 1 / bins)
    distances = float(_ks(totals[0])), error, float(_ks(totals[1]))
    return Calibration(*distances, expected, bars(totals[0]), spread, counts, len(sums), int(counts.sum()))


def _predicted(model: Model, batch: BatchLike, noise: Noise) -> tuple[Distribution, Tensor, Tensor]:
    """p(x | z) with leading dimensions (1, B); x and which of its elements are modelled, both ``(B, D)``."""
    p_x = model(batch.x, batch.c, 1, noise.fork("z"), batch.mask).p_x
    one = torch.ones((), dtype=torch.float64, device=batch.x.device)
    kept = (one if batch.mask is None else batch.mask.double()).expand(batch.x.shape)
    return p_x, batch.x.flatten(1).double(), kept.flatten(1)


def _summed(place: Tensor, values: Tensor, bins: int) -> np.ndarray:
    """The values of each datum summed by bin, ``(B, bins)``."""
    made = torch.zeros(len(place), bins, dtype=torch.float64, device=place.device)
    return made.scatter_add_(1, place, values.double().expand(place.shape)).cpu().numpy()


def _resampled(sums: np.ndarray, noise: Noise) -> np.ndarray:
    """Totals over data drawn anew with replacement, ``(resamples, …)``."""
    n = len(sums)
    drawn = (noise.fork("bootstrap").uniform((_RESAMPLES, n), dtype=torch.float64) * n).long().cpu().numpy()
    weights = np.stack([np.bincount(one, minlength=n) for one in drawn]).astype(float)
    return (weights @ sums.reshape(n, -1)).reshape(_RESAMPLES, *sums.shape[1:])


def _ece(counts: np.ndarray, said: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(seen - said).sum(-1) / counts.sum(-1))


def _ks(cells: np.ndarray) -> np.ndarray:
    ends = cells.cumsum(-1) / cells.sum(-1, keepdims=True)
    return np.asarray(np.abs(ends - np.arange(1, cells.shape[-1] + 1) / cells.shape[-1]).max(-1))


def _name(p: Distribution) -> str:
    return type(p).__name__


def _jump(p: Distribution, x: Tensor) -> tuple[Tensor, Tensor]:
    """F just below x and F at x, element by element, of the distribution's shape, in float64."""
    if isinstance(p, DiagonalGaussian):
        at = torch.special.ndtr((x - p.loc.double()) / p.scale.double())
        return at, at
    if isinstance(p, ContinuousBernoulli):
        at = _exponential(p.logits.double(), x)
        return at, at
    if not (isinstance(p, Factorised) and p.mass):
        raise Uncalibrated(f"PIT: the elements of {_name(p)} have no distribution function here.")
    level = x * (p.levels - 1)
    if ((level - level.round()).abs() > 1e-3).any():
        raise Uncalibrated(f"PIT: the data lie between the {p.levels} levels of {_name(p)}, where it has no mass.")
    level, below, at = level.round().expand(p.shape), 0.0, 0.0
    for k, log_mass in enumerate(p.log_prob_by_level()):
        mass = log_mass.double().exp()
        below = below + mass * (level > k)
        at = at + mass * (level == k)
    assert isinstance(below, Tensor)
    return below, below + at


def _exponential(logits: Tensor, x: Tensor) -> Tensor:
    """(e^{ℓx} − 1) / (e^ℓ − 1), for ℓ > 0 by its mirror image, so that no exponential overflows."""
    size = logits.abs().clamp(min=1e-6)
    rising = logits > 0
    found = torch.expm1(-size * torch.where(rising, 1 - x, x)) / torch.expm1(-size)
    return torch.where(rising, 1 - found, found)
