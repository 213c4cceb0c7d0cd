"""The prior of the δ-VAE: one that no factorised posterior can meet."""

__all__ = ["AR1", "alpha_for", "committed_rate"]

from collections.abc import Sequence
from math import expm1, isfinite, log1p, sqrt
from typing import Any, Self

import torch
from torch import Tensor

from .._checks import positive, positive_int
from .._shapes import Shape, as_shape
from ..conditional import Prior
from ..distributions import AutoregressiveGaussian, DiagonalGaussian


class AR1(Prior):
    r"""Each of d channels is a stationary AR(1) process of n steps: a diagonal Gaussian stays δ nats away from it.

    .. math:: p(z_1) = \mathcal N(0, 1), \quad p(z_t \mid z_{t-1}) = \mathcal N(\alpha z_{t-1}, 1-\alpha^2), \quad
        \min_q \mathrm{KL}(q \,\|\, p) = \delta
            = \tfrac12 \sum_{k=1}^d \big[(n-2)\ln(1+\alpha_k^2) - \ln(1-\alpha_k^2)\big]

    The minimum is over posteriors that are independent from step to step, and is reached at mean 0 and
    σ_t² = 1/P_tt, P being the process's precision matrix. A posterior that is not (full covariance, a flow, a mixture)
    may go below it: the promise is then void.

    Args:
        latent: ``(n, d)``; or the size of z, for d processes side by side in a vector: all channels of step 1 first.
        rate: δ in nats over all channels, for which one α is solved; or give ``alpha``.
        alpha: α of all channels or of each, above 0 and below 1, instead of a rate.
        channels: d, where ``latent`` is a size, which it must divide.

    Raises:
        ValueError: fewer than two steps (nothing is promised), both or neither of rate and α, or one out of its range.

    References:
        Razavi, van den Oord, Poole and Vinyals 2019, arXiv:1901.03416.

    Example:
        >>> prior = AR1((16, 1), alpha=0.7)
        >>> round(prior.rate, 4), prior.event
        (3.1281, (16, 1))
        >>> round(AR1(40, rate=5.0, channels=4).alphas[0], 4)
        0.553
    """

    alpha: Tensor

    def __init__(
        self,
        latent: int | Shape,
        *,
        rate: float | None = None,
        alpha: float | Sequence[float] | None = None,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.event = as_shape(latent, "AR1: latent")
        self.flat = len(self.event) == 1
        self.steps, width = self._sizes(positive_int(channels, "AR1: channels"))
        if (rate is None) == (alpha is None):
            raise ValueError("AR1: give the committed rate in nats (rate=…) or the process itself (alpha=…), not both.")
        if alpha is None:
            alpha = alpha_for(rate or 0.0, self.steps, width)
        given = [float(a) for a in alpha] if isinstance(alpha, Sequence) else [float(alpha)] * width
        if len(given) != width or not all(0 < a < 1 for a in given):
            raise ValueError(
                f"AR1: alpha must be above 0 and below 1, one number or one for each of {width} channels, "
                f"got {alpha!r}. Give rate=… to have it solved for."
            )
        self.alphas = tuple(given)
        self.register_buffer("alpha", torch.tensor(given), persistent=False)

    def _sizes(self, channels: int) -> tuple[int, int]:
        """n and d."""
        if self.flat and self.event[0] % channels == 0:
            return _steps(self.event[0] // channels, "AR1"), channels
        if len(self.event) == 2 and channels in (1, self.event[1]):
            return _steps(self.event[0], "AR1"), self.event[1]
        raise ValueError(
            f"AR1: latent must be (steps, channels), or a size that channels divides, got {self.event} and "
            f"channels={channels}."
        )

    @property
    def rate(self) -> float:
        """δ in nats: what a factorised posterior pays at the least."""
        return sum(committed_rate(a, self.steps) for a in self.alphas)

    @property
    def committed(self) -> Tensor:
        """δ latent by latent in nats, of the shape of z: the KL of the factorised posterior that pays the least."""
        p = self()
        precision = (1 + self.alpha.square()) / (1 - self.alpha.square())
        each = precision.expand(self.steps, -1).clone()
        each[[0, -1]] = 1 / (1 - self.alpha.square())
        log_scale = -0.5 * each.log().reshape(self.event)
        kl = p.kl_by_element_from(DiagonalGaussian(torch.zeros_like(log_scale), log_scale))
        assert kl is not None
        return kl

    def forward(self, c: Tensor | None = None) -> AutoregressiveGaussian:
        return AutoregressiveGaussian(self.alpha, self.steps, self.flat)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moves and casts as any module; α then gets back the digits that a narrower type had cost."""
        moved = super()._apply(fn, recurse)
        self.alpha.copy_(torch.tensor(self.alphas, dtype=torch.float64))
        return moved


def committed_rate(alpha: float, steps: int, channels: int = 1) -> float:
    r"""The least KL in nats of a diagonal Gaussian from ``channels`` AR(1) processes of so many steps.

    .. math:: \delta = \tfrac d2 \big[(n-2)\ln(1+\alpha^2) - \ln(1-\alpha^2)\big]

    Raises:
        ValueError: an α that is not between −1 and 1, fewer than two steps.

    Example:
        >>> round(committed_rate(0.5, 2), 4)
        0.1438
    """
    steps = _steps(steps, "committed_rate")
    if not -1 < alpha < 1:
        raise ValueError(
            f"committed_rate: alpha must be above −1 and below 1, or the process is not stationary, got {alpha!r}. "
            "Use alpha_for(rate, steps) to have it solved for."
        )
    return 0.5 * channels * ((steps - 2) * log1p(alpha**2) - log1p(-(alpha**2)))


def alpha_for(rate: float, steps: int, channels: int = 1) -> float:
    """The α, the same for all channels, with which an AR(1) prior commits a diagonal Gaussian to this rate.

    Solved by bisection, to the last digits of float64.

    Args:
        rate: δ in nats over all channels.
        steps: n, at least 2.
        channels: d.

    Raises:
        ValueError: a rate so high for so few steps and channels that α is 1 to within 10⁻⁶.

    Example:
        >>> round(alpha_for(3.1281, 16), 4)
        0.7
    """
    each = 2 * positive(rate, "alpha_for: rate") / positive_int(channels, "alpha_for: channels")
    steps = _steps(steps, "alpha_for")
    low, high = 0.0, each  # in t = −ln(1 − α²), in which the rate is (n − 2) ln(2 − e⁻ᵗ) + t ≥ t
    while low < (middle := 0.5 * (low + high)) < high:
        if (steps - 2) * log1p(-expm1(-middle)) + middle < each:
            low = middle
        else:
            high = middle
    alpha = sqrt(-expm1(-high))
    if not isfinite(alpha) or alpha > 1 - 1e-6:
        raise ValueError(
            f"alpha_for: {rate} nats in {steps} steps of {channels} channels need an α of 1 to within 10⁻⁶. "
            "Give more steps or channels, or a lower rate."
        )
    return alpha


def _steps(value: int, owner: str) -> int:
    steps = positive_int(value, f"{owner}: steps")
    if steps == 1:
        raise ValueError(f"{owner}: with one step the prior is a standard normal, and no rate is promised. Take more.")
    return steps
