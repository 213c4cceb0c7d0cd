"""Perceptrons."""

__all__ = ["Dense"]

from itertools import pairwise

import torch
from torch import Tensor, nn

from .._shapes import Shape, as_shape, size
from .normalisation import BatchNorm, Normalised, between


class Dense(nn.Module):
    """A perceptron between any two shapes: inputs are flattened, and c, if any, is appended to them.

    Weights are Glorot-uniform and biases zero, as in the IWAE paper.

    Args:
        inputs: shape of one input.
        outputs: shape of one output.
        condition: shape of c, or ``None``.
        hidden: widths of the hidden layers; empty for a linear map.
        activation: name of the activation between layers; or ``Normalised``, with batch normalisation before each.

    Raises:
        ValueError: a shape that is not positive, or an unknown activation.

    Example:
        >>> import torch
        >>> Dense((1, 28, 28), (40,), hidden=(300,))(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 40])
    """

    def __init__(
        self,
        inputs: int | Shape,
        outputs: int | Shape,
        condition: Shape | None = None,
        hidden: tuple[int, ...] = (300,),
        activation: str | Normalised = "relu",
    ) -> None:
        super().__init__()
        inside = between(activation, "Dense")
        self.outputs = as_shape(outputs, "Dense: outputs")
        extra = size(condition) if condition is not None else 0
        inner = as_shape(hidden, "Dense: hidden") if hidden else ()
        widths = (size(as_shape(inputs, "Dense: inputs")) + extra, *inner, size(self.outputs))
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            if i:
                layers += inside(a)
            normed = inside.norm if i < len(inner) else inside.outputs
            linear = nn.Linear(a, b, bias=not normed)  # a normalised layer has its shift afterwards
            nn.init.xavier_uniform_(linear.weight)
            if not normed:
                nn.init.zeros_(linear.bias)
            layers.append(linear)
        layers += inside.last(widths[-1])
        self.layers = nn.Sequential(*layers)

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        flat = context.flatten(1)
        if c is not None:
            flat = torch.cat((flat, c.flatten(1)), 1)
        return self.layers(flat).reshape(-1, *self.outputs)

    @torch.no_grad()
    def start_at(self, outputs: Tensor) -> None:
        """Sets the last layer's biases, so that training starts around these outputs."""
        last = self.layers[-1]
        if isinstance(last, nn.Linear | BatchNorm) and last.bias is not None:
            last.bias.copy_(outputs.flatten())
