"""Priors over codes: all alike, or each given those before it."""

__all__ = ["PixelCodes", "UniformCodes"]

from functools import partial

import torch
from torch import Tensor

from .._checks import positive_int
from .._shapes import Shape, as_shape
from ..conditional import Prior
from ..distributions import Codes, CodesHead, PixelHead, Pixelwise
from ..networks import GatedPixelCNN, PixelStacks


class UniformCodes(Prior):
    r"""Every code as probable as every other: −log p(z) = n log K for n codes.

    Args:
        latent: shape of z, such as (1, 7, 7).
        levels: K: codes are from 0 to K − 1.

    Example:
        >>> UniformCodes((1, 7, 7), 64)().log_prob(torch.zeros(1, 7, 7, dtype=torch.long))
        tensor(-203.7852)
    """

    even: Tensor
    support = "codes"

    def __init__(self, latent: int | Shape, levels: int) -> None:
        super().__init__()
        self.event = as_shape(latent, "UniformCodes: latent")
        self.levels = positive_int(levels, "UniformCodes: levels")
        self.register_buffer("even", torch.zeros(self.levels, *self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> Codes:
        return Codes(self.even, len(self.event))


class PixelCodes(Prior):
    r"""Each code given those before it, row by row, by a gated PixelCNN that sees them one-hot.

    .. math:: p(z) = \prod_i p(z_i \mid z_{<i})

    Args:
        latent: shape of z, (C, H, W): C codes at each place, (1, 1, n) for a row of n.
        levels: K: codes are from 0 to K − 1.
        stacks: layers, filters and kernels of the PixelCNN.

    References:
        van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937; van den Oord et al. 2016, arXiv:1606.05328.

    Example:
        >>> prior = PixelCodes((1, 7, 7), 64, PixelStacks(layers=2, filters=8, kernel=3))
        >>> prior().log_prob(torch.zeros(5, 1, 7, 7, dtype=torch.long)).shape
        torch.Size([5])
    """

    support = "codes"

    def __init__(self, latent: Shape, levels: int, stacks: PixelStacks | None = None) -> None:
        super().__init__()
        self.event = as_shape(latent, "PixelCodes: latent")
        self.levels = positive_int(levels, "PixelCodes: levels")
        network = GatedPixelCNN(self.event, self.levels, None, stacks, codes=self.levels)
        self.head = PixelHead(self.event, partial(CodesHead, levels=self.levels), network)

    def forward(self, c: Tensor | None = None) -> Pixelwise:
        return self.head.alone()
