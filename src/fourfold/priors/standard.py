"""The standard normal prior."""

__all__ = ["StandardNormal"]

import torch
from torch import Tensor

from .._shapes import Shape, as_shape
from ..conditional import Prior
from ..distributions import DiagonalGaussian


class StandardNormal(Prior):
    """p(z) = N(0, I).

    Args:
        latent: size or shape of z.

    Example:
        >>> StandardNormal(3)().event_shape
        (3,)
    """

    zero: Tensor

    def __init__(self, latent: int | Shape) -> None:
        super().__init__()
        self.event = as_shape(latent, "StandardNormal: latent")
        self.register_buffer("zero", torch.zeros(self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> DiagonalGaussian:
        return DiagonalGaussian(self.zero, self.zero, len(self.event), standard=True)
