"""Structured prediction: the rest of an image from some of its quadrants."""

__all__ = ["structured_cvae"]

from .._checks import choice
from ..conditional import Condition, NetworkConditional
from ..data import DataSpec, Quadrants
from ..distributions import BernoulliHead
from ..likelihoods import bernoulli
from ..models import VAE, Direct
from ..networks import build
from ..objectives import ELBO
from ..plan import Recipe, recipe
from ..posteriors import FromPrior, gaussian
from ..priors import ConditionalPrior
from .choose import images, networks_for


@recipe(
    posterior="diagonal Gaussian q(z|x,y); the prior itself for kind=gsnn; none for kind=baseline",
    prior="learned, p(z|x): a diagonal Gaussian given the observed quadrants",
    likelihood="Bernoulli p(y|x,z) on the unobserved pixels only",
    objective="ELBO of log p(y|x)",
    equation=r"\mathcal L = \mathbb E_{q(z|x,y)}\log p(y|x,z) - \mathrm{KL}(q(z|x,y)\,\|\,p(z|x))",
    source="Sohn, Lee and Yan 2015, NeurIPS",
    good_for="outputs with several right answers: the rest of an image, given a part of it",
    not_for="outputs that are a function of the input; one network without latents is cheaper then",
    published="MNIST, −log p(y|x) for 1, 2, 3 observed quadrants: baseline 99.75, 62.18, 25.99; CVAE by importance "
    "sampling 63.91, 44.73, 20.95 (Sohn et al. 2015)",
)
def structured_cvae(
    data: DataSpec,
    *,
    observed: int = 1,
    kind: str = "cvae",
    latent: int = 200,
    network: str = "dense",
    hidden: tuple[int, ...] = (500, 500),
    activation: str = "relu",
) -> Recipe:
    """Predict the rest of an image from 1, 2 or 3 observed quadrants: CVAE, GSNN, or the deterministic baseline.

    Args:
        observed: quadrants seen: 1 bottom left, 2 left half, 3 all but bottom right.
        kind: cvae; gsnn (z from the prior in training too); baseline (no z).
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of every network; one width (convolutional), or one for each block
            (residual).
        activation: name of the activation; residual networks have silu.
    """
    choice(kind, ("cvae", "gsnn", "baseline"), "structured_cvae: kind")
    channels, *pixels = images(data, "structured_cvae")
    seen, task = (2 * channels, *pixels), Quadrants(observed)
    made, c = networks_for(network, hidden, activation)[0], Condition(seen)
    if kind == "baseline":
        head = BernoulliHead(data.shape)
        density = NetworkConditional(build(made, seen, head.raw_shape), head, seen)
        return Recipe(Direct(ConditionalPrior(density), c), ELBO(), task)
    prior = ConditionalPrior(gaussian(made, seen, latent))
    q = FromPrior(prior) if kind == "gsnn" else gaussian(made, data.shape, latent, seen)
    p_y = bernoulli(made, (latent,), data.shape, seen)
    return Recipe(VAE(q, prior, p_y, c), ELBO(), task)
