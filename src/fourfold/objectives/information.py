"""InfoVAE: the latents of all data together are held to the prior; the rate of each datum is cheaper, or free."""

__all__ = ["KERNELS", "InfoVAE"]

from collections.abc import Callable

import torch
from torch import Tensor

from .._checks import choice
from .._shapes import size
from ..noise import Noise, NoiseSource
from ..statistics import IMQ, RBF, Kernel, mmd2, multi_scale
from ..trace import Level, Term, Terms, Trace
from .base import Objective, at_least_two, plain_terms, with_penalties
from .schedules import Schedule

#: Kernels by name, each a function of d, the number of latents; the scales are those of a standard normal prior.
KERNELS: dict[str, Callable[[int], Kernel]] = {
    "imq": lambda d: IMQ(2.0 * d),
    "imq_scales": lambda d: multi_scale(IMQ, 2.0 * d),
    "rbf": lambda d: RBF(d / 2**0.5),
}


class InfoVAE(Objective):
    r"""Reconstruction, a rate at a discount, and the distance of q(z) = E_x q(z | x) from the prior.

    .. math:: \mathbb E_q \log p(x \mid z) - (1-\alpha)\,\mathrm{KL}(q(z \mid x) \,\|\, p(z))
              - (\alpha+\lambda-1)\,\mathrm{MMD}^2(q(z), p(z))

    α = 0, λ = 1 is the ELBO; α + λ = 1 is a β-VAE with β = 1 − α; α = 1 is the MMD-VAE, whose rate is reported and not
    paid. With α > 0 it is no bound on log p(x). MMD² compares draws of q, one a datum, with as many fresh draws of the
    model's prior; several draws of z are compared one set after another. It belongs to the batch, is without unit, and
    lies within 0 … 2 for the single kernels below, the usual values being hundredths: λ must be of the size of the
    distortion in nats or a few times larger. Much more drowns the reconstruction in the noise of MMD².

    Args:
        alpha: α, at most 1.
        lambda_: λ, a number or a schedule; α + λ must be at least 1.
        kernel: ``None`` is IMQ with C = 2d for d latents; others by name in ``KERNELS``: at Zhao's 2σ² = d² a Gaussian
            is all but flat over 20 latents, and its gradient with it.
        estimator: "unbiased" leaves out each point's pair with itself, and may be negative; "biased" keeps it: then the
            value depends on the size of the batch; "linear" is cheap and noisy. A batch of one, which only validation
            may have, has no other than the biased one: that is reported.
        draws: draws of z for each datum.
        deterministic: says that the posterior is meant to be a point: the Wasserstein autoencoder with an MMD penalty.
            Its rate is infinite, so α must be 1; it is not reported.

    Raises:
        ValueError: weights below 0; a point posterior unannounced; a model that has not one group of latents.

    References:
        Zhao, Song and Ermon 2017, arXiv:1706.02262; Tolstikhin, Bousquet, Gelly and Schölkopf 2018, arXiv:1711.01558.

    Example:
        >>> InfoVAE(alpha=0.5, lambda_=100.0).mmd_weight
        tensor(99.5000)
    """

    batch_statistic = True
    rate_weight: Tensor
    lambda_: Tensor

    def __init__(
        self,
        alpha: float = 0.0,
        lambda_: float | Schedule = 1000.0,
        kernel: Kernel | None = None,
        estimator: str = "unbiased",
        draws: int = 1,
        *,
        deterministic: bool = False,
    ) -> None:
        super().__init__(draws)
        if not alpha <= 1:
            raise ValueError(f"InfoVAE: alpha must be at most 1, as the rate weighs 1 − alpha, got {alpha!r}.")
        if deterministic and alpha != 1:
            raise ValueError(f"InfoVAE: deterministic needs alpha=1: a point's rate is infinite, got alpha={alpha!r}.")
        self.hyper("rate_weight", 1.0 - alpha)
        self.hyper("lambda_", lambda_)
        self.advance(0)
        self.kernel, self.deterministic = kernel, deterministic
        self.estimator = choice(estimator, ("unbiased", "biased", "linear"), "InfoVAE: estimator")

    def advance(self, step: int) -> None:
        super().advance(step)
        if self.values["lambda_"] + self.alpha < 1 - 1e-9:
            raise ValueError(
                f"InfoVAE: alpha + lambda_ must be at least 1, else MMD² would be rewarded; got alpha={self.alpha!r} "
                f"and lambda_={self.values['lambda_']!r}. For the ELBO: alpha=0, lambda_=1."
            )

    @property
    def alpha(self) -> float:
        """α: the rate weighs 1 − α."""
        return round(1.0 - self.values["rate_weight"], 12)

    @property
    def mmd_weight(self) -> Tensor:
        """α + λ − 1, in nats for each unit of MMD²."""
        return self.lambda_ - self.rate_weight

    def check_batch(self, batch: int) -> None:
        if self.estimator != "biased":
            at_least_two(batch, f"InfoVAE: the {self.estimator} MMD²")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        level = self._level(trace)
        if self.deterministic:
            parts = {"log_likelihood": Term(trace.log_likelihood.mean(0), 1.0)}
        else:
            raw = plain_terms(trace)
            parts = {"log_likelihood": Term(raw["log_likelihood"], 1.0), "rate": Term(raw["rate"], -self.rate_weight)}
        distance = self._mmd2(level, noise or Noise(device=level.z.device))
        parts["mmd"] = Term(distance.expand(level.z.shape[1]), -self.mmd_weight, "unitless")
        return with_penalties(parts, trace)

    def _mmd2(self, level: Level, noise: NoiseSource) -> Tensor:
        """The mean over draws of MMD² between z and prior draws of its own."""
        draws, batch, *event = level.z.shape
        if self.training:
            self.check_batch(batch)
        estimator = self.estimator if batch > 1 else "biased"
        kernel = self.kernel or KERNELS["imq"](size(tuple(event)))
        fresh = level.p.expand((batch,)).sample(noise, draws)
        pairs = zip(level.z.flatten(2), fresh.flatten(2), strict=True)
        return torch.stack([mmd2(z, p, kernel, estimator) for z, p in pairs]).mean()

    def _level(self, trace: Trace) -> Level:
        if len(trace.levels) != 1:
            raise ValueError(
                f"InfoVAE compares the latents with draws of their prior, and takes models with one group of latents, "
                f"got {len(trace.levels)}: with none nothing is drawn, and the prior of a lower group depends on the "
                "draw above. Take ELBO."
            )
        level = trace.levels[0]
        if level.q.has_density == self.deterministic:
            raise ValueError(
                "InfoVAE: deterministic=True is for a point posterior, and this one has a density. Leave it out."
                if self.deterministic
                else "InfoVAE: the posterior is a point, so there is no rate, and no bound. If that is meant (the "
                "Wasserstein autoencoder), say so: InfoVAE(alpha=1, deterministic=True). Else a Gaussian posterior."
            )
        return level
