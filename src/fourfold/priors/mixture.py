"""The learned mixture of Gaussians as prior."""

__all__ = ["GaussianMixture"]

from math import log

import torch
from torch import Tensor, nn

from .._checks import fraction, positive_int
from .._shapes import Shape, as_shape
from ..conditional import Prior
from ..distributions import DiagonalGaussian, Mixture


class GaussianMixture(Prior):
    r"""p(z) = Σ_k w_k N(μ_k, diag σ_k²), with learned weights, means and scales.

    .. math:: \mu_k \sim \mathcal N(0, s^2), \qquad \sigma_k^2 = 1 - s^2, \qquad w_k = 1/K \qquad \text{at the start,}

    so that each latent begins with mean 0 and variance 1, as under the standard normal (means are drawn from
    torch's global generator, as all first weights are, and cut off at 3 s). The rate has no closed form.

    Args:
        latent: size or shape of z.
        components: K.
        spread: s, from 0 up to but not including 1.

    References:
        the baseline "MoG" of Tomczak and Welling 2017, arXiv:1705.07120.

    Example:
        >>> GaussianMixture(2, components=3)().components.lead_shape
        (3,)
    """

    def __init__(self, latent: int | Shape, components: int = 10, spread: float = 0.5) -> None:
        super().__init__()
        self.event = as_shape(latent, "GaussianMixture: latent")
        spread = fraction(spread, "GaussianMixture: spread")
        shape = (positive_int(components, "GaussianMixture: components"), *self.event)
        self.logits, self.loc = nn.Parameter(torch.zeros(shape[:1])), nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.full(shape, 0.5 * log(1 - spread**2)))
        if spread:
            nn.init.trunc_normal_(self.loc, std=spread, a=-3 * spread, b=3 * spread)

    def forward(self, c: Tensor | None = None) -> Mixture:
        return Mixture(self.logits, DiagonalGaussian(self.loc, self.log_scale, len(self.event)))
