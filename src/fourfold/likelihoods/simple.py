"""Likelihoods that factorise over the elements of x, given one network."""

__all__ = ["LIKELIHOODS", "Likelihood", "bernoulli", "gaussian"]

from typing import Protocol

from .._shapes import Shape
from ..conditional import NetworkConditional
from ..distributions import BernoulliHead, GaussianHead
from ..networks import NetworkLike, build


class Likelihood(Protocol):
    """A likelihood as a recipe takes it: the network, the shapes of z and x, and perhaps that of c."""

    def __call__(
        self, network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
    ) -> NetworkConditional:
        """p(x | z, c) made of this network."""
        ...


def bernoulli(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
) -> NetworkConditional:
    """p(x | z, c) = Π Bernoulli(x_i; logits from the network): for binary data."""
    head = BernoulliHead(data)
    return NetworkConditional(build(network, latent, head.raw_shape, condition), head, latent, condition)


def gaussian(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None, scale: float | str = "global"
) -> NetworkConditional:
    """p(x | z, c) = N(x; μ, σ²), a density; see ``GaussianHead`` for the kinds of scale. Learned scales are ≥ 0.01."""
    head = GaussianHead(data, scale, floor=0.01)
    return NetworkConditional(build(network, latent, head.raw_shape, condition), head, latent, condition)


#: Likelihoods by name, for the command line.
LIKELIHOODS: dict[str, Likelihood] = {"bernoulli": bernoulli, "gaussian": gaussian}
