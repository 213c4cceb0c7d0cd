"""KL balancing: while the rate is being let in, groups of latents that tell much pay more, and silent ones less."""

__all__ = ["Balanced"]

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .._shapes import as_shape
from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, by_level, latents, plain_terms, rate, with_penalties
from .schedules import Schedule


class Balanced(Objective):
    r"""The ELBO with a weight β on the rate and, as long as β < 1, a weight γ on each group's share of it.

    .. math:: \mathbb E_q \log p(x \mid z) - \beta \sum_i \gamma_i\, \mathrm{KL}_i, \qquad
        \gamma_i \propto \frac{\mathbb E_x |\mathrm{KL}_i| + 0.01}{\alpha_i}, \quad
        \frac1G \sum_i \gamma_i = 1, \quad \alpha_i \propto \frac{4^s}{\text{groups at scale } s}

    s counts the scales from the top, 0, and the least α is 1. Groups at a finer scale have four times as many pixels
    and may tell more. The expectation is over the batch of the step before, over all processes: so the weights are
    constants of a step, and no gradient goes through them. Before the first step it is 0.

    With β < 1 it is no bound; with β = 1 all γ are 1, and it is the ELBO. The plain ELBO is reported in any case.

    Args:
        groups: how many groups of latents (levels) there are at each scale, from the top.
        beta: β, a number or a schedule; linear from 0.0001 to 1 over the first 30 % of the steps, in the paper's code.
        draws: draws of z for each datum.

    Raises:
        ValueError: a model with another number of levels.

    References:
        Vahdat and Kautz 2020, arXiv:2007.03898, appendix A.

    Example:
        >>> Balanced((5, 10)).alpha.tolist() == [1.0] * 5 + [2.0] * 10
        True
    """

    beta: Tensor
    alpha: Tensor
    rates: Tensor

    def __init__(self, groups: Sequence[int], beta: float | Schedule = 1.0, draws: int = 1) -> None:
        super().__init__(draws)
        self.hyper("beta", beta)
        counts = as_shape(tuple(groups), "Balanced: groups")
        each = [4**s / count for s, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("alpha", torch.tensor(each) / min(each), persistent=False)
        self.register_buffer("rates", torch.zeros(len(each)))

    @property
    def weights(self) -> Tensor:
        """γ for each group from the top; ones where β is not below 1."""
        share = (self.rates + 0.01) / self.alpha
        return torch.where(self.beta < 1, share / share.mean(), torch.ones_like(share))

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        levels, raw = latents(trace, "Balanced", "rate to balance"), plain_terms(trace)
        if len(levels) != len(self.rates):
            raise ValueError(
                f"Balanced: groups: the model has {len(levels)} groups of latents, and {len(self.rates)} were told."
            )
        each = torch.stack([rate(level) for level in levels])
        balanced = (self.weights[:, None] * each).sum(0)
        parts = {
            "log_likelihood": Term(raw["log_likelihood"], 1.0),
            "balanced_rate": Term(balanced, -self.beta),
            "rate": Term(raw["rate"], 0.0),
            **by_level(trace),
        }
        found = each.detach().abs().mean(1)
        return Terms(with_penalties(parts, trace).parts, {"balanced_rates": found})

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        self.rates.copy_(summary["balanced_rates"])
