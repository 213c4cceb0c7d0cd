"""Distributions over codes: labels without an order, counted from 0."""

__all__ = ["Codes", "CodesHead", "OneHot"]

from collections.abc import Iterator
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor

from .._checks import positive_int
from .._shapes import Shape
from ..noise import NoiseSource
from .base import Distribution, Factorised, sum_events
from .categorical import chosen, pick
from .heads import Head


class Codes(Factorised):
    r"""At each place one of K codes, a whole number from 0 to K − 1, independent of the others: a probability mass.

    .. math:: \log p(z) = \sum_i \ell_{z_i,i} - \log\sum_k e^{\ell_{k,i}}

    Codes are names: they have no order, so there is no mean; ``centre`` takes the most probable code of each place.
    (``Categorical`` is over the levels of a pixel, which are numbers.)

    Args:
        logits: ℓ, of shape ``(*lead, K, *event)``.
        event_ndim: how many trailing dimensions are one event.

    Example:
        >>> import torch
        >>> Codes(torch.zeros(64, 7, 7), 2).log_prob(torch.zeros(5, 7, 7, dtype=torch.long))[0] / 49
        tensor(-4.1589)
    """

    mass: ClassVar[bool] = True
    has_mean: ClassVar[bool] = False

    def __init__(self, logits: Tensor, event_ndim: int = 1) -> None:
        self.logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.event_ndim = event_ndim

    @property
    def shape(self) -> Shape:
        shape, at = tuple(self.logits.shape), self.logits.ndim + self._dim
        return (*shape[:at], *shape[at + 1 :])

    @property
    def levels(self) -> int:
        """K, the number of codes."""
        return self.logits.shape[self._dim]

    @property
    def mean(self) -> Tensor:
        raise ValueError("Codes: names have no mean. Take draws, or the centre: the most probable code of each place.")

    @property
    def centre(self) -> Tensor:
        return self.logits.argmax(self._dim)

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        return chosen(self._log_p, x.long(), self._dim)

    def log_prob_by_level(self) -> Iterator[Tensor]:
        yield from self._log_p.unbind(self._dim)

    def at_level(self, level: Tensor) -> Tensor:
        return level

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        return pick(self._log_p.exp(), noise.uniform(shape, batch, self.logits.dtype), self._dim)

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.logits.expand(*lead, self.levels, *self.event_shape), self.event_ndim)

    def entropy(self) -> Tensor:
        log_p = self._log_p
        return sum_events(-(log_p.exp() * log_p).sum(self._dim), self.event_ndim)

    def kl_by_element(self, other: Distribution) -> Tensor | None:
        """KL(self ‖ other) for another over as many codes, place by place, in nats."""
        if not isinstance(other, Codes) or other.levels != self.levels:
            return None
        log_p = self._log_p
        return (log_p.exp() * (log_p - other._log_p)).sum(self._dim)

    @property
    def _dim(self) -> int:
        return -self.event_ndim - 1

    @property
    def _log_p(self) -> Tensor:
        return self.logits.log_softmax(self._dim)


class OneHot(Distribution):
    r"""All probability on one code at each place: the posterior of a VQ-VAE.

    .. math:: q(z) = 1 \text{ at } z = k, \qquad \mathrm{KL}(q \,\|\, p) = -\log p(k)

    On a finite set a point has a probability, 1, and log q = 0: so unlike ``Point`` it has a rate, and a bound. Every
    draw is the same.

    Args:
        codes: k, whole numbers of shape ``(*lead, *event)``.
        levels: K: codes are from 0 to K − 1.
        event_ndim: how many trailing dimensions are one event.

    References:
        van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937.

    Example:
        >>> import torch
        >>> q = OneHot(torch.tensor([[3, 1]]), 4)
        >>> q.log_prob(torch.tensor([[3, 1]])), q.kl(Codes(torch.zeros(4, 2)))
        (tensor([0.]), tensor([2.7726]))
    """

    mass: ClassVar[bool] = True
    certain: ClassVar[bool] = True

    def __init__(self, codes: Tensor, levels: int, event_ndim: int = 1) -> None:
        self.codes, self.levels, self.event_ndim = codes, positive_int(levels, "OneHot: levels"), event_ndim

    @property
    def lead_shape(self) -> Shape:
        return tuple(self.codes.shape[: self.codes.ndim - self.event_ndim])

    @property
    def event_shape(self) -> Shape:
        return tuple(self.codes.shape[self.codes.ndim - self.event_ndim :])

    @property
    def mean(self) -> Tensor:
        return self.codes

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        other = (x != self.codes).to(torch.get_default_dtype())
        wrong = sum_events(other if mask is None else other * mask, self.event_ndim)
        return torch.where(wrong > 0, -inf, 0.0)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        return self.codes if draws is None else self.codes.expand(draws, *self.codes.shape)

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.codes.expand(*lead, *self.event_shape), self.levels, self.event_ndim)

    def entropy(self) -> Tensor:
        return torch.zeros(self.lead_shape, device=self.codes.device)

    def kl_by_element(self, other: Distribution) -> Tensor | None:
        """−log p(k) of each place, where they are independent under p."""
        return -other.log_prob_by_element(self.codes) if isinstance(other, Codes) else None

    def kl(self, other: Distribution) -> Tensor | None:
        """−log p(k) in nats, for any p that is a probability mass."""
        return -other.log_prob(self.codes) if other.mass else None

    def detached(self) -> Self:
        raise ValueError(
            "OneHot: no gradient flows into a code, so there is no path for sticking the landing or DReG to follow. "
            "Take the ELBO with its own gradient, which goes straight through."
        )


class CodesHead(Head):
    """Logits of K codes for each place.

    Args:
        event: shape of one event.
        levels: K.
    """

    support: ClassVar[str] = "codes"

    def __init__(self, event: int | Shape, levels: int) -> None:
        super().__init__(event)
        self.levels = positive_int(levels, "CodesHead: levels")

    @property
    def per_element(self) -> int:
        return self.levels

    def forward(self, raw: Tensor) -> Codes:
        return Codes(self._stacked(raw), len(self.event))
