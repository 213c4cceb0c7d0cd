"""The Gaussian with a full covariance matrix."""

__all__ = ["FullGaussian"]

from collections.abc import Callable
from math import log, pi
from typing import Self

import torch
from torch import Tensor

from .._shapes import Shape, size
from ..noise import NoiseSource
from .base import Conditionals, Distribution, at_least_float32, sum_events
from .gaussian import DiagonalGaussian, MeetsDiagonal, component_rows

_HALF_LOG_TWO_PI = 0.5 * log(2 * pi)


class FullGaussian(MeetsDiagonal):
    r"""N(loc, L Lᵀ) with a lower triangular Cholesky factor L: a density, in nats per event.

    .. math:: \log p(x) = -\tfrac12 \|L^{-1}(x-\mu)\|^2 - \sum_i \log L_{ii} - \tfrac D2 \log 2\pi

    Nothing is inverted: densities solve a triangular system, D² operations an event.

    Args:
        loc: means μ, of shape ``(*lead, *event)``; an event of D numbers is flattened inside.
        scale_tril: L, of shape ``(*lead, D, D)`` or broadcastable to it, with a positive diagonal and zeros above it.
        event_ndim: how many trailing dimensions of ``loc`` are one event.

    Raises:
        ValueError: a factor that is not D × D; a mask (elements cannot be left out one by one).

    Example:
        >>> import torch
        >>> q = FullGaussian(torch.zeros(2), torch.tensor([[1.0, 0.0], [0.5, 1.0]]))
        >>> q.log_prob(torch.zeros(2))
        tensor(-1.8379)
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor, event_ndim: int = 1) -> None:
        self.loc, self.event_ndim = at_least_float32(loc), event_ndim
        self.scale_tril = at_least_float32(scale_tril)
        numbers = size(self.event_shape)
        if tuple(scale_tril.shape[-2:]) != (numbers, numbers):
            raise ValueError(
                f"FullGaussian: scale_tril must end in {(numbers, numbers)} for events of shape {self.event_shape}, "
                f"got {tuple(scale_tril.shape)}. Give the Cholesky factor of the covariance of the flattened event."
            )

    @property
    def lead_shape(self) -> Shape:
        return tuple(self.loc.shape[: self.loc.ndim - self.event_ndim])

    @property
    def event_shape(self) -> Shape:
        return tuple(self.loc.shape[self.loc.ndim - self.event_ndim :])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def covariance(self) -> Tensor:
        """L Lᵀ, of shape ``(*lead, D, D)``."""
        with torch.autocast(self.loc.device.type, enabled=False):
            square = self.scale_tril @ self.scale_tril.mT
        return square.expand(*self.lead_shape, *self.scale_tril.shape[-2:])

    @property
    def _log_det(self) -> Tensor:
        """Σ log L_ii, half the log-determinant of the covariance."""
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise ValueError(
                "FullGaussian: elements of a correlated event cannot be left out of its density by a mask. "
                "Take DiagonalGaussian, or leave the mask out."
            )
        white = self._solved((x - self.loc).flatten(-self.event_ndim))
        return -0.5 * white.square().sum(-1) - self._log_det - _HALF_LOG_TWO_PI * size(self.event_shape)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        return self._drawn(noise, draws)[0]

    def sample_with_log_prob(self, noise: NoiseSource, draws: int | None = None) -> tuple[Tensor, Tensor | None]:
        # From the noise itself: the value and the total derivative are those of log_prob(z), without a solve.
        z, epsilon = self._drawn(noise, draws)
        white = sum_events(epsilon.square(), self.event_ndim)
        return z, -0.5 * white - self._log_det - _HALF_LOG_TWO_PI * size(self.event_shape)

    def expand(self, lead: Shape) -> Self:
        scale_tril = self.scale_tril.expand(*lead, *self.scale_tril.shape[-2:])
        return type(self)(self.loc.expand(*lead, *self.event_shape), scale_tril, self.event_ndim)

    def detached(self) -> Self:
        return type(self)(self.loc.detach(), self.scale_tril.detach(), self.event_ndim)

    def entropy(self) -> Tensor:
        each = (_HALF_LOG_TWO_PI + 0.5) * size(self.event_shape)
        return (self._log_det + each).expand(self.lead_shape)

    def kl(self, other: Distribution) -> Tensor | None:
        r"""KL(self ‖ other) for a Gaussian with a diagonal (σ) or a full (M) factor, in nats.

        .. math:: \tfrac12\Big(\|M^{-1}L\|_F^2 + \|M^{-1}(\mu-m)\|^2 - D\Big) + \sum_i \log\frac{M_{ii}}{L_{ii}}
        """
        if isinstance(other, FullGaussian):
            spread = torch.linalg.solve_triangular(other.scale_tril, self.scale_tril, upper=False)
            shift = other._solved((self.loc - other.loc).flatten(-self.event_ndim))
            log_det = other._log_det
        elif isinstance(other, DiagonalGaussian):
            inverse = (-other.log_scale).exp().expand_as(other.loc).flatten(-self.event_ndim)
            spread = inverse.unsqueeze(-1) * self.scale_tril
            shift = inverse * (self.loc - other.loc).flatten(-self.event_ndim)
            log_det = sum_events(other.log_scale.expand_as(other.loc), self.event_ndim)
        else:
            return None
        square = spread.square().sum((-2, -1)) + shift.square().sum(-1)
        return 0.5 * (square - size(self.event_shape)) + log_det - self._log_det

    def kl_from(self, q: DiagonalGaussian) -> Tensor | None:
        scale = torch.diag_embed(q.scale.flatten(-q.event_ndim))
        return FullGaussian(q.loc, scale, q.event_ndim).kl(self)

    def conditionals(self) -> Conditionals:
        loc = self.loc.flatten(-self.event_ndim)
        white: list[Tensor] = []  # L⁻¹(x − μ), as far as it is known
        for i in range(loc.shape[-1]):
            row = self.scale_tril[..., i, :]
            mean = loc[..., i]
            for j, value in enumerate(white):
                mean = mean + row[..., j] * value
            scale = row[..., i]
            log_scale = scale.log().expand_as(mean).unsqueeze(-1)
            x = yield DiagonalGaussian(mean.unsqueeze(-1), log_scale), slice(i, i + 1)
            white.append((x[..., 0] - mean) / scale)

    def chosen(self, index: Tensor) -> Self:
        """Of components along the last leading dimension, those that an index ``(*front, *lead)`` names."""
        factors = self.scale_tril.expand(*self.lead_shape, *self.scale_tril.shape[-2:])
        loc = component_rows(self.loc, index, self.event_ndim)
        return type(self)(loc, component_rows(factors, index, 2), self.event_ndim)

    def _drawn(self, noise: NoiseSource, draws: int | None) -> tuple[Tensor, Tensor]:
        """A draw and the noise it is made of, both ``(*draws, *lead, *event)``."""
        front = () if draws is None else (draws,)
        batch = max(len(front) + len(self.lead_shape) - 1, 0)
        epsilon = noise.normal((*front, *self.loc.shape), batch, self.loc.dtype)
        with torch.autocast(self.loc.device.type, enabled=False):
            moved = self._columns(torch.matmul, epsilon.flatten(-self.event_ndim))
        return self.loc + moved.unflatten(-1, self.event_shape), epsilon

    def _solved(self, value: Tensor) -> Tensor:
        """L⁻¹ of vectors ``(…, D)``."""
        return self._columns(lambda factor, right: torch.linalg.solve_triangular(factor, right, upper=False), value)

    def _columns(self, fn: Callable[[Tensor, Tensor], Tensor], value: Tensor) -> Tensor:
        """``fn(L, ·)`` of vectors ``(…, D)``: draws become columns, so that no factor is repeated for each of them."""
        extra = value.ndim - 1 - (self.scale_tril.ndim - 2)
        if extra < 1:
            return fn(self.scale_tril, value.unsqueeze(-1)).squeeze(-1)
        front = value.shape[:extra]
        made = fn(self.scale_tril, value.flatten(0, extra - 1).movedim(0, -1))
        return made.movedim(-1, 0).unflatten(0, front)
