"""The posterior that does not look at x."""

__all__ = ["FromPrior"]

from torch import Tensor

from ..conditional import Conditional, Prior
from ..distributions import Distribution


class FromPrior(Conditional):
    """q(z | x, c) = p(z | c): turns the ELBO into the objective of Sohn's Gaussian stochastic network (GSNN).

    The rate is zero by construction and the bound is E_{p(z|c)} log p(x | z, c).

    Args:
        prior: the model's own prior, shared and not copied.

    References:
        Sohn, Lee and Yan 2015, "Learning structured output representation using deep conditional generative models".
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return self.prior(c).expand((len(context),))
