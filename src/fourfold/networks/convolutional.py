"""Convolutional networks, plain and residual."""

__all__ = ["Convolutional", "Residual"]

from torch import Tensor, nn

from .._checks import positive_int
from .._shapes import Shape, as_shape
from .hourglass import Hourglass, Sizes
from .normalisation import Between, Normalised, between


class Convolutional(nn.Module):
    """Strided convolutions from an image, transposed ones to an image, one dense hidden layer between them.

    Shapes (C, H, W) of any height and width are images; any other shape is a vector. So it is an encoder, a decoder,
    an image-to-image network (through the dense layer: no pixel is copied), or a perceptron. How c joins, and how
    weights begin, is told in ``Hourglass``.

    Args:
        inputs: shape of one input.
        outputs: shape of one output.
        condition: shape of c, or ``None``.
        channels: channels after each halving; those that a small image has no room for are left out.
        hidden: width of the dense hidden layer.
        activation: name of the activation; or ``Normalised``, with batch normalisation before each, by channels.

    Raises:
        ValueError: a shape or width that is not positive, or an unknown activation.

    References:
        The default sizes are those of Higgins et al. 2017, "β-VAE", for 64 × 64 images.

    Example:
        >>> import torch
        >>> Convolutional((1, 28, 20), (40,))(torch.zeros(5, 1, 28, 20)).shape
        torch.Size([5, 40])
        >>> Convolutional((20,), (3, 17, 23))(torch.zeros(5, 20)).shape
        torch.Size([5, 3, 17, 23])
    """

    def __init__(
        self,
        inputs: int | Shape,
        outputs: int | Shape,
        condition: Shape | None = None,
        channels: tuple[int, ...] = (32, 32, 64, 64),
        hidden: int = 256,
        activation: str | Normalised = "relu",
    ) -> None:
        super().__init__()
        widths = as_shape(channels, "Convolutional: channels")
        sizes = Sizes(widths, hidden, 0, between(activation, "Convolutional"))
        self.body = Hourglass(inputs, outputs, condition, sizes, "Convolutional")

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(context, c)


class Residual(nn.Module):
    """Residual blocks with their activation (SiLU) in front: dense ones for vectors, convolutional ones for images.

    As ``Convolutional``, with ``blocks`` residual blocks of two layers (3 × 3 convolutions) at each resolution below
    the first, and as many dense ones in the middle. It has no batch normalisation: a datum's output depends on that
    datum alone.

    Args:
        inputs: shape of one input.
        outputs: shape of one output.
        condition: shape of c, or ``None``.
        channels: channels after each halving; those that a small image has no room for are left out.
        hidden: width of the dense layers.
        blocks: how many blocks in a row.

    Raises:
        ValueError: a shape, a width or a number of blocks that is not positive.

    References:
        He et al. 2016, arXiv:1603.05027.

    Example:
        >>> import torch
        >>> Residual((12,), (4,), condition=(3,), hidden=32)(torch.zeros(5, 12), torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        inputs: int | Shape,
        outputs: int | Shape,
        condition: Shape | None = None,
        channels: tuple[int, ...] = (32, 64, 64),
        hidden: int = 256,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        widths, blocks = as_shape(channels, "Residual: channels"), positive_int(blocks, "Residual: blocks")
        sizes = Sizes(widths, hidden, blocks, Between(nn.SiLU))
        self.body = Hourglass(inputs, outputs, condition, sizes, "Residual")

    def forward(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(context, c)
