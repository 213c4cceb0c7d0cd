"""The evidence lower bound, and the reconstruction that an autoencoder maximises."""

__all__ = ["ELBO", "Reconstruction"]

from typing import Any

import torch
from torch import Tensor

from .._checks import choice
from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, by_level, plain_terms, reconstruction, with_penalties
from .estimators import Estimator, estimator_by_name, in_place, reweighted
from .schedules import Schedule


class ELBO(Objective):
    r"""The evidence lower bound, with a weight β on the rate.

    .. math:: \mathcal L = \frac1L \sum_{l=1}^L \log p(x \mid z^{(l)}) - \beta\,\mathrm{KL}(q(z \mid x) \,\|\, p(z))

    With β = 1 it is a lower bound on log p(x). With β > 1 it is a looser one; with β < 1 it is no bound. The plain
    ELBO is reported beside it in any case.

    Args:
        beta: β, a number or a schedule.
        draws: L, draws of z for each datum.
        kl: ``"auto"`` takes the closed form where posterior and prior have one (SGVB-B) and Monte Carlo elsewhere;
            ``"monte_carlo"`` always estimates from the draws (SGVB-A).
        estimator: ``"autograd"``; or ``"stl"``, sticking the landing: the gradient along the path of z alone, which has
            the same mean and no noise at all where the posterior is exact. The value is the same.

    References:
        Kingma and Welling 2013, arXiv:1312.6114; β: Higgins et al. 2017, "beta-VAE"; STL: Roeder, Wu and Duvenaud 2017,
        arXiv:1703.09194.
    """

    beta: Tensor

    def __init__(
        self,
        beta: float | Schedule = 1.0,
        draws: int = 1,
        kl: str = "auto",
        estimator: str | Estimator = "autograd",
    ) -> None:
        super().__init__(draws)
        self.hyper("beta", beta)
        self.monte_carlo = choice(kl, ("auto", "monte_carlo"), "ELBO: kl") == "monte_carlo"
        self.estimator = estimator_by_name(estimator, "ELBO", ("autograd", "stl"))

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        raw = plain_terms(trace, self.monte_carlo)
        parts = {"log_likelihood": Term(raw["log_likelihood"], 1.0)}
        if "rate" in raw:
            parts["rate"] = Term(raw["rate"], -self.beta)
        return with_penalties({**parts, **by_level(trace, self.monte_carlo)}, trace)

    def surrogate(self, model: Any, trace: Trace, terms: Terms) -> Tensor:
        if self.estimator.plain or not trace.levels:
            return terms.total
        even = torch.full_like(trace.log_likelihood, 1 / len(trace.log_likelihood))
        return in_place(reweighted(model, trace, even, even, beta=self.beta), trace, terms)


class Reconstruction(Objective):
    r"""The log-likelihood of x given its own code, and nothing else: the objective of an autoencoder.

    .. math:: \log p(x \mid z = f(x))

    It is no bound on log p(x): no rate is paid for the code. With a Gaussian likelihood of fixed scale it is the
    squared error, up to a factor and a constant. It is for a point posterior: the noise of any other would go to zero,
    and ``fit`` refuses it; ``ELBO(beta=0.0)`` has the same value for those who mean that.
    """

    sees_prior = False

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        return with_penalties(reconstruction(trace), trace)
