"""The stationary first-order autoregressive process: the prior of the δ-VAE."""

__all__ = ["AutoregressiveGaussian"]

from math import log, pi
from typing import Self

import torch
from torch import Tensor

from .._shapes import Shape
from ..noise import NoiseSource
from .base import Conditionals, at_least_float32
from .gaussian import DiagonalGaussian, MeetsDiagonal

_HALF_LOG_TWO_PI = 0.5 * log(2 * pi)


class AutoregressiveGaussian(MeetsDiagonal):
    r"""n steps of d independent AR(1) processes, each with variance 1 at every step: a density, in nats per event.

    .. math:: z_1 \sim \mathcal N(0, 1), \qquad z_t \mid z_{t-1} \sim \mathcal N(\alpha z_{t-1},\, 1-\alpha^2)

    The density of a given z takes one pass; only sampling goes step by step.

    Args:
        alpha: α of each channel, ``(d,)``, each between −1 and 1.
        steps: n.
        flat: events have shape ``(n·d,)``, all channels of step 1 first, in place of ``(n, d)``.
        lead: leading dimensions.

    Raises:
        ValueError: a mask: elements of a chain cannot be left out one by one.

    References:
        Razavi, van den Oord, Poole and Vinyals 2019, arXiv:1901.03416.

    Example:
        >>> import torch
        >>> p = AutoregressiveGaussian(torch.tensor([0.5]), steps=2)
        >>> p.log_prob(torch.zeros(2, 1))
        tensor(-1.6940)
    """

    def __init__(self, alpha: Tensor, steps: int, flat: bool = False, lead: Shape = ()) -> None:
        self.alpha, self.steps, self.flat, self._lead = at_least_float32(alpha), steps, flat, tuple(lead)

    @property
    def lead_shape(self) -> Shape:
        return self._lead

    @property
    def event_shape(self) -> Shape:
        channels = len(self.alpha)
        return (self.steps * channels,) if self.flat else (self.steps, channels)

    @property
    def mean(self) -> Tensor:
        return self.alpha.new_zeros(()).expand(*self._lead, *self.event_shape)

    @property
    def _log_variance(self) -> Tensor:
        """log(1 − α²), of shape ``(d,)``."""
        return (-self.alpha.square()).log1p()

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise ValueError("AutoregressiveGaussian: a mask cannot leave elements of a chain out. Leave it out.")
        z = self._by_step(x)
        shift = z[..., 1:, :] - self.alpha * z[..., :-1, :]
        later = shift.square() * (-self._log_variance).exp() + self._log_variance
        value = -0.5 * (z[..., 0, :].square().sum(-1) + later.sum((-2, -1)))
        value = value - _HALF_LOG_TWO_PI * self.steps * len(self.alpha)
        return value.expand(torch.broadcast_shapes(value.shape, self._lead))

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        front = () if draws is None else (draws,)
        shape = (*front, *self._lead, self.steps, len(self.alpha))
        epsilon = noise.normal(shape, max(len(front) + len(self._lead) - 1, 0), self.alpha.dtype)
        scale = (0.5 * self._log_variance).exp()
        z = [epsilon[..., 0, :]]
        for t in range(1, self.steps):
            z.append(self.alpha * z[-1] + scale * epsilon[..., t, :])
        stacked = torch.stack(z, -2)
        return stacked.flatten(-2) if self.flat else stacked

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.alpha, self.steps, self.flat, lead)

    def detached(self) -> Self:
        return type(self)(self.alpha.detach(), self.steps, self.flat, self._lead)

    def entropy(self) -> Tensor:
        each = (_HALF_LOG_TWO_PI + 0.5) * self.steps * len(self.alpha)
        return (0.5 * (self.steps - 1) * self._log_variance.sum() + each).expand(self._lead)

    def kl_by_element_from(self, q: DiagonalGaussian) -> Tensor | None:
        r"""KL(q ‖ self) of a diagonal Gaussian: the mean over z_{t−1} ~ q of the divergence of step t, in nats.

        .. math:: \tfrac12\Big[\frac{\sigma_t^2 + (\mu_t-\alpha\mu_{t-1})^2 + \alpha^2\sigma_{t-1}^2}{1-\alpha^2}
            - 1 - \ln\frac{\sigma_t^2}{1-\alpha^2}\Big], \qquad t \ge 2

        The part with σ²_{t−1} is what makes it a divergence: z_{t−1} is drawn, not given. Step 1 meets N(0, 1).
        """
        loc, log_scale = self._by_step(q.loc), self._by_step(q.log_scale.expand_as(q.loc))
        variance = (2 * log_scale).exp()
        first = variance[..., :1, :] + loc[..., :1, :].square()
        shift = (loc[..., 1:, :] - self.alpha * loc[..., :-1, :]).square()
        later = variance[..., 1:, :] + shift + self.alpha.square() * variance[..., :-1, :]
        later = later * (-self._log_variance).exp() + self._log_variance
        value = 0.5 * (torch.cat((first, later), -2) - 1) - log_scale
        return value.flatten(-2) if self.flat else value

    def conditionals(self) -> Conditionals:
        channels = len(self.alpha)
        shape = (*self._lead, channels)
        loc, log_scale = self.alpha.new_zeros(shape), self.alpha.new_zeros(channels)
        for t in range(self.steps):
            piece = DiagonalGaussian(loc, log_scale.expand(shape))
            loc = self.alpha * (yield piece, slice(t * channels, (t + 1) * channels))
            log_scale = 0.5 * self._log_variance

    def _by_step(self, value: Tensor) -> Tensor:
        """Events as ``(…, n, d)``."""
        return value.unflatten(-1, (self.steps, len(self.alpha))) if self.flat else value
