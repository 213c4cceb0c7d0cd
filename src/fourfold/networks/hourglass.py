"""The parts that convolutional networks share: down to a vector, through dense layers, up to an image."""

__all__ = ["Hourglass", "Sizes"]

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from .._checks import positive_int
from .._shapes import Shape, as_shape, size
from .normalisation import Between


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large an ``Hourglass`` is.

    Args:
        channels: channels after each halving of an image, from the finest to the coarsest.
        hidden: width of the dense layer in the middle.
        blocks: residual blocks at each resolution and in the middle; none for a plain network.
        between: what stands between two layers; nothing is normalised inside residual blocks.
    """

    channels: tuple[int, ...]
    hidden: int
    blocks: int
    between: Between


class Hourglass(nn.Module):
    """Any shape to any shape: images of shape (C, H, W) go through convolutions, all else through dense layers only.

    An image is halved (rounding down) by 4 × 4 convolutions of stride 2, as often as there are channels and as its
    smaller side allows; the vector that is left passes one dense hidden layer; an image to be made is doubled from
    its coarsest form, by transposed convolutions, to exactly its size.

    c joins an image as further channels, if it is an image of the same height and width, or as one plane for each of
    its numbers, if it is a vector; any other c joins the vector in the middle.

    Weights are He-uniform (those of the last layer Glorot-uniform) and biases zero. In a transposed convolution of
    stride 2 each pixel sees a quarter of the kernel, so its weights are twice as large. The last layer of a residual
    block is divided by the square root of the number of blocks in a row, so that the variance stays bounded.

    Args:
        inputs: shape of one input.
        outputs: shape of one output.
        condition: shape of c, or ``None``.
        sizes: widths and depths.
        owner: whose errors these are.
    """

    def __init__(
        self, inputs: int | Shape, outputs: int | Shape, condition: Shape | None, sizes: Sizes, owner: str
    ) -> None:
        super().__init__()
        before, after = as_shape(inputs, f"{owner}: inputs"), as_shape(outputs, f"{owner}: outputs")
        hidden = positive_int(sizes.hidden, f"{owner}: hidden")
        self.as_channels = condition is not None and _fits(condition, before)
        extra = 0
        if condition is not None and self.as_channels:
            before = (before[0] + condition[0], *before[1:])
        elif condition is not None:
            extra = size(condition)
        self.down, coarse = _down(before, sizes) if len(before) == 3 else (nn.Sequential(), before)
        up, seed = _up(after, sizes) if len(after) == 3 else (nn.Sequential(), after)
        blocks = [_Block(sizes, nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)) for _ in range(sizes.blocks)]
        inside, vector = sizes.between, len(after) != 3
        first = nn.Linear(size(coarse) + extra, hidden, bias=not inside.norm)
        normed = inside.norm if len(up) > 1 else inside.outputs
        # Channels of several places share a normalisation, which leaves what differs from place to place.
        last = nn.Linear(hidden, size(seed), bias=not (normed and (vector or size(seed[1:]) == 1)))
        ends = inside.last(size(seed)) if vector else []
        self.middle = nn.Sequential(first, *blocks, *inside(hidden), last, *ends, nn.Unflatten(1, seed))
        self.up = up
        self._initialise()
        # Channels of a pixel side by side: what a processor's convolutions work on; they would turn others each time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        if c is not None and self.as_channels:
            planes = c[..., None, None] if c.ndim == 2 else c
            context = torch.cat((context, planes.expand(-1, -1, *context.shape[2:])), 1)
        flat = self.down(context).flatten(1)
        if c is not None and not self.as_channels:
            flat = torch.cat((flat, c.flatten(1)), 1)
        return self.up(self.middle(flat))

    @torch.no_grad()
    def _initialise(self) -> None:
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        for layer in layers:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            if layer is layers[-1]:
                nn.init.xavier_uniform_(layer.weight)
            else:
                # torch takes the first two dimensions of a transposed kernel for (out, in): they are (in, out).
                nn.init.kaiming_uniform_(layer.weight, mode="fan_out" if transposed else "fan_in", nonlinearity="relu")
            if transposed:
                layer.weight.mul_(layer.stride[0])
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for block in self.modules():
            if isinstance(block, _Block):
                block.damp()


class _Block(nn.Module):
    """x + second(activation(first(activation(x)))): a residual block with its activations in front."""

    def __init__(self, sizes: Sizes, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(sizes.between.activation(), first, sizes.between.activation(), second)
        self.in_a_row = sizes.blocks

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)

    def damp(self) -> None:
        """Shrinks the last layer, so that a row of blocks adds as much variance as one."""
        for parameter in self.layers[-1].parameters():
            parameter.div_(sqrt(self.in_a_row))


def _fits(condition: Shape, shape: Shape) -> bool:
    """Whether c can be channels of an image of this shape."""
    return len(shape) == 3 and (len(condition) == 1 or (len(condition) == 3 and condition[1:] == shape[1:]))


def _halvings(shape: Shape, most: int) -> list[tuple[int, int]]:
    """The height and width of an image, then halved again and again until a side is 1."""
    _, height, width = shape
    sides = [(height, width)]
    while len(sides) <= most and min(height, width) > 1:
        height, width = height // 2, width // 2
        sides.append((height, width))
    return sides


def _blocks(channels: int, sizes: Sizes) -> list[nn.Module]:
    def convolution() -> nn.Module:
        return nn.Conv2d(channels, channels, 3, padding=1)

    return [_Block(sizes, convolution(), convolution()) for _ in range(sizes.blocks)]


def _down(shape: Shape, sizes: Sizes) -> tuple[nn.Sequential, Shape]:
    """Layers from an image to its coarsest form, and the shape of that."""
    sides = _halvings(shape, len(sizes.channels))
    widths = (shape[0], *sizes.channels[: len(sides) - 1])
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        first = nn.Conv2d(a, b, 4, stride=2, padding=1, bias=not sizes.between.norm)
        layers += [first, *_blocks(b, sizes), *sizes.between(b)]
    return nn.Sequential(*layers), (widths[-1], *sides[-1])


def _up(shape: Shape, sizes: Sizes) -> tuple[nn.Sequential, Shape]:
    """Layers to an image from its coarsest form, and the shape of that."""
    sides = _halvings(shape, len(sizes.channels))
    widths = (shape[0], *sizes.channels[: len(sides) - 1])
    layers: list[nn.Module] = []
    for (a, b), (height, width) in reversed(list(zip(pairwise(widths), sides, strict=False))):
        # Halving rounds down: an odd side needs one row or column more than twice the half.
        odd = (height % 2, width % 2)
        layers += [*_blocks(b, sizes), *sizes.between(b)]
        normed = sizes.between.norm if (height, width) != sides[0] else sizes.between.outputs
        up = nn.ConvTranspose2d(b, a, 4, stride=2, padding=1, output_padding=odd, bias=not normed)
        layers.append(up)
    return nn.Sequential(*layers, *sizes.between.last(shape[0])), (widths[-1], *sides[-1])
