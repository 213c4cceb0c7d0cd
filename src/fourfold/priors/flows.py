"""Learned priors: a standard normal seen through a flow."""

__all__ = ["AutoregressiveFlow", "CouplingFlow"]

from abc import ABC

import torch
from torch import Tensor, nn

from .._shapes import Shape, as_shape
from ..conditional import Prior
from ..distributions import DiagonalGaussian, PullBack
from ..networks.flows import affine, splines


class _FlowPrior(Prior, ABC):
    """ε = g(z) ~ N(0, I), with one learned g."""

    flow: nn.Module
    zero: Tensor

    def __init__(self, latent: int | Shape) -> None:
        super().__init__()
        owner = type(self).__name__
        self.event = as_shape(latent, f"{owner}: latent")
        if len(self.event) != 1:
            raise ValueError(f"{owner}: latent: a flow maps vectors, got shape {self.event}. Give the size of z.")
        self.register_buffer("zero", torch.zeros(self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> PullBack:
        return PullBack(DiagonalGaussian(self.zero, self.zero, standard=True), self.flow(None))


class AutoregressiveFlow(_FlowPrior):
    r"""The autoregressive prior of the variational lossy autoencoder.

    .. math:: \log p(z) = \log \mathcal N(g(z); 0, I) + \log\left|\det \frac{\partial g}{\partial z}\right|

    with g of MADE steps, the order reversed from one to the next. The density of an encoder's sample is one parallel
    pass; a draw takes one pass for each element of z and each step. Along the encoder it costs, and is, what an
    inverse autoregressive posterior is with the same map; but the decoder is the deeper one here. It starts near
    N(0, I), and is the same for every c.

    Args:
        latent: size of z.
        steps: how many maps.
        hidden: widths of the hidden layers of each map's network.
        activation: its name.
        mean_only: shifts without scales, as in the paper's binary models.

    References:
        Chen et al. 2016, arXiv:1611.02731.

    Example:
        >>> AutoregressiveFlow(3)().log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        latent: int | Shape,
        steps: int = 2,
        hidden: tuple[int, ...] = (320, 320),
        activation: str = "elu",
        mean_only: bool = False,
    ) -> None:
        super().__init__(latent)
        self.flow = affine(self.event[0], 0, steps, hidden, activation, mean_only)


class CouplingFlow(_FlowPrior):
    """A prior of spline couplings: density and draws are both parallel, a draw at two passes for each step.

    It starts near N(0, I), and is the same for every c.

    Args:
        latent: size of z.
        steps: how many maps; the halves of z change places from one to the next.
        hidden: widths of the hidden layers of each map's network.
        activation: its name.
        bins: pieces of each spline on [−5, 5]; outside, a map is the identity.

    References:
        Dinh et al. 2016, arXiv:1605.08803; Durkan et al. 2019, arXiv:1906.04032; as a prior: Xu et al. 2019.

    Example:
        >>> CouplingFlow(3)().log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        latent: int | Shape,
        steps: int = 4,
        hidden: tuple[int, ...] = (128, 128),
        activation: str = "elu",
        bins: int = 8,
    ) -> None:
        super().__init__(latent)
        self.flow = splines(self.event[0], 0, steps, hidden, activation, bins)
