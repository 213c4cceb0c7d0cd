"""Convolutions from an image to small feature maps or back, without a dense layer between them."""

__all__ = ["Strided"]

from itertools import pairwise

import torch
from torch import Tensor, nn

from .._checks import positive_int
from .._shapes import Shape, as_shape


class Strided(nn.Module):
    """Feature maps to smaller or larger ones, each number of which sees a part of the image: encoder and decoder of a
    VQ-VAE.

    Down, an image is halved (rounding down) by 4 × 4 convolutions of stride 2; up, it is doubled by transposed ones, to
    exactly its size; at the smallest size stand a 3 × 3 convolution and residual blocks, x + 1×1(ReLU(3×3(ReLU(x)))).
    c joins as further channels: one plane for each of its numbers, or an image of the size of the input.

    Args:
        inputs: (C, H, W).
        outputs: (C′, H′, W′), H and W halved, or doubled, some times.
        condition: shape of c, or ``None``.
        filters: channels at the smallest size; half of them at the others.
        blocks: how many residual blocks.

    Raises:
        ValueError: shapes that halving does not lead from one to the other; a condition of another size.

    References:
        van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937.

    Example:
        >>> Strided((1, 28, 20), (16, 7, 5))(torch.zeros(2, 1, 28, 20)).shape
        torch.Size([2, 16, 7, 5])
        >>> Strided((16, 7, 5), (1, 28, 20))(torch.zeros(2, 16, 7, 5)).shape
        torch.Size([2, 1, 28, 20])
    """

    def __init__(
        self, inputs: Shape, outputs: Shape, condition: Shape | None = None, filters: int = 64, blocks: int = 2
    ) -> None:
        super().__init__()
        before, after = as_shape(inputs, "Strided: inputs"), as_shape(outputs, "Strided: outputs")
        wide = positive_int(filters, "Strided: filters")
        sides = _sides(before, after)
        extra = 0
        if condition is not None:
            if len(condition) != 1 and condition[1:] != before[1:]:
                raise ValueError(
                    f"Strided: condition: wanted a vector, or an image of the size of {before}, got {condition}."
                )
            extra = condition[0]
        first = before[0] + extra
        down = len(sides) > 1 and sides[0] == before[1:]
        widths = [max(wide // 2, 1)] * (len(sides) - 2) + [wide] if len(sides) > 1 else []
        inner = [
            nn.Conv2d(wide if down else first, wide, 3, padding=1),
            *(_Block(wide) for _ in range(blocks)),
            nn.ReLU(),
        ]
        layers: list[nn.Module] = []
        if down:
            for a, b in pairwise((first, *widths)):
                layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
            layers += [*inner, nn.Conv2d(wide, after[0], 1)]
        elif len(sides) > 1:
            layers += inner
            for (a, b), (height, width) in zip(pairwise((*widths[::-1], after[0])), sides[-2::-1], strict=True):
                odd = (height % 2, width % 2)
                layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, output_padding=odd), nn.ReLU()]
            layers.pop()
        else:
            layers += [*inner, nn.Conv2d(wide, after[0], 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        if c is not None:
            planes = c[..., None, None] if c.ndim == 2 else c
            context = torch.cat((context, planes.expand(-1, -1, *context.shape[2:])), 1)
        return self.layers(context)


class _Block(nn.Module):
    """x + 1×1(ReLU(3×3(ReLU(x))))."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        narrow = max(wide // 2, 1)
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(wide, narrow, 3, padding=1), nn.ReLU(), nn.Conv2d(narrow, wide, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _sides(before: Shape, after: Shape) -> list[tuple[int, int]]:
    """Height and width from the larger of the two to the smaller."""
    if len(before) == len(after) == 3:
        large, small = sorted(((before[1], before[2]), (after[1], after[2])), reverse=True)
        sides = [large]
        while sides[-1] > small and min(sides[-1]) > 1:
            sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
        if sides[-1] == small:
            return sides
    raise ValueError(
        f"Strided: outputs: wanted feature maps (C, H, W) that halving leads to or from, got {before} and {after}. "
        "Take Convolutional, which leads anywhere."
    )
