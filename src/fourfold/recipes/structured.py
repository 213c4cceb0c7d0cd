"""Structured prediction: the rest of an image from some of its quadrants."""

__all__ = ["structured_cvae"]

from functools import partial

from .._checks import choice
from ..conditional import Condition, NetworkConditional
from ..data import DataSpec, Quadrants
from ..distributions import BernoulliHead
from ..likelihoods import bernoulli
from ..models import VAE, Direct
from ..networks import Dense, build
from ..objectives import ELBO
from ..plan import Recipe, recipe
from ..posteriors import FromPrior, gaussian
from ..priors import ConditionalPrior
from .choose import images


@recipe(
    posterior="diagonal Gaussian q(z|x,y); the prior itself for kind=gsnn; none for kind=baseline",
    prior="learned, p(z|x): a diagonal Gaussian given the observed quadrants",
    likelihood="Bernoulli p(y|x,z) on the unobserved pixels only",
    objective="ELBO of log p(y|x)",
    equation=r"\mathcal L = \mathbb E_{q(z|x,y)}\log p(y|x,z) - \mathrm{KL}(q(z|x,y)\,\|\,p(z|x))",
    source="Sohn, Lee and Yan 2015, NeurIPS",
)
def structured_cvae(
    data: DataSpec,
    *,
    observed: int = 1,
    kind: str = "cvae",
    latent: int = 200,
    hidden: tuple[int, ...] = (500, 500),
    activation: str = "relu",
) -> Recipe:
    """Predict the rest of an image from 1, 2 or 3 observed quadrants: CVAE, GSNN, or the deterministic baseline.

    Args:
        observed: quadrants seen: 1 bottom left, 2 left half, 3 all but bottom right.
        kind: cvae; gsnn (z from the prior in training too); baseline (no z).
        latent: size of z.
        hidden: widths of the hidden layers of every network.
        activation: name of the activation.
    """
    choice(kind, ("cvae", "gsnn", "baseline"), "structured_cvae: kind")
    channels, *pixels = images(data, "structured_cvae")
    seen, task = (2 * channels, *pixels), Quadrants(observed)
    network, c = partial(Dense, hidden=hidden, activation=activation), Condition(seen)
    if kind == "baseline":
        head = BernoulliHead(data.shape)
        density = NetworkConditional(build(network, seen, head.raw_shape), head, seen)
        return Recipe(Direct(ConditionalPrior(density), c), ELBO(), task)
    prior = ConditionalPrior(gaussian(network, seen, latent))
    q = FromPrior(prior) if kind == "gsnn" else gaussian(network, data.shape, latent, seen)
    p_y = bernoulli(network, (latent,), data.shape, seen)
    return Recipe(VAE(q, prior, p_y, c), ELBO(), task)
