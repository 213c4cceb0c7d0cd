"""Posteriors made of one network: the diagonal Gaussian, and the point of an autoencoder."""

__all__ = ["gaussian", "point"]

from .._shapes import Shape, as_shape
from ..conditional import NetworkConditional
from ..distributions import GaussianHead, PointHead
from ..networks import NetworkLike, build


def gaussian(
    network: NetworkLike, data: Shape, latent: int | Shape, condition: Shape | None = None
) -> NetworkConditional:
    """q(z | x, c) = N(μ(x, c), diag σ²(x, c)), with μ and log σ from one network.

    Args:
        network: a factory ``(inputs, outputs, condition) → module``, or a module.
        data: shape of x.
        latent: size or shape of z.
        condition: shape of c, if the posterior sees it.

    References:
        Kingma and Welling 2013, arXiv:1312.6114.
    """
    head = GaussianHead(as_shape(latent, "latent"))
    return NetworkConditional(build(network, data, head.raw_shape, condition), head, data, condition)


def point(network: NetworkLike, data: Shape, latent: int | Shape, condition: Shape | None = None) -> NetworkConditional:
    """z = f(x, c) without noise: the encoder of an autoencoder. Arguments as in ``gaussian``."""
    head = PointHead(as_shape(latent, "latent"))
    return NetworkConditional(build(network, data, head.raw_shape, condition), head, data, condition)
