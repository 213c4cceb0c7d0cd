"""The categorical over levels of grey."""

__all__ = ["Categorical", "chosen", "pick"]

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from .._shapes import Shape
from ..noise import NoiseSource
from .base import Distribution, Factorised, at_least_float32, sum_events


class Categorical(Factorised):
    r"""Each element takes one of K evenly spaced levels between 0 and 1: a probability mass, in nats per event.

    .. math:: \log p(x) = \sum_i \ell_{k_i,i} - \log\sum_k e^{\ell_{k,i}}, \qquad k_i = \mathrm{round}((K-1)\,x_i)

    It knows nothing of the order of the levels, and needs K raw numbers for each element.

    Args:
        logits: ℓ, of shape ``(*lead, K, *event)``.
        event_ndim: how many trailing dimensions are one event.

    Example:
        >>> import torch
        >>> p = Categorical(torch.zeros(1, 256, 4))
        >>> p.log_prob(torch.tensor([0.0, 1 / 255, 0.2, 1.0]))
        tensor([-22.1807])
        >>> p.mean
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """

    mass = True

    def __init__(self, logits: Tensor, event_ndim: int = 1) -> None:
        self.logits, self.event_ndim = at_least_float32(logits), event_ndim

    @property
    def shape(self) -> Shape:
        shape, at = tuple(self.logits.shape), self.logits.ndim + self._dim
        return (*shape[:at], *shape[at + 1 :])

    @property
    def levels(self) -> int:
        """K, the number of levels."""
        return self.logits.shape[self._dim]

    @property
    def mean(self) -> Tensor:
        values = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return (self._log_p.exp().movedim(self._dim, -1) * values).sum(-1)

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        level = (at_least_float32(x) * (self.levels - 1)).round().long()
        return chosen(self._log_p, level, self._dim)

    def log_prob_by_level(self) -> Iterator[Tensor]:
        yield from self._log_p.unbind(self._dim)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        u = noise.uniform(shape, batch, self.logits.dtype)
        return pick(self._log_p.exp(), u, self._dim).to(u.dtype) / (self.levels - 1)

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.logits.expand(*lead, self.levels, *self.event_shape), self.event_ndim)

    def entropy(self) -> Tensor:
        log_p = self._log_p
        return sum_events(-(log_p.exp() * log_p).sum(self._dim), self.event_ndim)

    def kl_by_element(self, other: Distribution) -> Tensor | None:
        """KL(self ‖ other) for another categorical over as many levels, element by element, in nats."""
        if not isinstance(other, Categorical) or other.levels != self.levels:
            return None
        log_p = self._log_p
        return (log_p.exp() * (log_p - other._log_p)).sum(self._dim)

    @property
    def _dim(self) -> int:
        return -self.event_ndim - 1

    @property
    def _log_p(self) -> Tensor:
        return self.logits.log_softmax(self._dim)


def pick(probabilities: Tensor, u: Tensor, dim: int) -> Tensor:
    """The class, counted along ``dim``, in whose stretch of the cumulated probabilities u falls."""
    ends = probabilities.cumsum(dim).narrow(dim, 0, probabilities.shape[dim] - 1)
    return (ends <= u.unsqueeze(dim)).sum(dim)


def chosen(values: Tensor, index: Tensor, dim: int) -> Tensor:
    """Of values ``(*lead, K, *event)`` the one that the index ``(*lead, *event)`` names along ``dim``, broadcast."""
    index = index.unsqueeze(dim)
    ndim = max(values.ndim, index.ndim)
    values, index = values[(None,) * (ndim - values.ndim)], index[(None,) * (ndim - index.ndim)]
    return torch.take_along_dim(values, index, dim).squeeze(dim)
