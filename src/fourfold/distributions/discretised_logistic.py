"""Logistics over the 256 levels of an 8-bit image, and their mixture."""

__all__ = ["DiscretisedLogistic", "DiscretisedLogisticMixture"]

from collections.abc import Iterator
from math import inf
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .._shapes import Shape
from ..noise import NoiseSource
from .base import Factorised, at_least_float32
from .categorical import chosen, pick

# The highest of the levels 0, 1, …, 255. Level k is x = k/255, and y = 2k/255 − 1 on the axis of the logistic.
_TOP = 255


class DiscretisedLogistic(Factorised):
    r"""Each element is a logistic variable, rounded to one of 256 levels: a probability mass, in nats per event.

    .. math:: p(x = k/255) = \sigma\Big(\frac{y_k + 1/255 - \mu}{s}\Big) - \sigma\Big(\frac{y_k - 1/255 - \mu}{s}\Big),
              \qquad y_k = \frac{2k}{255} - 1

    The logistic lives on [−1, 1], where neighbouring levels are 2/255 apart; levels 0 and 255 take the tails as well,
    so the masses sum to one wherever μ is. x itself is in [0, 1].

    Args:
        loc: μ, in units of [−1, 1], of shape ``(*lead, *event)``.
        log_scale: log s, of the same shape.
        event_ndim: how many trailing dimensions are one event.

    References:
        Kingma et al. 2016, arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517.

    Example:
        >>> import torch
        >>> p = DiscretisedLogistic(torch.tensor([0.99]), torch.tensor([-4.0]), event_ndim=0)
        >>> p.log_prob_by_element(torch.arange(256) / 255).exp().sum()
        tensor(1.)
    """

    mass = True

    def __init__(self, loc: Tensor, log_scale: Tensor, event_ndim: int = 1) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(at_least_float32(loc), at_least_float32(log_scale))
        self.event_ndim = event_ndim

    @property
    def shape(self) -> Shape:
        return tuple(self.loc.shape)

    @property
    def mean(self) -> Tensor:
        # E[k] = Σ P(k ≥ j) over the 255 steps j between levels; one step at a time keeps the memory flat.
        rate = (-self.log_scale).exp()
        above = torch.zeros_like(self.loc)
        for j in range(1, _TOP + 1):
            above = above + torch.sigmoid((self.loc - (2 * j - 256) / _TOP) * rate)
        return above / _TOP

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        # The edges come from integers, so that the upper edge of a level is the lower one of the next, bit for bit.
        level = (at_least_float32(x) * _TOP).round().to(self.loc.dtype)
        rate = (-self.log_scale).exp()
        low = ((2 * level - 256) / _TOP - self.loc) * rate
        high = ((2 * level - 254) / _TOP - self.loc) * rate
        # log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^(a−b)), exactly; at the edges b = ∞ or a = −∞.
        first, last = level <= 0, level >= _TOP
        width = torch.log(-torch.expm1(-2 / _TOP * rate))
        log_mass = logsigmoid(high).masked_fill(last, 0.0) + logsigmoid(-low).masked_fill(first, 0.0)
        return log_mass + width.expand_as(log_mass).masked_fill(first | last, 0.0)

    def masses(self) -> Iterator[Tensor]:
        """Probabilities of level 0, 1, …, 255, one after the other, at the price of one logistic each."""
        rate = (-self.log_scale).exp()
        tail, above = torch.zeros_like(self.loc), torch.zeros_like(self.loc, dtype=torch.bool)
        for level in range(_TOP + 1):
            # σ of an edge, or 1 − σ where that is smaller: so differences in either tail keep their digits.
            edge = ((2 * level - 254) / _TOP - self.loc) * rate if level < _TOP else torch.full_like(rate, inf)
            last_tail, last_above = tail, above
            tail, above = torch.sigmoid(-edge.abs()), edge > 0
            yield torch.where(above == last_above, (tail - last_tail).abs(), 1 - tail - last_tail)

    def log_prob_by_level(self) -> Iterator[Tensor]:
        for mass in self.masses():
            yield mass.log()

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        return _rounded(noise.uniform(shape, batch, self.loc.dtype), self.loc, self.log_scale)

    def expand(self, lead: Shape) -> Self:
        shape = (*lead, *self.event_shape)
        return type(self)(self.loc.expand(shape), self.log_scale.expand(shape), self.event_ndim)


class DiscretisedLogisticMixture(Factorised):
    r"""Each element is one of M discretised logistics: a probability mass over 256 levels, in nats per event.

    .. math:: p(x_i) = \sum_{m=1}^{M} \pi_{m,i}\; \mathrm{DiscretisedLogistic}(x_i;\, \mu_{m,i},\, s_{m,i})

    The elements are independent of each other, the colours of a pixel too: this is PixelCNN++'s mixture without its
    regression of green on red and blue on both.

    Args:
        logits: unnormalised log π, of shape ``(*lead, M, *event)``.
        loc: μ, in units of [−1, 1], of the same shape.
        log_scale: log s, of the same shape.
        event_ndim: how many trailing dimensions are one event.

    References:
        Salimans et al. 2017, arXiv:1701.05517.

    Example:
        >>> import torch
        >>> raw = torch.zeros(3, 5, 7)
        >>> DiscretisedLogisticMixture(raw, raw, raw - 2).mean.shape
        torch.Size([3, 7])
    """

    mass = True

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, event_ndim: int = 1) -> None:
        self.logits, self.event_ndim = at_least_float32(logits), event_ndim
        self.component = DiscretisedLogistic(loc, log_scale, event_ndim)

    @property
    def shape(self) -> Shape:
        shape, at = tuple(self.logits.shape), self.logits.ndim + self._dim
        return (*shape[:at], *shape[at + 1 :])

    @property
    def mean(self) -> Tensor:
        return (self.logits.softmax(self._dim) * self.component.mean).sum(self._dim)

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        by_component = self.component.log_prob_by_element(x.unsqueeze(self._dim))
        return torch.logsumexp(self.logits.log_softmax(self._dim) + by_component, self._dim)

    def log_prob_by_level(self) -> Iterator[Tensor]:
        weights = self.logits.softmax(self._dim)
        for masses in self.component.masses():
            yield (weights * masses).sum(self._dim).log()

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        which = pick(self.logits.softmax(self._dim), noise.uniform(shape, batch, self.logits.dtype), self._dim)
        loc, log_scale = (chosen(v, which, self._dim) for v in (self.component.loc, self.component.log_scale))
        return _rounded(noise.uniform(shape, batch, loc.dtype), loc, log_scale)

    def expand(self, lead: Shape) -> Self:
        shape = (*lead, self.logits.shape[self._dim], *self.event_shape)
        component = self.component
        logits, loc, log_scale = (v.expand(shape) for v in (self.logits, component.loc, component.log_scale))
        return type(self)(logits, loc, log_scale, self.event_ndim)

    @property
    def _dim(self) -> int:
        return -self.event_ndim - 1


def _rounded(u: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Uniform noise as a logistic variable, rounded to the nearest level and given as k/255."""
    eps = torch.finfo(u.dtype).eps
    y = loc + log_scale.exp() * torch.logit(u, eps)
    return ((y + 1) / 2 * _TOP).round().clamp(0, _TOP) / _TOP
