"""Likelihoods that factorise over the elements of x, given one network."""

__all__ = [
    "LIKELIHOODS",
    "Likelihood",
    "bernoulli",
    "beta_binomial",
    "categorical",
    "continuous_bernoulli",
    "discretised_logistic",
    "discretised_logistic_mixture",
    "gaussian",
]

from functools import partial
from typing import Protocol, runtime_checkable

from .._shapes import Shape
from ..conditional import NetworkConditional
from ..distributions import (
    BernoulliHead,
    BetaBinomialHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
    GaussianHead,
    Head,
)
from ..networks import NetworkLike, build


@runtime_checkable
class Likelihood(Protocol):
    """A likelihood as a recipe takes it: the network, the shapes of z and x, and perhaps that of c."""

    def __call__(
        self, network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
    ) -> NetworkConditional:
        """p(x | z, c) made of this network."""
        ...


def bernoulli(network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None) -> NetworkConditional:
    """p(x | z, c) = Π Bernoulli(x_i; logits from the network): for binary data."""
    return _of(network, BernoulliHead(data), latent, condition)


def continuous_bernoulli(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
) -> NetworkConditional:
    """p(x | z, c) = Π ContinuousBernoulli(x_i; logits from the network), a density: for grey data in [0, 1]."""
    return _of(network, ContinuousBernoulliHead(data), latent, condition)


def gaussian(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None, scale: float | str = "global"
) -> NetworkConditional:
    """p(x | z, c) = N(x; μ, σ²), a density; see ``GaussianHead`` for the kinds of scale. Learned scales are ≥ 0.01."""
    return _of(network, GaussianHead(data, scale, floor=0.01), latent, condition)


def beta_binomial(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
) -> NetworkConditional:
    """p(x | z, c) = Π BetaBinomial(x_i; log α and log β from the network): for 8-bit data."""
    return _of(network, BetaBinomialHead(data), latent, condition)


def categorical(network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None) -> NetworkConditional:
    """p(x | z, c) = Π Categorical over the 256 levels of x_i, each with its own logit: for 8-bit data."""
    return _of(network, CategoricalHead(data), latent, condition)


def discretised_logistic(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None
) -> NetworkConditional:
    """p(x | z, c) = Π DiscretisedLogistic(x_i; place and log-scale from the network): for 8-bit data."""
    return _of(network, DiscretisedLogisticHead(data), latent, condition)


def discretised_logistic_mixture(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None, components: int = 5
) -> NetworkConditional:
    """p(x | z, c) = Π of mixtures of ``components`` discretised logistics for each x_i: for 8-bit data."""
    return _of(network, DiscretisedLogisticMixtureHead(data, components), latent, condition)


def _of(network: NetworkLike, head: Head, latent: Shape, condition: Shape | None) -> NetworkConditional:
    return NetworkConditional(build(network, latent, head.raw_shape, condition), head, latent, condition)


#: Likelihoods by name, for the command line.
LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": bernoulli,
    "beta_binomial": beta_binomial,
    "categorical": categorical,
    "continuous_bernoulli": continuous_bernoulli,
    "discretised_logistic": discretised_logistic,
    "discretised_logistic_mixture": discretised_logistic_mixture,
    "gaussian": gaussian,
    "gaussian_element": partial(gaussian, scale="element"),
    "gaussian_fixed": partial(gaussian, scale=1.0),
}
