"""Controlled capacity: the rate is held at a value that grows during training."""

__all__ = ["Capacity"]


from torch import Tensor

from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, latents, plain_terms, with_penalties
from .schedules import Linear, Schedule

_RAMP = Linear(0.5, 25.0, 100_000)


class Capacity(Objective):
    r"""The reconstruction under a rate that is held at C nats, C growing from near 0.

    .. math:: \frac1B \sum_i E_{q(z \mid x_i)} \log p(x_i \mid z)
        - \gamma\,\Big|\frac1B \sum_i \mathrm{KL}(q(z \mid x_i) \,\|\, p(z)) - C\Big|

    It is no bound: with the rate below C the gap pushes the rate up. C is in nats (25 nats are 36 bits), and is what
    the mean rate of a batch is held at; single data may have more or less. Start C above 0: at a rate of 0 the
    posterior has nothing to hold on to. A γ that is large for the learning rate makes the rate swing around C.

    The gap is of a mean over the batch, inside an absolute value: a statistic of the whole batch, so neither
    accumulation nor several processes are taken. Validation takes it on its own chunks of rows.

    Args:
        gamma: γ, a number or a schedule; 1000 in the paper, 100 in several later codes.
        capacity: C in nats, a number or a schedule; by default from 0.5 to 25 over 100,000 steps.
        draws: draws of z for each datum.

    References:
        Burgess et al. 2018, "Understanding disentangling in beta-VAE", arXiv:1804.03599.
    """

    batch_statistic = True
    gamma: Tensor
    capacity: Tensor

    def __init__(
        self,
        gamma: float | Schedule = 1000.0,
        capacity: float | Schedule = _RAMP,
        draws: int = 1,
    ) -> None:
        super().__init__(draws)
        self.hyper("gamma", gamma)
        self.hyper("capacity", capacity)

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        latents(trace, "Capacity", "rate to hold at C")
        raw = plain_terms(trace)
        rate = raw["rate"]
        gap = (rate.mean() - self.capacity).abs()
        parts = {
            "log_likelihood": Term(raw["log_likelihood"], 1.0),
            "rate": Term(rate, 0.0),
            "capacity": Term(self.capacity.expand_as(rate), 0.0),
            "capacity_gap": Term(gap.expand_as(rate), -self.gamma),
        }
        return with_penalties(parts, trace)
