"""Tied weights: a decoder that is its encoder, transposed."""

__all__ = ["Transposed", "UnitColumns"]

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .._shapes import Shape, as_shape
from .dense import Dense


@final
class Transposed(nn.Module):
    """The layers of a perceptron backwards, with its weights transposed and biases of its own.

    It holds no weights: they are read from the encoder at each pass, and train with it.

    Args:
        encoder: the perceptron, without a condition.
        outputs: shape of one output: that of the encoder's input.

    Raises:
        ValueError: outputs that do not hold as many numbers as the encoder's input.

    Example:
        >>> up = Dense((1, 4, 4), (3,), hidden=(8,))
        >>> Transposed(up, (1, 4, 4))(torch.zeros(5, 3)).shape
        torch.Size([5, 1, 4, 4])
    """

    def __init__(self, encoder: Dense, outputs: int | Shape) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple: its weights are its own, and are listed and saved there
        self.outputs = as_shape(outputs, "Transposed: outputs")
        layers = self._linear
        wanted, found = layers[-1].in_features, torch.Size(self.outputs).numel()
        if wanted != found:
            raise ValueError(f"Transposed: the encoder takes {wanted} numbers, outputs {self.outputs} hold {found}.")
        self.biases = nn.ParameterList(torch.zeros(layer.in_features) for layer in layers)

    def forward(self, context: Tensor) -> Tensor:
        between = [*self._encoder[0].layers.children()][1::2][::-1]
        out = context.flatten(1)
        for i, (layer, bias) in enumerate(zip(self._linear, self.biases, strict=True)):
            out = linear(between[i - 1](out) if i else out, layer.weight.T, bias)
        return out.reshape(-1, *self.outputs)

    @torch.no_grad()
    def start_at(self, outputs: Tensor) -> None:
        """Sets the last biases, so that training starts around these outputs."""
        self.biases[-1].copy_(outputs.flatten())

    @property
    def _linear(self) -> list[nn.Linear]:
        """The encoder's linear layers, the last one first."""
        return [layer for layer in self._encoder[0].layers if isinstance(layer, nn.Linear)][::-1]


@final
class UnitColumns(nn.Module):
    """W with each column divided by its norm: a parametrisation of a layer's weight (``register_parametrization``).

    A decoder of such layers cannot grow while its code shrinks, so a price on the size of the code is a real one.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return weight / weight.norm(dim=0, keepdim=True).clamp_min(1e-12)
