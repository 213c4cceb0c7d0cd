"""DIP-VAE: the covariance of z over the data is drawn towards the identity."""

__all__ = ["DIP"]


import torch
from torch import Tensor

from .._checks import choice
from ..distributions import DiagonalGaussian
from ..distributions.base import at_least_float32
from ..noise import NoiseSource
from ..trace import Level, Term, Terms, Trace
from .base import Objective, at_least_two, one_level, plain_terms, with_penalties
from .schedules import Schedule


class DIP(Objective):
    r"""The ELBO less a penalty on the covariance C of the code over the batch.

    .. math:: \mathcal L - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    Kind I: C is the covariance of the posterior means, :math:`\mathrm{Cov}_x[\mu(x)]`, over the batch and divided by
    B. Kind II: C is that of z itself, :math:`\mathrm{Cov}_x[\mu(x)] + E_x[\operatorname{diag} \sigma^2(x)]`. Latents
    without correlation are not independent ones: it matches second moments of q(z) and nothing else. Kind I also asks
    latents that nobody uses to have means of variance 1, so it is at odds with a code smaller than z.

    Args:
        off_diagonal: λ_od, a number or a schedule.
        diagonal: λ_d, the same; usual are 10 λ_od for kind I and λ_od for kind II.
        kind: ``"i"`` or ``"ii"``.
        draws: draws of z for each datum.

    Raises:
        ValueError: for kind II, a posterior that is no diagonal Gaussian.

    References:
        Kumar, Sattigeri and Balakrishnan 2018, "Variational inference of disentangled latent concepts from unlabeled
        observations", arXiv:1711.00848.
    """

    batch_statistic = True
    off_diagonal: Tensor
    diagonal: Tensor

    def __init__(
        self,
        off_diagonal: float | Schedule = 10.0,
        diagonal: float | Schedule = 100.0,
        kind: str = "i",
        draws: int = 1,
    ) -> None:
        super().__init__(draws)
        self.hyper("off_diagonal", off_diagonal)
        self.hyper("diagonal", diagonal)
        self.kind = choice(kind, ("i", "ii"), "DIP: kind")

    def check_batch(self, batch: int) -> None:
        at_least_two(batch, "DIP")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        level = one_level(trace, "DIP")
        raw = plain_terms(trace)  # a point has no rate, and says so before anything is said of its variances
        covariance = self._covariance(level)
        diagonal = covariance.diagonal()
        apart = (covariance - torch.diag(diagonal)).square().sum()
        fined = {"off_diagonal": (apart, self.off_diagonal), "diagonal": ((diagonal - 1).square().sum(), self.diagonal)}
        parts = {"log_likelihood": Term(raw["log_likelihood"], 1.0), "rate": Term(raw["rate"], -1.0)}
        parts |= {name: Term(value.expand_as(raw["rate"]), -weight, "z^4") for name, (value, weight) in fined.items()}
        return with_penalties(parts, trace)

    def _covariance(self, level: Level) -> Tensor:
        """C, ``(D, D)``."""
        mean = at_least_float32(level.q.mean).flatten(1)
        centred = mean - mean.mean(0)
        with torch.autocast(mean.device.type, enabled=False):
            covariance = centred.T @ centred / len(centred)
        if self.kind == "i":
            return covariance
        if not isinstance(level.q, DiagonalGaussian):
            raise ValueError(
                f"DIP: kind 'ii' needs the variances of a diagonal Gaussian posterior, got {type(level.q).__name__}. "
                "Take kind 'i'."
            )
        return covariance + torch.diag(level.q.scale.flatten(1).square().mean(0))
