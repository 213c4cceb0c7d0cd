"""Beta-binomials over the 256 levels of an 8-bit image."""

__all__ = ["BetaBinomial"]

from collections.abc import Iterator
from math import comb, log
from typing import Self

import torch
from torch import Tensor

from .._shapes import Shape
from ..noise import NoiseSource
from .base import Factorised, at_least_float32

# The highest of the levels 0, 1, …, 255: as many flips of one coin.
_TOP = 255
# How many ways there are to get k heads, in nats.
_LOG_WAYS = tuple(log(comb(_TOP, k)) for k in range(_TOP + 1))


class BetaBinomial(Factorised):
    r"""Each element counts the heads of 255 flips of a coin whose probability is drawn from a beta: a mass, in nats.

    .. math:: p(x = k/255) = \binom{255}{k} \frac{\mathrm{B}(k + \alpha,\, 255 - k + \beta)}{\mathrm{B}(\alpha, \beta)},
              \qquad \mathrm{E}[x] = \frac{\alpha}{\alpha + \beta}

    Small α and β put the mass on black and white at once (α = β = 1 is uniform over all levels), large ones on one
    bump, at the narrowest a binomial's. Its entropy and divergences have no closed form.

    It is computed in float64 whatever the parameters are: in float32 the differences of log-gammas would be wrong by
    10⁻⁴ nats an element, and by whole nats where α is near 10⁶.

    Args:
        log_alpha: log α, of shape ``(*lead, *event)``.
        log_beta: log β, of the same shape.
        event_ndim: how many trailing dimensions are one event.

    References:
        Townsend, Bird and Barber 2019, arXiv:1901.04866.

    Example:
        >>> import torch
        >>> p = BetaBinomial(torch.zeros(3), torch.zeros(3))
        >>> p.log_prob(torch.tensor([0.0, 0.2, 1.0])) / 3  # uniform: −log 256
        tensor(-5.5452)
    """

    mass = True

    def __init__(self, log_alpha: Tensor, log_beta: Tensor, event_ndim: int = 1) -> None:
        parameters = at_least_float32(log_alpha), at_least_float32(log_beta)
        self.log_alpha, self.log_beta = torch.broadcast_tensors(*parameters)
        self.event_ndim = event_ndim

    @property
    def shape(self) -> Shape:
        return tuple(self.log_alpha.shape)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.log_alpha - self.log_beta)

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        level = (x.double() * _TOP).round()
        ways = torch.tensor(_LOG_WAYS, dtype=torch.float64, device=x.device)[level.long()]
        alpha, beta = self._parameters
        heads = torch.lgamma(level + alpha) - torch.lgamma(alpha)
        tails = torch.lgamma(_TOP - level + beta) - torch.lgamma(beta)
        flips = torch.lgamma(_TOP + alpha + beta) - torch.lgamma(alpha + beta)
        return (ways + heads + tails - flips).to(self.log_alpha.dtype)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        u = noise.uniform(shape, batch, self.log_alpha.dtype)
        # The level in whose stretch of the cumulated masses u falls; one level at a time keeps the memory flat.
        below, level = torch.zeros_like(u, dtype=torch.float64), torch.zeros_like(u)
        for _, log_mass in zip(range(_TOP), self._log_masses(), strict=False):
            below = below + log_mass.exp()
            level = level + (below <= u)
        return level / _TOP

    def log_prob_by_level(self) -> Iterator[Tensor]:
        for log_mass in self._log_masses():
            yield log_mass.to(self.log_alpha.dtype)

    def _log_masses(self) -> Iterator[Tensor]:
        """Log-probabilities of all levels in float64, each from the one before.

        No log-gammas: their differences lose digits, and a coder needs the same ones on both sides.
        """
        alpha, beta = self._parameters
        both, log_mass = alpha + beta, torch.zeros_like(alpha)
        for first in range(0, _TOP, 15):  # no heads in 255 flips: 15 at a time, whose product does not underflow
            tails = torch.ones_like(alpha)
            for k in range(first, first + 15):
                tails = tails * ((beta + k) / (both + k))
            log_mass = log_mass + tails.log()
        yield log_mass
        for k in range(_TOP):
            log_mass = log_mass + ((alpha + k) / (beta + (_TOP - 1 - k)) * ((_TOP - k) / (k + 1))).log()
            yield log_mass

    def expand(self, lead: Shape) -> Self:
        shape = (*lead, *self.event_shape)
        return type(self)(self.log_alpha.expand(shape), self.log_beta.expand(shape), self.event_ndim)

    @property
    def _parameters(self) -> tuple[Tensor, Tensor]:
        """α and β in float64."""
        return self.log_alpha.double().exp(), self.log_beta.double().exp()
