"""Networks between levels: halving and doubling an image, joining a latent to a state, fading it in."""

__all__ = ["MERGES", "Doubling", "Fade", "Halving", "Join", "halved"]

from typing import final

import torch
from torch import Tensor, nn

from .._checks import choice
from .._shapes import Shape

#: How ``Join`` brings two states together.
MERGES = ("add", "concatenate")


def halved(shape: Shape, channels: int) -> Shape:
    """The shape after one halving, rounded down; a side of 1 is not halved, nor the other then.

    Example:
        >>> halved((1, 7, 5), 32), halved((32, 1, 4), 32)
        ((32, 3, 2), (32, 1, 4))
    """
    _, height, width = shape
    return (channels, height // 2, width // 2) if min(height, width) > 1 else (channels, height, width)


@final
class Halving(nn.Module):
    """A 4 × 4 convolution of stride 2 to an image of half the size; a 3 × 3 one where the sizes are the same.

    Weights are He-uniform and biases zero.

    Args:
        inputs: (C, H, W).
        outputs: (C, H, W) or its half, rounded down, with any number of channels.

    Raises:
        ValueError: other shapes.
    """

    def __init__(self, inputs: Shape, outputs: Shape, condition: Shape | None = None) -> None:
        super().__init__()
        stride = _stride(inputs, outputs, "Halving")
        self.layer = nn.Conv2d(inputs[0], outputs[0], stride + 2, stride=stride, padding=1)
        nn.init.kaiming_uniform_(self.layer.weight, nonlinearity="relu")
        _zero(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@final
class Doubling(nn.Module):
    """A transposed 4 × 4 convolution of stride 2 to an image of twice the size; a 3 × 3 one where they are the same.

    Weights are He-uniform (each pixel sees a quarter of a kernel of stride 2) and biases zero.

    Args:
        inputs: (C, H, W) or the half, rounded down, of the outputs, with any number of channels.
        outputs: (C, H, W).

    Raises:
        ValueError: other shapes.
    """

    def __init__(self, inputs: Shape, outputs: Shape, condition: Shape | None = None) -> None:
        super().__init__()
        stride = _stride(outputs, inputs, "Doubling")
        odd = (outputs[1] - stride * inputs[1], outputs[2] - stride * inputs[2])
        self.layer = nn.ConvTranspose2d(inputs[0], outputs[0], stride + 2, stride, padding=1, output_padding=odd)
        nn.init.kaiming_uniform_(self.layer.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            self.layer.weight.mul_(stride)
        _zero(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@final
class Fade(nn.Module):
    """Its input times a number between 0 and 1 that is set from outside, before a step of training: α of a fade-in.

    It begins at 1. The number is saved with the weights, and no average of weights takes it in.
    """

    share: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("share", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.share * x


@final
class Join(nn.Module):
    r"""The state above and z to the state below: :math:`f(\tilde z, v(z))`.

    z is lifted to the shape of the state above, and the two are added, v(z) with a gate for each channel that begins
    at 0.1, or concatenated along the channels. Without a state above, f sees v(z) alone.

    Args:
        lift: v, ``(N, *latent) → (N, *state)``.
        below: f, ``(N, *state) → …``, or of twice as many channels for ``"concatenate"``.
        channels: of the state above; ``None`` where there is none.
        merge: ``"add"`` or ``"concatenate"``.

    References:
        Zhao, Song and Ermon 2017, arXiv:1702.08396, whose code adds; Li et al. 2020, arXiv:2002.10549, concatenate.
    """

    gate: nn.Parameter | None

    def __init__(self, lift: nn.Module, below: nn.Module, channels: int | None = None, merge: str = "add") -> None:
        super().__init__()
        self.lift, self.below = lift, below
        gated = choice(merge, MERGES, "Join: merge") == "add" and channels is not None
        self.gate = nn.Parameter(torch.full((channels or 1,), 0.1)) if gated else None

    def forward(self, *given: Tensor) -> Tensor:
        *above, z = given
        made = self.lift(z)
        if not above:
            return self.below(made)
        if self.gate is None:
            return self.below(torch.cat((above[0], made), 1))
        return self.below(torch.addcmul(above[0], self.gate.view(-1, *[1] * (made.ndim - 2)), made))


def _stride(fine: Shape, coarse: Shape, owner: str) -> int:
    if len(fine) == 3 == len(coarse):
        if fine[1:] == coarse[1:]:
            return 1
        if halved(fine, coarse[0]) == coarse:
            return 2
    raise ValueError(
        f"{owner}: wanted images (C, H, W) of one size, or one half of the other, got {fine} and {coarse}."
    )


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
