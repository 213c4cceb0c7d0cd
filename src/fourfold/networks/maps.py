"""Feature maps to feature maps, by convolutions alone."""

__all__ = ["Maps"]

from math import sqrt

import torch
from torch import Tensor, nn

from .._checks import positive_int
from .._shapes import Shape, as_shape

_NAME = "Maps: "


class Maps(nn.Module):
    """Residual convolutions from maps to maps, halved or doubled on the way: what is said of a place stays near it.

    Other than ``Convolutional`` and ``Residual`` it has no dense layer: an output sees a neighbourhood of its place,
    and parameters do not grow with the image. c joins as further channels: an image of the same height and width as it
    is, a vector as one plane for each of its numbers.

    Args:
        inputs: (C, H, W).
        outputs: (C', H', W'): of the same size, or one is the other halved so many times, rounding down.
        condition: shape of c, or ``None``.
        channels: of all maps between.
        blocks: residual blocks of two 3 × 3 convolutions at each resolution.

    Raises:
        ValueError: shapes that are no images, or of sizes that halving does not connect; a c of another size.

    References:
        He et al. 2016, arXiv:1603.05027.

    Example:
        >>> import torch
        >>> Maps((1, 14, 10), (4, 3, 2))(torch.zeros(5, 1, 14, 10)).shape
        torch.Size([5, 4, 3, 2])
        >>> Maps((4, 3, 2), (8, 14, 10))(torch.zeros(5, 4, 3, 2)).shape
        torch.Size([5, 8, 14, 10])
    """

    def __init__(
        self, inputs: Shape, outputs: Shape, condition: Shape | None = None, channels: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        before, after = as_shape(inputs, _NAME + "inputs"), as_shape(outputs, _NAME + "outputs")
        wide, blocks = positive_int(channels, _NAME + "channels"), positive_int(blocks, _NAME + "blocks")
        extra = 0 if condition is None else condition[0]
        if condition is not None and condition[1:] not in ((), before[1:]):
            raise ValueError(f"{_NAME}condition: wanted a vector, or maps of the inputs' size, got {condition!r}.")
        sides = _sides(before, after)
        layers: list[nn.Module] = [nn.Conv2d(before[0] + extra, wide, 3, padding=1)]
        for i in range(len(sides)):
            if i:
                layers += [nn.SiLU(), _resized(wide, sides[i - 1], sides[i])]
            layers += [_Block(wide) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(wide, after[0], 3, padding=1))
        self._initialise(blocks * len(sides))

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        if c is not None:
            planes = c[..., None, None] if c.ndim == 2 else c
            context = torch.cat((context, planes.expand(-1, -1, *context.shape[2:])), 1)
        return self.layers(context)

    @torch.no_grad()
    def _initialise(self, blocks: int) -> None:
        """He-uniform, the last layer Glorot-uniform; a row of blocks adds as much variance as one."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        for layer in convolutions:
            doubling = isinstance(layer, nn.ConvTranspose2d)  # each pixel sees a quarter of its kernel
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out" if doubling else "fan_in", nonlinearity="relu")
            layer.weight.mul_(2 if doubling else 1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(convolutions[-1].weight)
        for block in self.modules():
            if isinstance(block, _Block):
                block.second.weight.div_(sqrt(blocks))


class _Block(nn.Module):
    """x + second(silu(first(silu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        silu = nn.functional.silu
        return x + self.second(silu(self.first(silu(x))))


def _sides(before: Shape, after: Shape) -> list[Shape]:
    """Heights and widths on the way."""
    if len(before) != 3 or len(after) != 3:
        raise ValueError(f"{_NAME}wanted images (C, H, W), got {before!r} and {after!r}.")
    up = before[1] * before[2] < after[1] * after[2]
    (large, small) = (after[1:], before[1:]) if up else (before[1:], after[1:])
    sides = [large]
    while sides[-1] != small:
        half = (sides[-1][0] // 2, sides[-1][1] // 2)
        if min(half) < min(small) or min(half) < 1:
            raise ValueError(
                f"{_NAME}halving {large} does not lead to {small}. Give sizes that are halves of each other."
            )
        sides.append(half)
    return sides[::-1] if up else sides


def _resized(channels: int, before: Shape, after: Shape) -> nn.Module:
    if before[0] * before[1] > after[0] * after[1]:
        return nn.Conv2d(channels, channels, 4, stride=2, padding=1)
    odd = (after[0] % 2, after[1] % 2)
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, output_padding=odd)
