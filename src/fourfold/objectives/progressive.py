"""The objective of progressive learning: levels that are not in use yet are held near their prior."""

__all__ = ["ProgressiveELBO"]

import torch
from torch import Tensor

from .._checks import positive_int
from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, latents, rate, with_penalties


class ProgressiveELBO(Objective):
    r"""The evidence lower bound with one weight on the rate of the upper levels and another on that of the others.

    .. math:: \mathcal L = \log p(x \mid z) - \beta \sum_{l \in \text{active}} \mathrm{KL}_l
        - \gamma \sum_{l \notin \text{active}} \mathrm{KL}_l

    It is a bound only with β ≥ 1, and then γ may be anything if p(x | z) does not depend on the levels that are not
    active. The plain ELBO, with the whole rate, is reported beside it in any case.

    Args:
        active: how many levels are active, from the top.
        beta: β.
        gamma: γ, the pre-training weight.

    References:
        Li, Murkute, Gyawali and Wang 2020, arXiv:2002.10549.
    """

    beta: Tensor
    gamma: Tensor

    def __init__(self, active: int, beta: float = 1.0, gamma: float = 0.5) -> None:
        super().__init__()
        self.active = positive_int(active, "ProgressiveELBO: active")
        self.hyper("beta", beta)
        self.hyper("gamma", gamma)

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        levels = latents(trace, "ProgressiveELBO", "levels to bring in")
        if self.active > len(levels):
            raise ValueError(
                f"ProgressiveELBO: active is {self.active}, and this model has {len(levels)} levels. Give at most that."
            )
        rates = [rate(level) for level in levels]
        parts = {
            "log_likelihood": Term(trace.log_likelihood.mean(0), 1.0),
            "rate": Term(torch.stack(rates).sum(0), 0.0),
        }
        for i, value in enumerate(rates, 1):
            parts[f"rate_{i}"] = Term(value, -(self.beta if i <= self.active else self.gamma))
        return with_penalties(parts, trace)
