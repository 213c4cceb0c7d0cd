"""The evidence lower bound, and the reconstruction that an autoencoder maximises."""

__all__ = ["ELBO", "Reconstruction"]

from torch import Tensor

from .._checks import choice
from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, plain_terms, with_penalties
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

    References:
        Kingma and Welling 2013, arXiv:1312.6114; β: Higgins et al. 2017, "beta-VAE".
    """

    beta: Tensor

    def __init__(self, beta: float | Schedule = 1.0, draws: int = 1, kl: str = "auto") -> None:
        super().__init__(draws)
        self.hyper("beta", beta)
        self.monte_carlo = choice(kl, ("auto", "monte_carlo"), "ELBO: kl") == "monte_carlo"

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        raw = plain_terms(trace, self.monte_carlo)
        parts = {"log_likelihood": Term(raw["log_likelihood"], 1.0)}
        if "rate" in raw:
            parts["rate"] = Term(raw["rate"], -self.beta)
        return with_penalties(parts, trace)


class Reconstruction(Objective):
    r"""The log-likelihood of x given its own code, and nothing else: the objective of an autoencoder.

    .. math:: \log p(x \mid z = f(x))

    It is no bound on log p(x): no rate is paid for the code. With a Gaussian likelihood of fixed scale it is the
    squared error, up to a factor and a constant.
    """

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        return with_penalties({"log_likelihood": Term(trace.log_likelihood.mean(0), 1.0)}, trace)
