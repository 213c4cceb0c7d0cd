"""The diagonal Gaussian, and the point that an autoencoder's posterior is."""

__all__ = ["DiagonalGaussian", "MeetsDiagonal", "Point", "component_rows"]

from abc import ABC
from math import log, pi
from typing import ClassVar, Self

import torch
from torch import Tensor

from .._shapes import Shape, size
from ..noise import NoiseSource
from .base import Distribution, Factorised, at_least_float32, sum_events

_HALF_LOG_TWO_PI = 0.5 * log(2 * pi)


def component_rows(parameter: Tensor, index: Tensor, event_ndim: int) -> Tensor:
    """Of parameters ``(*lead, K, *event)`` those of the components that an index ``(*front, *lead)`` names."""
    lead = parameter.ndim - event_ndim - 1
    if not lead:
        return parameter[index]
    event = parameter.shape[lead + 1 :]
    where = index.reshape(*index.shape, 1, *(1,) * event_ndim).expand(*index.shape, 1, *event)
    return parameter.expand(*index.shape, *parameter.shape[lead:]).gather(index.ndim, where).squeeze(index.ndim)


class MeetsDiagonal(Distribution, ABC):
    """A distribution that knows its divergence from a diagonal Gaussian; a ``DiagonalGaussian`` asks it."""

    def kl_by_element_from(self, q: "DiagonalGaussian") -> Tensor | None:
        """KL(q ‖ self) in nats for each element, or ``None`` where it has no such parts."""
        return None

    def kl_from(self, q: "DiagonalGaussian") -> Tensor | None:
        """KL(q ‖ self) in nats."""
        by_element = self.kl_by_element_from(q)
        return None if by_element is None else sum_events(by_element, len(self.event_shape))


class DiagonalGaussian(Factorised):
    r"""Independent normals N(loc, exp(log_scale)²): a density, in nats per event.

    .. math:: \log p(x) = \sum_i -\tfrac12\Big(\frac{x_i-\mu_i}{\sigma_i}\Big)^2 - \log\sigma_i - \tfrac12\log 2\pi

    Args:
        loc: means μ, of shape ``(*lead, *event)``.
        log_scale: log standard deviations log σ (not log-variances), broadcastable to ``loc``.
        event_ndim: how many trailing dimensions are one event.
        standard: both are zero, so that formulas may leave them out.

    Example:
        >>> import torch
        >>> q = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
        >>> q.log_prob(torch.zeros(2, 3))
        tensor([-2.7568, -2.7568])
        >>> q.entropy()
        tensor([4.2568, 4.2568])
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_ndim: int = 1, standard: bool = False) -> None:
        self.loc = at_least_float32(loc)
        self.log_scale = at_least_float32(log_scale)
        self.event_ndim, self.standard = event_ndim, standard

    @property
    def shape(self) -> Shape:
        return tuple(self.loc.shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def scale(self) -> Tensor:
        """Standard deviations σ, of shape ``(*lead, *event)``."""
        return self.log_scale.exp().expand_as(self.loc)

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        standard = (x - self.loc) * (-self.log_scale).exp()
        return -0.5 * standard.square() - self.log_scale - _HALF_LOG_TWO_PI

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        return torch.addcmul(self.loc, self.log_scale.exp(), noise.normal(shape, batch, self.loc.dtype))

    def sample_with_log_prob(self, noise: NoiseSource, draws: int | None = None) -> tuple[Tensor, Tensor | None]:
        # From the noise itself: the value and the total derivative are those of log_prob(z), at half the work.
        shape, batch = self._noise_shape(draws)
        epsilon = noise.normal(shape, batch, self.loc.dtype)
        z = torch.addcmul(self.loc, self.log_scale.exp(), epsilon)
        count = len(self.event_shape)
        log_scale = sum_events(self.log_scale.expand_as(self.loc), count)
        log_q = -0.5 * sum_events(epsilon.square(), count) - log_scale - _HALF_LOG_TWO_PI * size(self.event_shape)
        return z, log_q

    def expand(self, lead: Shape) -> Self:
        shape = (*lead, *self.event_shape)
        log_scale = self.log_scale.expand_as(self.loc).expand(shape)
        return type(self)(self.loc.expand(shape), log_scale, self.event_ndim, self.standard)

    def detached(self) -> Self:
        return type(self)(self.loc.detach(), self.log_scale.detach(), self.event_ndim, self.standard)

    def entropy(self) -> Tensor:
        terms = self.log_scale.expand_as(self.loc) + (_HALF_LOG_TWO_PI + 0.5)
        return sum_events(terms, self.event_ndim)

    def kl_by_element(self, other: Distribution) -> Tensor | None:
        r"""KL(self ‖ other) for another diagonal Gaussian (or what ``MeetsDiagonal``), element by element, in nats.

        .. math:: \log\frac{\sigma_2}{\sigma_1} + \frac{\sigma_1^2+(\mu_1-\mu_2)^2}{2\sigma_2^2} - \tfrac12
        """
        if isinstance(other, MeetsDiagonal):
            return other.kl_by_element_from(self)
        if not isinstance(other, DiagonalGaussian):
            return None
        if other.standard:
            return 0.5 * ((2 * self.log_scale).exp() + self.loc.square() - 1) - self.log_scale
        log_ratio = self.log_scale - other.log_scale
        shift = (self.loc - other.loc) * (-other.log_scale).exp()
        return 0.5 * ((2 * log_ratio).exp() + shift.square() - 1) - log_ratio

    def kl(self, other: Distribution) -> Tensor | None:
        return other.kl_from(self) if isinstance(other, MeetsDiagonal) else super().kl(other)

    def chosen(self, index: Tensor) -> Self:
        """Of components along the last leading dimension, those that an index ``(*front, *lead)`` names."""
        loc = component_rows(self.loc, index, self.event_ndim)
        log_scale = component_rows(self.log_scale.expand_as(self.loc), index, self.event_ndim)
        return type(self)(loc, log_scale, self.event_ndim, self.standard)


class Point(Distribution):
    """All mass on one point: the posterior of an autoencoder. It has no density, so no rate and no bound.

    Args:
        loc: the point, of shape ``(*lead, *event)``.
        event_ndim: how many trailing dimensions are one event.

    Raises:
        ValueError: from ``log_prob``; an objective that needs it does not suit an autoencoder.
    """

    has_density: ClassVar[bool] = False

    def __init__(self, loc: Tensor, event_ndim: int = 1) -> None:
        self.loc, self.event_ndim = loc, event_ndim

    @property
    def lead_shape(self) -> Shape:
        return tuple(self.loc.shape[: self.loc.ndim - self.event_ndim])

    @property
    def event_shape(self) -> Shape:
        return tuple(self.loc.shape[self.loc.ndim - self.event_ndim :])

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise ValueError(
            "Point has no density: an autoencoder has no rate and no bound on log p(x). "
            "Use the objective Reconstruction, or a Gaussian posterior."
        )

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        return self.loc if draws is None else self.loc.expand(draws, *self.loc.shape)

    def sample_with_log_prob(self, noise: NoiseSource, draws: int | None = None) -> tuple[Tensor, Tensor | None]:
        return self.sample(noise, draws), None

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.loc.expand(*lead, *self.event_shape), self.event_ndim)
