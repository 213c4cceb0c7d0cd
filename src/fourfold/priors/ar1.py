"""The prior of the δ-VAE: one that no factorised posterior can meet."""

__all__ = ["AR1", "alpha_for", "committed_rate"]

from collections.abc import Sequence
from math import expm1, isfinite, log1p, sqrt
from typing import Any, Self

import torch
from torch import Tensor

from .._checks import positive, positive_int
from ..conditional import Prior
from ..distributions import AutoregressiveGaussian


class AR1(Prior):
    r"""Each of d channels is a stationary AR(1) process of n steps: a diagonal Gaussian stays δ nats away from it.

    .. math:: p(z_1) = \mathcal N(0, 1), \quad p(z_t \mid z_{t-1}) = \mathcal N(\alpha z_{t-1}, 1-\alpha^2), \quad
        \min_q \mathrm{KL}(q \,\|\, p) = \delta
            = \tfrac12 \sum_{k=1}^d \big[(n-2)\ln(1+\alpha_k^2) - \ln(1-\alpha_k^2)\big]

    The minimum is over posteriors that are independent from step to step, and is reached at mean 0 and
    σ_t² = 1/P_tt, P being the process's precision matrix. A posterior that is not (full covariance, a flow, a mixture)
    may go below it: the promise is then void.

    Args:
        steps: n, at least 2.
        channels: d.
        alpha: α of all channels or of each, above 0 and below 1; ``alpha_for`` finds it for a rate.
        flat: latents have shape ``(n·d,)``, all channels of step 1 first, in place of ``(n, d)``.

    Attributes:
        rate: δ in nats.

    Raises:
        ValueError: one step (nothing is promised), or α out of its range.

    References:
        Razavi, van den Oord, Poole and Vinyals 2019, arXiv:1901.03416.

    Example:
        >>> prior = AR1(steps=16, channels=1, alpha=0.7)
        >>> round(prior.rate, 4), prior.event
        (3.1281, (16, 1))
    """

    alpha: Tensor

    def __init__(self, steps: int, channels: int, alpha: float | Sequence[float], *, flat: bool = False) -> None:
        super().__init__()
        self.steps, channels, self.flat = _steps(steps, "AR1"), positive_int(channels, "AR1: channels"), flat
        given = [float(a) for a in alpha] if isinstance(alpha, Sequence) else [float(alpha)] * channels
        if len(given) != channels or not all(0 < a < 1 for a in given):
            raise ValueError(
                f"AR1: alpha must be above 0 and below 1, one number or one for each of {channels} channels, "
                f"got {alpha!r}. alpha_for(rate, steps, channels) finds it for a rate."
            )
        self.alphas = tuple(given)
        self.event = (self.steps * channels,) if flat else (self.steps, channels)
        self.register_buffer("alpha", torch.tensor(given), persistent=False)

    @property
    def rate(self) -> float:
        """δ in nats: what a factorised posterior pays at the least."""
        return sum(committed_rate(a, self.steps) for a in self.alphas)

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

    Example:
        >>> round(committed_rate(0.5, 2), 4)
        0.1438
    """
    steps = _steps(steps, "committed_rate")
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
        raise ValueError(f"{owner}: with one step the prior is a standard normal, and no rate is promised. Give 2.")
    return steps
