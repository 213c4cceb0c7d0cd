"""Free bits: a rate that latents may have for nothing, so that they are not given up early in training."""

__all__ = ["FREE_BITS", "FreeBits", "SoftFreeBits"]

from collections.abc import Mapping

import torch
from torch import Tensor

from .._checks import choice, positive
from ..noise import NoiseSource
from ..trace import Level, Term, Terms, Trace
from .base import Objective, by_level, latents, plain_terms, rate, with_penalties
from .schedules import Schedule

#: How ``FreeBits`` groups and averages.
FREE_BITS = ("per_group_batchmean", "per_dim_batchmean", "per_sample")


class FreeBits(Objective):
    r"""The ELBO with a rate that is not charged below λ nats for each group j of latents.

    .. math:: \mathbb E_q \log p(x \mid z) - \sum_j \max\big(\lambda,\;
              \mathrm{mean}_x\,\mathrm{KL}(q(z_j \mid x) \,\|\, p(z_j))\big)

    The mean over the batch comes first, the maximum after: a group is at or below λ on average, and the data share it
    as they need. Below λ the gradient of a group's rate is exactly 0. A group that is at λ keeps at least that rate
    wherever the reconstruction has any use for it; nothing forces it to. ``clipped_rate`` is optimised and is no KL:
    the bound is that of ``rate``, reported beside it.

    Args:
        nats: λ, in nats for each group; a number or a schedule.
        kind: ``"per_group_batchmean"``: groups are the channels of latents (C, H, W), and all of a flat latent is one
            group; ``"per_dim_batchmean"``: every single latent is a group; ``"per_sample"``: groups as for the first,
            but the maximum is taken for each datum, and then the mean: a weaker promise, with a larger price.
        draws: draws of z for each datum.

    Raises:
        ValueError: groups that have no rate of their own, as under a flow.

    References:
        Kingma et al. 2016, arXiv:1606.04934, equation 15; per_sample: as in the code of BIVA, Maaløe et al. 2019,
        arXiv:1902.02102.
    """

    nats: Tensor

    def __init__(self, nats: float | Schedule, kind: str = "per_group_batchmean", draws: int = 1) -> None:
        super().__init__(draws)
        self.hyper("nats", nats)
        self.kind = choice(kind, FREE_BITS, "FreeBits: kind")
        # The maximum of a mean is a statistic of the batch, the mean of maxima is not.
        self.batch_statistic = kind != "per_sample"

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        levels, raw = latents(trace, "FreeBits", "rate to leave free"), plain_terms(trace)
        clipped = torch.stack([self._clipped(level) for level in levels]).sum(0)
        parts = {
            "log_likelihood": Term(raw["log_likelihood"], 1.0),
            "clipped_rate": Term(clipped, -1.0),
            "rate": Term(raw["rate"], 0.0),
            **by_level(trace),
        }
        return with_penalties(parts, trace)

    def _clipped(self, level: Level) -> Tensor:
        """Σ over groups of what is charged, ``(B,)``."""
        rates = _by_group(level, self.kind)
        if self.kind == "per_sample":
            return rates.clamp(min=self.nats).sum(1)
        return rates.mean(0).clamp(min=self.nats).sum().expand(len(rates))


class SoftFreeBits(Objective):
    r"""The ELBO with a weight γ on the rate that is steered so that the rate stays just above λ nats.

    .. math:: \mathbb E_q \log p(x \mid z) - \gamma\,\mathrm{KL}(q(z \mid x) \,\|\, p(z)), \qquad 0 < \gamma \le 1

    After every step γ is divided by ``factor`` where the rate of the batch is below λ, and multiplied by it, up to 1,
    where it is more than 5 % above. Where the rate stays above λ by itself, γ is 1 and this is the ELBO; with γ < 1 it
    is no bound. γ belongs to the objective, is saved with it, and is the same in validation. As the objective changes
    with γ, only the last validation of a run is judged.

    Args:
        nats: λ, in nats of all latents together; a number or a schedule.
        draws: draws of z for each datum.
        factor: above 1. The published 1.1, taken at every step, outruns the weights: for λ = 12 on the digits the rate
            then swings between 6.6 and 22, with 1.01 between 11.3 and 13.7.

    Raises:
        ValueError: a factor that is not above 1.

    References:
        Chen et al. 2016, arXiv:1611.02731, "Variational lossy autoencoder", appendix.
    """

    nats: Tensor
    gamma: Tensor

    def __init__(self, nats: float | Schedule, draws: int = 1, factor: float = 1.01) -> None:
        super().__init__(draws)
        self.hyper("nats", nats)
        self.factor = positive(factor, "SoftFreeBits: factor")
        if self.factor <= 1:
            raise ValueError(f"SoftFreeBits: factor must be above 1, as γ is divided by it, got {factor!r}.")
        self.register_buffer("gamma", torch.ones(()))

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        latents(trace, "SoftFreeBits", "rate to hold above λ")
        raw = plain_terms(trace)
        parts = {"log_likelihood": Term(raw["log_likelihood"], 1.0), "rate": Term(raw["rate"], -self.gamma)}
        return Terms(with_penalties(parts, trace).parts, {"free_bits_rate": raw["rate"].detach().mean()})

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        found = summary["free_bits_rate"]
        dearer, cheaper = found > 1.05 * self.nats, found < self.nats
        factor = torch.where(dearer, self.factor, torch.where(cheaper, 1 / self.factor, 1.0))
        # With a floor, it finds back from a target that could not be reached for a while.
        self.gamma.mul_(factor).clamp_(1e-4, 1.0)

    def settled(self, step: int, last: int) -> bool:
        return step >= last


def _by_group(level: Level, kind: str) -> Tensor:
    """The rate of each group of a level's latents for each datum, ``(B, groups)``, in nats."""
    by_element, event = level.kl_by_element, len(level.q.event_shape)
    per_dim = kind == "per_dim_batchmean"
    if by_element is None:
        if per_dim or event > 1:
            raise ValueError(
                f"FreeBits: {kind} needs a rate for every group of latents, and KL({type(level.q).__name__} ‖ "
                f"{type(level.p).__name__}) has none for a part of z: its estimate from log q(z) − log p(z) is of all "
                "latents together. Take kind='per_group_batchmean' with a flat latent, SoftFreeBits, or diagonal "
                "Gaussians."
            )
        return rate(level)[:, None]
    if by_element.ndim > event + 1:  # parameters that differ from draw to draw
        by_element = by_element.mean(0)
    by_channel = by_element.flatten(2).sum(2) if event > 1 else by_element.sum(1, keepdim=True)
    return by_element.flatten(1) if per_dim else by_channel
