"""Posteriors made of one network: the diagonal Gaussian, and the point of an autoencoder."""

__all__ = ["gaussian", "point"]

from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from .._shapes import Shape, as_shape
from ..conditional import NetworkConditional
from ..distributions import GaussianHead, PointHead
from ..networks import NetworkLike, build
from ..networks.activations import activation as activation_named


def gaussian(
    network: NetworkLike,
    data: Shape,
    latent: int | Shape,
    condition: Shape | None = None,
    head: Callable[[Shape], GaussianHead] = GaussianHead,
) -> NetworkConditional:
    """q(z | x, c) = N(μ(x, c), diag σ²(x, c)), with μ and log σ from one network.

    Args:
        network: a factory ``(inputs, outputs, condition) → module``, or a module.
        data: shape of x.
        latent: size or shape of z.
        condition: shape of c, if the posterior sees it.
        head: makes the head, if σ is to be had in another way: ``partial(GaussianHead, scale="softplus")``, or with a
            ceiling, where a learned prior leaves the unit of z open.

    References:
        Kingma and Welling 2013, arXiv:1312.6114.
    """
    made = head(as_shape(latent, "latent"))
    return NetworkConditional(build(network, data, made.raw_shape, condition), made, data, condition)


def point(
    network: NetworkLike,
    data: Shape,
    latent: int | Shape,
    condition: Shape | None = None,
    activation: str = "identity",
) -> NetworkConditional:
    """z = f(x, c) without noise: the encoder of an autoencoder.

    Args:
        network: a factory ``(inputs, outputs, condition) → module``, or a module.
        data: shape of x.
        latent: size or shape of z.
        condition: shape of c, if the encoder sees it.
        activation: of the code, by name: sigmoid for one in (0, 1), relu for one that is not negative.
    """
    head = PointHead(as_shape(latent, "latent"))
    made = build(network, data, head.raw_shape, condition)
    if activation != "identity":
        made = _Activated(made, activation_named(activation, "point")())
    return NetworkConditional(made, head, data, condition)


@final
class _Activated(nn.Module):
    """A network and an activation of its output."""

    def __init__(self, network: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.network, self.activation = network, activation

    def forward(self, context: Tensor, *c: Tensor) -> Tensor:
        return self.activation(self.network(context, *c))
