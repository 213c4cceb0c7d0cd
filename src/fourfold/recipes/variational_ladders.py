"""Recipes with a flat prior over several levels, which differ in how deep the networks to them are."""

__all__ = ["variational_ladder"]

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from torch import nn

from .._checks import choice, positive_int
from .._shapes import Shape
from ..data import DataSpec
from ..models import Climb, Flush, TopDown
from ..networks import Convolutional, Dense, Doubling, Halving, Join, halved
from ..networks.activations import activation as activation_named
from ..objectives import ELBO
from ..plan import Recipe, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, NORMAL, beta_of, images, likelihood_for

_CHAIN = "diagonal Gaussians, all given x alone, each level of features of the level of features below it"


@recipe(
    posterior=_CHAIN,
    prior=f"{NORMAL} at every level",
    likelihood=f"{BY_NAME}; the higher a level, the more layers between it and x",
    objective="ELBO",
    equation=r"h_l = g_l(h_{l-1}), z_l \sim q(z_l|h_l), \tilde z_l = f_l(\tilde z_{l+1}, v_l(z_l)), "
    r"\mathcal L = \mathbb E_{q(z|x)}\log p(x|\tilde z_1) - \sum_l \mathrm{KL}(q(z_l|x)\,\|\,p(z_l))",
    source="Zhao, Song and Ermon 2017, arXiv:1702.08396",
    good_for="factors sorted by how abstract they are: what a shallow network can say goes into the lower levels",
    not_for="likelihoods: the prior is flat, so in nats it is a VAE with a network of unusual form",
    published="no likelihoods; MNIST, three levels of 2, from the bottom: width of the stroke, of the digit, identity",
)
def variational_ladder(
    data: DataSpec,
    *,
    latents: tuple[int, ...] = (2, 2, 2),
    network: str = "convolutional",
    hidden: int = 256,
    channels: int = 32,
    activation: str = "relu",
    merge: str = "add",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """Zhao's variational ladder: one flat prior, and levels of latents that networks of different depth lead to.

    Args:
        latents: sizes of z from the bottom level to the top one.
        network: dense or convolutional; a convolutional one halves the image once a level.
        hidden: width of the dense layers: the one between features and latents, and of all features of dense networks.
        channels: of all features of convolutional networks.
        activation: name of the activation.
        merge: add (with a learned gate for each channel, 0.1 at first) or concatenate: a level of z and those above.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of all latents for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
    """
    form = _Form(network, hidden, channels, activation, merge)
    model = _ladder(data, latents, form, likelihood, "variational_ladder")
    return Recipe(model, ELBO(beta_of(1.0, beta_schedule), draws))


@dataclass(frozen=True, slots=True)
class _Form:
    """What the networks of a ladder are like."""

    network: str
    hidden: int
    channels: int
    activation: str
    merge: str


def _ladder(data: DataSpec, latents: tuple[int, ...], form: _Form, likelihood: str, owner: str) -> TopDown:
    """The model: features up, and down again a rung a level to a state of the shape of that level's features."""
    if not latents:
        raise ValueError(f"{owner}: latents: wanted a size for each level, such as 2,2,2, got none.")
    parts = _Parts(form, owner)
    shapes = [data.shape]
    for size in latents:
        positive_int(size, f"{owner}: latents")
        shapes.append(parts.coarser(shapes[-1], data))
    above = [*shapes[2:], parts.coarser(shapes[-1], data)]
    rungs = [
        Flush(
            (size,),
            StandardNormal(size),
            gaussian(parts.guess, shape, size),
            parts.join(size, upper, shape, top=i == len(latents)),
        )
        for i, (size, shape, upper) in enumerate(zip(latents, shapes[1:], above, strict=True), 1)
    ]
    climb = Climb([parts.up(a, b) for a, b in pairwise(shapes)])
    return TopDown(climb, rungs[::-1], likelihood_for(data, likelihood)(parts.last, shapes[1], data.shape))


class _Parts:
    """The networks of a ladder, made for shapes."""

    def __init__(self, form: _Form, owner: str) -> None:
        self.dense = choice(form.network, ("convolutional", "dense"), f"{owner}: network") == "dense"
        self.hidden = positive_int(form.hidden, f"{owner}: hidden")
        self.channels = positive_int(form.channels, f"{owner}: channels")
        self.active, self.merge, self.owner = activation_named(form.activation, owner), form.merge, owner
        like = {"activation": form.activation}
        self.last = partial(Dense, hidden=()) if self.dense else Doubling
        self.guess = (
            partial(Dense, hidden=(self.hidden,), **like)
            if self.dense
            else partial(Convolutional, channels=(self.channels,), hidden=self.hidden, **like)
        )
        self.lift = self.guess if self.dense else partial(Convolutional, channels=(), hidden=self.hidden, **like)

    def coarser(self, shape: Shape, data: DataSpec) -> Shape:
        """The features above those of this shape."""
        if self.dense:
            return (self.hidden,)
        images(data, f"{self.owner} (unless network is dense)")
        return halved(shape, self.channels)

    def up(self, below: Shape, shape: Shape) -> nn.Module:
        """One level of features to the next."""
        return nn.Sequential(Dense(below, shape, None, ()) if self.dense else Halving(below, shape), self.active())

    def join(self, size: int, above: Shape, shape: Shape, top: bool) -> Join:
        """z and the state above to the state of this level."""
        lift = nn.Sequential(self.lift((size,), above, None), self.active())
        seen = (above[0] * (2 if self.merge == "concatenate" and not top else 1), *above[1:])
        down = nn.Sequential(Dense(seen, shape, None, ()) if self.dense else Doubling(seen, shape), self.active())
        return Join(lift, down, None if top else above[0], self.merge)
