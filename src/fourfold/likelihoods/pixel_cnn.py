"""Likelihoods that look at the pixels before: the gated PixelCNN, given z or alone."""

__all__ = ["OUTPUTS", "PixelCNN", "PixelDecoder", "pixel_cnn"]

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from .._checks import positive_int, unknown
from .._shapes import Shape
from ..conditional import NetworkConditional, Prior
from ..distributions import (
    BernoulliHead,
    CategoricalHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
    GaussianHead,
    Head,
    PixelHead,
    Pixelwise,
)
from ..networks import GatedPixelCNN, NetworkLike, PixelStacks, build

#: Families of the elements of data by name.
OUTPUTS: dict[str, Callable[[Shape], Head]] = {
    "bernoulli": BernoulliHead,
    "categorical": CategoricalHead,
    "discretised_logistic": DiscretisedLogisticHead,
    "discretised_logistic_mixture": DiscretisedLogisticMixtureHead,
}

#: The least scale of an element of real numbers.
_FLOOR = 1e-2
_FAMILIES: dict[str, Callable[[Shape], Head]] = {**OUTPUTS, "gaussian": partial(GaussianHead, floor=_FLOOR)}


@dataclass(frozen=True, slots=True)
class PixelDecoder:
    """How a gated PixelCNN is made, and how z gets into it.

    Args:
        outputs: family of each element: bernoulli (binary data), categorical, discretised_logistic or
            discretised_logistic_mixture (8-bit data); or gaussian, a density of maps of real numbers, with scales of at
            least 0.01: p(z₁ | z₂) of a PixelVAE of two levels.
        features: how many numbers, or feature maps, the network of z makes.
        upsampled: whether these are maps of the image's size, so that z says another thing to each pixel, or a vector,
            by which z says the same to all.
        stacks: layers, filters, kernels and window of the PixelCNN.
    """

    outputs: str = "bernoulli"
    features: int = 8
    upsampled: bool = True
    stacks: PixelStacks = field(default_factory=PixelStacks)


def pixel_cnn(
    network: NetworkLike,
    latent: Shape,
    data: Shape,
    condition: Shape | None = None,
    decoder: PixelDecoder | None = None,
) -> NetworkConditional:
    """p(x | z, c) = Π p(x_i | x_<i, z, c) by a gated PixelCNN, to whose layers the network's features of z are a bias.

    With a window, what the pixels around can tell is left to them, and only the rest is worth a place in z: the lossy
    decoder of the VLAE. It is a ``Likelihood``: any recipe's own code may take it.

    Args:
        network: z (and c) to features: a factory, or a module of yours; for a plain vector ``nn.Identity()`` will do,
            where ``features`` is the size of z.
        latent: shape of z.
        data: (C, H, W).
        condition: shape of c, if there is one.
        decoder: sizes, window and output family.

    Raises:
        ValueError: data that are no images, an unknown family, a window that the layers do not reach.

    References:
        Gulrajani et al. 2016, "PixelVAE", arXiv:1611.05013; Chen et al. 2016, arXiv:1611.02731.

    Example:
        >>> import torch
        >>> from fourfold.networks import Dense, PixelStacks
        >>> small = PixelDecoder(features=2, stacks=PixelStacks(layers=2, filters=4, window=(4, 2)))
        >>> p = pixel_cnn(Dense, (3,), (1, 8, 8), decoder=small)
        >>> p(torch.zeros(10, 5, 3)).log_prob(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([10, 5])
    """
    decoder = decoder or PixelDecoder()
    features = positive_int(decoder.features, "pixel_cnn: features")
    given = (features, *data[1:]) if decoder.upsampled else (features,)
    head = _head(data, decoder, given)
    return NetworkConditional(build(network, latent, given, condition), head, latent, condition)


class PixelCNN(Prior):
    """p(x) = Π p(x_i | x_<i) by a gated PixelCNN without latents: the autoregressive baseline, for ``Direct``.

    Args:
        data: (C, H, W).
        decoder: sizes, window and output family; what is said of z has no meaning here.

    Raises:
        ValueError: data that are no images, an unknown family, a window that the layers do not reach.

    References:
        van den Oord et al. 2016, arXiv:1606.05328.

    Example:
        >>> import torch
        >>> PixelCNN((1, 8, 8))().log_prob(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    def __init__(self, data: Shape, decoder: PixelDecoder | None = None) -> None:
        super().__init__()
        self.head = _head(data, decoder or PixelDecoder(), None)
        self.event, self.support = self.head.event, self.head.support

    def forward(self, c: Tensor | None = None) -> Pixelwise:
        return self.head.alone()


def _head(data: Shape, decoder: PixelDecoder, given: Shape | None) -> PixelHead:
    if decoder.outputs not in _FAMILIES:
        raise ValueError(f"pixel_cnn: outputs: {unknown('family', decoder.outputs, _FAMILIES)}")
    family = _FAMILIES[decoder.outputs]
    unit = family is not _FAMILIES["gaussian"]
    network = GatedPixelCNN(data, family((1,)).per_element, given, decoder.stacks, unit=unit)
    return PixelHead(data, family, network, given)
