"""The continuous Bernoulli, for grey values between 0 and 1."""

__all__ = ["ContinuousBernoulli"]

from typing import Self

import torch
from torch import Tensor

from .._shapes import Shape
from ..noise import NoiseSource
from .base import Distribution, Factorised, at_least_float32, sum_events

# Below this |ℓ| the log-normaliser and its derivative are power series, above it closed forms: the closed forms lose
# |ℓ|⁻¹ in digits near zero, the series (whose terms fall like (ℓ/2π)²ⁿ) is exact to float64 up to here.
_SMALL = 0.5
# B₂ₙ / (2n)!, with the Bernoulli numbers B₂ₙ, for n = 1, 2, …: the series of the mean.
_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


class ContinuousBernoulli(Factorised):
    r"""Densities on [0, 1] that are exponential in x, from logits ℓ: what makes grey values a likelihood.

    .. math:: \log p(x) = \sum_i x_i\ell_i - A(\ell_i), \qquad A(\ell) = \log\int_0^1 e^{\ell x}\,dx
              = \log\frac{e^{\ell}-1}{\ell}, \qquad \mathrm{E}[x] = A'(\ell)

    A density, in nats per event: it may exceed zero, and is not comparable with a Bernoulli's mass. Its mean is not
    sigmoid(ℓ), though both rise from 0 to 1.

    Args:
        logits: ℓ, of shape ``(*lead, *event)``.
        event_ndim: how many trailing dimensions are one event.

    References:
        Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845.

    Example:
        >>> import torch
        >>> ContinuousBernoulli(torch.zeros(1, 4)).log_prob(torch.rand(1, 4))
        tensor([0.])
    """

    def __init__(self, logits: Tensor, event_ndim: int = 1) -> None:
        self.logits, self.event_ndim = at_least_float32(logits), event_ndim

    @property
    def shape(self) -> Shape:
        return tuple(self.logits.shape)

    @property
    def mean(self) -> Tensor:
        small, near, far = _apart(self.logits, _SMALL)
        # That for −|ℓ|, 1/|ℓ| − 1/(e^|ℓ| − 1), and its mirror image, so that no exponential overflows.
        size = far.abs()
        low = 1 / size + torch.exp(-size) / torch.expm1(-size)
        series = 0.5 + near * _series(near.square(), _SERIES)
        return torch.where(small, series, torch.where(far > 0, 1 - low, low))

    def log_prob_by_element(self, x: Tensor) -> Tensor:
        return x * self.logits - self._log_normaliser

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape, batch = self._noise_shape(draws)
        return _quantile(noise.uniform(shape, batch, self.logits.dtype), self.logits)

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.logits.expand(*lead, *self.event_shape), self.event_ndim)

    def entropy(self) -> Tensor:
        return sum_events(self._log_normaliser - self.logits * self.mean, self.event_ndim)

    def kl_by_element(self, other: Distribution) -> Tensor | None:
        """KL(self ‖ other) for another continuous Bernoulli, element by element, in nats."""
        if not isinstance(other, ContinuousBernoulli):
            return None
        return (self.logits - other.logits) * self.mean - self._log_normaliser + other._log_normaliser

    @property
    def _log_normaliser(self) -> Tensor:
        small, near, far = _apart(self.logits, _SMALL)
        square = near.square()
        # The series of the mean, integrated: the coefficient of ℓ²ⁿ is divided by 2n.
        integral = tuple(a / (2 * n) for n, a in enumerate(_SERIES, start=1))
        size = far.abs()
        closed = far.relu() + torch.log(-torch.expm1(-size) / size)
        return torch.where(small, near / 2 + square * _series(square, integral), closed)


def _apart(logits: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where |ℓ| < bound; ℓ made harmless elsewhere; and ℓ made harmless there, so that no gradient is 0 · ∞."""
    small = logits.abs() < bound
    return small, torch.where(small, logits, 0.0), torch.where(small, 1.0, logits)


def _series(square: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Σ coefficients[n] · squareⁿ, by Horner's rule."""
    total = torch.full_like(square, coefficients[-1])
    for a in reversed(coefficients[:-1]):
        total = total * square + a
    return total


def _quantile(u: Tensor, logits: Tensor) -> Tensor:
    """x with P(X ≤ x) = u: log(1 + u (e^ℓ − 1)) / ℓ, differentiable in the logits."""
    eps = torch.finfo(logits.dtype).eps
    u = u.clamp(eps, 1 - eps)
    # Below the bound, the series in the cumulants of a coin with probability u: its gradient loses fewer digits.
    small, near, far = _apart(logits, eps**0.25)
    k2 = u * (1 - u)
    k3, k4 = k2 * (1 - 2 * u), k2 * (1 - 6 * k2)
    series = u + near * (k2 / 2 + near * (k3 / 6 + near * k4 / 24))
    # For ℓ > 0 the mirror image, so that no exponential overflows: x(u, ℓ) = 1 − x(1 − u, −ℓ).
    rising, size = far > 0, far.abs()
    y = -torch.log1p(torch.where(rising, 1 - u, u) * torch.expm1(-size)) / size
    return torch.where(small, series, torch.where(rising, 1 - y, y))
