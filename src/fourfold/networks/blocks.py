"""Residual bottlenecks, and the way between images and feature maps: the parts of very deep VAEs."""

__all__ = ["Bottleneck", "Enlarged", "FromImage", "Halved", "ToImage", "convolution", "padded", "scaled"]

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, gelu, interpolate, pad, pixel_shuffle, pixel_unshuffle

from .._checks import may_look, positive_int
from .._shapes import Shape


def convolution(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A convolution that keeps the size, or divides it by its stride; biases are zero, weights torch's own.

    Kernels lie in memory with their channels last, and so does what they make: twice as fast on a CPU.
    """
    made = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
    made.weight = nn.Parameter(made.weight.detach().contiguous(memory_format=torch.channels_last))
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


@torch.no_grad()
def scaled(layer: nn.Conv2d, factor: float) -> nn.Conv2d:
    """The layer, its weights times a factor."""
    layer.weight.mul_(factor)
    return layer


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 3 × 3 and 1 × 1 convolutions with a GELU in front of each, narrow in the middle.

    Args:
        channels: of what comes in, in the middle, and of what goes out.
        wide: the two in the middle are 3 × 3; else 1 × 1, for maps of at most 2 × 2.
        residual: what comes in is added; then it has as many channels as what goes out.
        factor: on the weights of the last one as they begin: √(1/N) in a row of N residual blocks, so that the
            variance stays bounded; 0 for a prior, which then begins at N(0, 1).

    References:
        Child 2020, arXiv:2011.10650.

    Example:
        >>> Bottleneck((8, 2, 6), residual=False)(torch.zeros(5, 8, 4, 4)).shape
        torch.Size([5, 6, 4, 4])
    """

    def __init__(
        self, channels: tuple[int, int, int], wide: bool = True, residual: bool = True, factor: float = 1.0
    ) -> None:
        super().__init__()
        before, middle, after = (positive_int(n, "Bottleneck: channels") for n in channels)
        if residual and before != after:
            raise ValueError(f"Bottleneck: a residual block keeps its channels, got {channels}. Pass residual=False.")
        kernel = 3 if wide else 1
        self.residual = residual
        self.layers = nn.ModuleList(
            [
                convolution(before, middle),
                convolution(middle, middle, kernel),
                convolution(middle, middle, kernel),
                scaled(convolution(middle, after), factor),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.layers:
            out = layer(gelu(out))
        return x + out if self.residual else out


class Halved(nn.Module):
    """A network, and then means of 2 × 2 pixels; or of all of them.

    Args:
        network: keeps the size.
        whole: one pixel is left.
    """

    def __init__(self, network: nn.Module, whole: bool = False) -> None:
        super().__init__()
        self.network, self.whole = network, whole

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(x)
        return adaptive_avg_pool2d(out, 1) if self.whole else avg_pool2d(out, 2)


class Enlarged(nn.Module):
    """Maps of a larger size, each pixel repeated, plus a learned map; or, where nothing comes in, that map alone.

    Args:
        shape: (C, H, W) of what goes out.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor | None = None) -> Tensor:
        if x is None:
            return self.bias[None]
        larger = interpolate(x, self.bias.shape[1:], mode="nearest") + self.bias
        # What stands for one of many has no memory of its own to lie in.
        lies = torch.compiler.is_compiling() or may_look(larger)
        return larger.contiguous(memory_format=torch.channels_last) if lies else larger


def padded(image: Shape, halvings: int, patch: int = 1) -> tuple[int, int]:
    """Height and width of feature maps of an image: what can be halved so often, in pixels of ``patch`` × ``patch``.

    Example:
        >>> padded((1, 28, 28), 3), padded((1, 28, 28), 1, patch=2)
        ((32, 32), (14, 14))
    """
    unit = 2**halvings
    height, width = (-(-side // (unit * patch)) * unit for side in image[1:])
    return height, width


class FromImage(nn.Module):
    """Feature maps of an image, made larger by zeros all around until it fits: a 3 × 3 convolution.

    Args:
        inputs: (C, H, W) of the image.
        outputs: shape of the maps.
        condition: none is taken.
        patch: side of the square of pixels that becomes one pixel of the maps.
    """

    def __init__(self, inputs: Shape, outputs: Shape, condition: Shape | None = None, patch: int = 1) -> None:
        super().__init__()
        self.frame, self.patch = _frame(inputs, outputs, patch), patch
        self.layer = convolution(inputs[0] * patch**2, outputs[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        whole = pad(x, self.frame) if any(self.frame) else x
        return self.layer(pixel_unshuffle(2 * whole - 1, self.patch))  # images are in [0, 1]


class ToImage(nn.Module):
    """Numbers for every pixel of an image from feature maps, whose margin is cut off: the way back.

    Args:
        inputs: shape of the maps.
        outputs: (k · C, H, W).
        condition: none is taken.
        patch: side of the square of pixels that one pixel of the maps becomes.
        kernel: of the convolution.
    """

    def __init__(
        self, inputs: Shape, outputs: Shape, condition: Shape | None = None, patch: int = 1, kernel: int = 1
    ) -> None:
        super().__init__()
        self.frame, self.patch = _frame(outputs, inputs, patch), patch
        self.layer = convolution(inputs[0], outputs[0] * patch**2, kernel)

    def forward(self, x: Tensor) -> Tensor:
        out = pixel_shuffle(self.layer(x), self.patch)
        left, right, top, bottom = self.frame
        return out[..., top : out.shape[-2] - bottom, left : out.shape[-1] - right]


def _frame(image: Shape, maps: Shape, patch: int) -> tuple[int, int, int, int]:
    """How many pixels are added to the left, to the right, on top and below."""
    down, across = (n * patch - side for n, side in zip(maps[1:], image[1:], strict=True))
    return across // 2, across - across // 2, down // 2, down - down // 2
