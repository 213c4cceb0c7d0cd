"""Heads of richer posteriors, whose raw numbers belong to the event as a whole."""

__all__ = ["FullGaussianHead", "MixtureHead"]

import torch
from torch import Tensor

from .._checks import positive, positive_int
from .._shapes import Shape, size
from .base import at_least_float32
from .full_gaussian import FullGaussian
from .gaussian import DiagonalGaussian
from .heads import Head
from .mixture import Mixture


class FullGaussianHead(Head):
    """The mean and the Cholesky factor of a Gaussian, from D + D (D + 1) / 2 raw numbers for an event of D.

    First come D means, then D numbers r whose ``floor + exp(r)`` is the factor's diagonal, then what is below it, row
    by row.

    Args:
        event: shape of one event.
        floor: the least element of the diagonal, in units of z: triangular systems are solved with it.

    Raises:
        ValueError: a floor that is not above 0.

    References:
        Kingma and Welling 2019, arXiv:1906.02691, algorithm 2.
    """

    def __init__(self, event: int | Shape, floor: float = 1e-4) -> None:
        super().__init__(event)
        self.floor = positive(floor, "FullGaussianHead: floor")

    @property
    def per_element(self) -> int:
        raise ValueError("FullGaussianHead: its raw numbers belong to the whole event; see raw_shape.")

    @property
    def raw_shape(self) -> Shape:
        numbers = size(self.event)
        return (2 * numbers + numbers * (numbers - 1) // 2,)

    def forward(self, raw: Tensor) -> FullGaussian:
        raw, numbers = at_least_float32(raw), size(self.event)
        loc, log_diagonal, below = raw.split((numbers, numbers, self.raw_shape[0] - 2 * numbers), -1)
        factor = torch.diag_embed(self.floor + log_diagonal.exp())
        row, column = torch.tril_indices(numbers, numbers, -1, device=raw.device)
        factor[..., row, column] = below
        return FullGaussian(loc.unflatten(-1, self.event), factor, len(self.event))


class MixtureHead(Head):
    """A mixture of K diagonal Gaussians, from K (1 + 2 D) raw numbers for an event of D.

    First come the K logits of the weights, then all means, component by component, then all log standard deviations.

    Args:
        event: shape of one event.
        components: K.
    """

    def __init__(self, event: int | Shape, components: int) -> None:
        super().__init__(event)
        self.components = positive_int(components, "MixtureHead: components")

    @property
    def per_element(self) -> int:
        raise ValueError("MixtureHead: its raw numbers belong to the whole event; see raw_shape.")

    @property
    def raw_shape(self) -> Shape:
        return (self.components * (1 + 2 * size(self.event)),)

    def forward(self, raw: Tensor) -> Mixture:
        raw, numbers = at_least_float32(raw), self.components * size(self.event)
        logits, loc, log_scale = raw.split((self.components, numbers, numbers), -1)
        each = (self.components, *self.event)
        parts = DiagonalGaussian(loc.unflatten(-1, each), log_scale.unflatten(-1, each), len(self.event))
        return Mixture(logits, parts)
