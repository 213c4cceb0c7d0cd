"""Which latents a posterior uses."""

__all__ = ["ActiveUnits", "active_units", "mean_draws", "posterior_means"]

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._checks import non_negative
from ..distributions import Distribution
from ..models import Model
from ..noise import Noise, NoiseSource, Request
from .batches import BatchLike, first, ready

#: Draws that stand for E_q[z] where it has no closed form.
_DRAWS = 100


@dataclass(frozen=True, slots=True)
class ActiveUnits:
    """The latents of one level that depend on the data.

    Attributes:
        active: for each latent, whether it is active; of the latent's shape.
        variances: A_u, of the same shape.
        threshold: what A_u had to exceed.
        n: how many data the variance was taken over.
        draws: how many draws each E_q[z] is the mean of; ``None`` where it is exact.
    """

    active: np.ndarray
    variances: np.ndarray
    threshold: float
    n: int
    draws: int | None = None

    @property
    def count(self) -> int:
        """How many latents are active."""
        return int(self.active.sum())

    @property
    def estimator(self) -> str:
        """What was counted, and how the means were had."""
        how = "" if self.draws is None else f", E_q[z] from {self.draws} draws"
        return f"Var_x E_q[z] > {self.threshold:g}, of {self.active.size} latents{how}"


def active_units(means: np.ndarray, threshold: float = 0.01, draws: int | None = None) -> ActiveUnits:
    r"""The active units of Burda et al.: those whose posterior mean varies over the data.

    .. math:: A_u = \mathrm{Var}_x\big(E_{q(u \mid x)}[u]\big) > 10^{-2}

    The variance has the denominator n − 1. The original code takes the first 500 training images, so say which data
    the means are of.

    Args:
        means: posterior means, ``(N, *latent)``.
        threshold: what the variance must exceed, in squared units of z; it suits a prior of unit scale.
        draws: how many draws each mean was taken over, if it is not exact (see ``mean_draws``).

    Raises:
        ValueError: fewer than two data.

    References:
        Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519.

    Example:
        >>> active_units(np.array([[0.0, 1.0], [2.0, 1.0], [1.0, 1.1]])).active
        array([ True, False])
    """
    threshold = non_negative(threshold, "active_units: threshold")
    if len(means) < 2:
        raise ValueError(f"active_units: a variance over the data needs at least 2 of them, got {len(means)}.")
    with np.errstate(invalid="ignore"):  # a mean that is not finite leaves a variance that is not, for all to see
        variances = np.var(means, axis=0, dtype=np.float64, ddof=1)
    return ActiveUnits(variances > threshold, variances, threshold, len(means), draws)


@torch.inference_mode()
def posterior_means(
    model: Model, batches: Iterable[BatchLike], noise: Noise, data: int | None = None
) -> tuple[np.ndarray, ...]:
    """E_q[z] of each level from top to bottom, as float32 or float64 arrays ``(N, *latent)``.

    Below the top, the mean is that of q given a draw of the levels above, as in the code of Burda et al. Where q has
    no closed-form mean (a flow), it is the average of 100 draws that share their noise over the data: a latent that
    does not depend on the datum then has the same average for all, and no variance.

    Args:
        model: any model, in eval mode.
        batches: the data.
        noise: where the upper levels are drawn from.
        data: how many of the data to take; ``None`` takes all, and keeps all means in memory.
    """
    ready(model, "posterior_means")
    found: list[tuple[np.ndarray, ...]] = []
    for i, batch in enumerate(first(batches, data)):
        trace = model(batch.x, batch.c, 1, noise.fork(str(i)), batch.mask)
        means = [(_mean(level.q, noise), len(level.q.event_shape)) for level in trace.levels]
        found.append(tuple((m[0] if m.ndim - event == 2 else m).cpu().numpy() for m, event in means))
    return tuple(np.concatenate(level) for level in zip(*found, strict=True))


@torch.inference_mode()
def mean_draws(model: Model, batches: Iterable[BatchLike]) -> tuple[int | None, ...]:
    """For each level, of how many draws ``posterior_means`` takes the average; ``None`` where means are exact."""
    ready(model, "mean_draws")
    for batch in first(batches, 1):
        levels = model(batch.x, batch.c, 1, Noise(0, device=batch.x.device), batch.mask).levels
        return tuple(None if level.q.has_mean else _DRAWS for level in levels)
    return ()


def _mean(q: Distribution, noise: Noise) -> Tensor:
    return q.mean if q.has_mean else q.sample(_Shared(noise.fork("mean")), _DRAWS).mean(0)


class _Shared(NoiseSource):
    """The same noise for all data of a batch, and, made anew from the same noise, of all batches."""

    def __init__(self, noise: NoiseSource) -> None:
        self._noise = noise

    def draw(self, request: Request) -> Tensor:
        one = (*request.shape[: request.batch], 1, *request.shape[request.batch + 1 :])
        return self._noise.draw(replace(request, shape=one)).expand(request.shape)
