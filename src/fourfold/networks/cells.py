"""The cells of the NVAE: batch normalisation, swish, depthwise convolutions, squeeze and excitation."""

__all__ = ["EncoderCell", "GenerativeCell", "SqueezeExcite", "weight_normed"]

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils.parametrizations import weight_norm

from .._checks import positive_int
from .blocks import convolution
from .normalisation import BatchNorm

#: The branch of a residual cell is small beside what it is added to.
_BRANCH = 0.1


def weight_normed(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    """A convolution whose kernels are a direction times a length: for where no batch normalisation follows.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868.
    """
    return weight_norm(convolution(inputs, outputs, kernel, stride=stride))


class SqueezeExcite(nn.Module):
    """Each channel times a number in (0, 1) that the means of all channels decide.

    Args:
        channels: how many; a sixteenth of them, and at least 4, are in the middle.

    References:
        Hu, Shen and Sun 2018, arXiv:1709.01507.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = positive_int(channels, "SqueezeExcite: channels")
        middle = max(n // 16, 4)
        self.layers = nn.Sequential(nn.Linear(n, middle), nn.ReLU(), nn.Linear(middle, n), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x.mean((2, 3)))[..., None, None]


class EncoderCell(nn.Module):
    """Twice batch normalisation, swish and a 3 × 3 convolution, then squeeze and excitation; a tenth is added.

    Args:
        channels: of what comes in, and of what goes out.
        halve: whether height and width are halved; what it is added to then is four 1 × 1 convolutions, each of
            every second pixel.

    References:
        Vahdat and Kautz 2020, arXiv:2007.03898.
    """

    def __init__(self, channels: tuple[int, int], halve: bool = False) -> None:
        super().__init__()
        before, after = channels
        self.branch = nn.Sequential(
            BatchNorm(before),
            nn.SiLU(),
            convolution(before, after, 3, stride=2 if halve else 1, bias=False),
            BatchNorm(after),
            nn.SiLU(),
            weight_normed(after, after, 3),
            SqueezeExcite(after),
        )
        self.skip = _Reduced(before, after) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + _BRANCH * self.branch(x)


class _Reduced(nn.Module):
    """Half the height and width: a quarter of the channels from each of the four places in a square of 2 × 2 pixels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        sizes = [len(range(i, after, 4)) for i in range(4)]
        self.layers = nn.ModuleList([weight_normed(before, n, stride=2) for n in sizes])

    def forward(self, x: Tensor) -> Tensor:
        x = silu(x)
        shifted = (x, x[:, :, 1:, 1:], x[:, :, :, 1:], x[:, :, 1:, :])
        return torch.cat([layer(part) for layer, part in zip(self.layers, shifted, strict=True)], 1)


class GenerativeCell(nn.Module):
    """Wide in the middle, where each channel has a 5 × 5 convolution of its own; a tenth is added.

    Batch normalisation, 1 × 1 to ``expand`` times the channels, batch normalisation, swish, 5 × 5 depthwise, batch
    normalisation, swish, 1 × 1 back, batch normalisation, squeeze and excitation.

    Args:
        channels: of what comes in, and of what goes out.
        double: whether height and width are doubled: by repeating pixels in the branch, and between them by straight
            lines in what it is added to.
        expand: how much wider it is in the middle.

    References:
        Vahdat and Kautz 2020, arXiv:2007.03898; Sandler et al. 2018, arXiv:1801.04381.
    """

    def __init__(self, channels: tuple[int, int], double: bool = False, expand: int = 6) -> None:
        super().__init__()
        before, after = channels
        wide = before * positive_int(expand, "GenerativeCell: expand")
        self.branch = nn.Sequential(
            *([nn.Upsample(scale_factor=2)] if double else []),
            BatchNorm(before),
            convolution(before, wide, bias=False),
            BatchNorm(wide),
            nn.SiLU(),
            convolution(wide, wide, 5, groups=wide, bias=False),
            BatchNorm(wide),
            nn.SiLU(),
            convolution(wide, after, bias=False),
            BatchNorm(after),
            SqueezeExcite(after),
        )
        enlarged = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.skip = nn.Sequential(enlarged, weight_normed(before, after)) if double else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + _BRANCH * self.branch(x)
