"""Recipes with several levels of latents."""

__all__ = ["hvae", "lvae"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import exp

from torch import nn

from .._checks import choice, positive_int
from .._shapes import Shape
from ..conditional import NetworkConditional
from ..data import DataSpec
from ..distributions import GaussianHead
from ..models import BottomUp, Climb, Merging, TopDown
from ..networks import Convolutional, Dense, NetworkFactory, Normalised
from ..networks.activations import activation as activation_named
from ..objectives import ELBO, IWAE, Objective
from ..plan import Recipe, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, NORMAL, beta_of, images, likelihood_for

_WARM_UP = "linear:0.001:1:2000"
# Variances above e⁻¹⁰, in draws and densities alike: a level that a warm-up leaves free would else end as a point.
_SOFTPLUS = partial(GaussianHead, scale="softplus", floor=exp(-5))
_SCALES = {"element": GaussianHead, "softplus": _SOFTPLUS}
_BOUND = "ELBO; with several draws the importance-weighted bound"


@recipe(
    posterior="a chain of diagonal Gaussians from the bottom up, each given a draw of the level below",
    prior=f"{NORMAL} at the top, below it diagonal Gaussians given the level above",
    likelihood=BY_NAME,
    objective=_BOUND,
    equation=r"q(z|x) = q(z_1|x) \prod_{i=2}^{L} q(z_i|z_{i-1}), "
    r"p(x,z) = p(z_L) \prod_{i=1}^{L-1} p(z_i|z_{i+1}) \, p(x|z_1)",
    source="Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082; two layers: Burda et al. 2015, arXiv:1509.00519",
    good_for="two levels, with several draws; a baseline that shows what the ladder is for; Bit-Swap compression",
    not_for="more than two or three levels: the upper ones fall silent, since each sees x only through the draw below",
    published="dynamic MNIST, latents 100 and 50, 3,280 epochs, NLL by 5,000 draws: VAE 85.33, IWAE-50 82.90 "
    "(Burda et al. 2015, Table 1)",
)
def hvae(
    data: DataSpec,
    *,
    latents: tuple[int, ...] = (50, 25),
    hidden: tuple[int, ...] = (200, 100),
    depth: int = 2,
    activation: str = "tanh",
    network: str = "dense",
    batch_norm: bool = False,
    scale: str = "element",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """The hierarchical VAE with a stochastic way up: each level of latents is inferred from a draw of the one below.

    Args:
        latents: sizes of z from the bottom level to the top one.
        hidden: widths of the hidden layers between each level and what is below it, from the bottom up.
        depth: hidden layers between two levels, in either direction.
        activation: name of the activation; a leaky rectifier may name its slope, as in leaky_relu:0.1.
        network: dense; or convolutional: between images and the lowest level of latents, with dense ones above.
        batch_norm: normalise every hidden layer, and the means and variances of latents, by statistics of the batch.
        scale: of latents: element, whose networks tell log σ; or softplus, for variances by a softplus, at least e⁻¹⁰,
            as in the ladder.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: K draws of all latents a datum in training; with more than one, the bound is the importance-weighted one.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000, for one draw; 1 if not given.
    """
    head = _SCALES[choice(scale, _SCALES, "hvae: scale")]
    nets = _Networks("hvae", data, latents, hidden, depth, activation, network, batch_norm, head)
    levels = range(len(latents))
    p_x = likelihood_for(data, likelihood)(nets.between(0), (latents[0],), data.shape)
    top, shapes = StandardNormal(latents[-1]), [(size,) for size in latents[::-1]]
    model = BottomUp([nets.q(i) for i in levels], top, [nets.p(i) for i in nets.lower], p_x, shapes)
    return Recipe(model, _bound("hvae", draws, beta_schedule))


@recipe(
    posterior="diagonal Gaussians from the top down, each the product of p(z_i|z_{i+1}) and of a guess from x",
    prior=f"{NORMAL} at the top, below it diagonal Gaussians given the level above",
    likelihood=BY_NAME,
    objective=f"{_BOUND}; the rate is warmed up",
    equation=r"q(z|x) = q(z_L|x) \prod_{i=1}^{L-1} q(z_i|z_{i+1},x), "
    r"q(z_i|z_{i+1},x) \propto N(\hat\mu_i(x), \hat\sigma_i^2(x)) \, p(z_i|z_{i+1})",
    source="Sønderby et al. 2016, arXiv:1602.02282",
    good_for="several levels that are all used: each sees x by a way of its own, and corrects what those above say",
    not_for="a single level, where it is a vae; likelihoods of colour images, which need latents at every resolution",
    published="dynamic MNIST, five levels, NLL by 5,000 draws: 82.12, fine-tuned with 10 draws 81.74; the published "
    "code is not quite what gave them, says its author (Sønderby et al. 2016)",
)
def lvae(
    data: DataSpec,
    *,
    latents: tuple[int, ...] = (64, 32, 16, 8, 4),
    hidden: tuple[int, ...] = (512, 256, 128, 64, 64),
    depth: int = 2,
    activation: str = "leaky_relu:0.1",
    network: str = "dense",
    batch_norm: bool = True,
    share: bool = True,
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """The ladder VAE: a deterministic way up, and a posterior that goes down with the prior and corrects it.

    Args:
        latents: sizes of z from the bottom level to the top one.
        hidden: widths of the hidden layers between each level and what is below it, from the bottom up.
        depth: hidden layers between two levels, in either direction.
        activation: name of the activation; leaky_relu:0.1 is the paper's, the published code has 0.01.
        network: dense; or convolutional: between images and the lowest level, with dense latents and levels above.
        batch_norm: normalise every hidden layer, and the means and variances of latents, by statistics of the batch.
        share: the posterior corrects the prior's own numbers, as in the paper; else a belief of its own from the level
            above, as in the published code.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: K draws of all latents a datum in training; with more than one, the bound is the importance-weighted one.
        beta_schedule: weight of the rate over the steps, for one draw; linear:0.001:1:2000 if not given.
    """
    nets = _Networks("lvae", data, latents, hidden, depth, activation, network, batch_norm)
    top = Merging((latents[-1],), StandardNormal(latents[-1]), nets.guess(len(latents) - 1))
    lower = [Merging((latents[i],), nets.p(i), nets.guess(i), None if share else nets.p(i)) for i in nets.lower]
    p_x = likelihood_for(data, likelihood)(nets.between(0), (latents[0],), data.shape)
    warm_up = _WARM_UP if draws == 1 and beta_schedule is None else beta_schedule
    return Recipe(TopDown(nets.climb(), [top, *lower], p_x), _bound("lvae", draws, warm_up))


@dataclass(frozen=True, slots=True)
class _Networks:
    """The networks of a hierarchy, level by level from the bottom: 0 is what lies between x and the lowest latents."""

    owner: str
    data: DataSpec
    latents: tuple[int, ...]
    hidden: tuple[int, ...]
    depth: int
    activation: str
    network: str
    batch_norm: bool
    head: Callable[[Shape], GaussianHead] = _SOFTPLUS

    def __post_init__(self) -> None:
        if not self.latents or len(self.latents) != len(self.hidden):
            raise ValueError(
                f"{self.owner}: latents and hidden: wanted as many widths as levels, got {self.latents!r} and "
                f"{self.hidden!r}."
            )
        positive_int(self.depth, f"{self.owner}: depth")
        if choice(self.network, ("dense", "convolutional"), f"{self.owner}: network") == "convolutional":
            images(self.data, self.owner)

    @property
    def lower(self) -> range:
        """The levels below the top, from above."""
        return range(len(self.latents) - 2, -1, -1)

    def between(self, i: int, outputs: bool = False, layers: int | None = None) -> NetworkFactory:
        """What makes a network between level i and what is below it, in either direction.

        Args:
            i: the level.
            outputs: whether what it gives is normalised, if anything is.
            layers: how many hidden ones, if not ``depth``; a convolutional network has its own number.
        """
        inside = self._inside(outputs)
        if i == 0 and self.network == "convolutional":
            return partial(Convolutional, hidden=self.hidden[0], activation=inside)
        return partial(Dense, hidden=(self.hidden[i],) * (self.depth if layers is None else layers), activation=inside)

    def q(self, i: int) -> NetworkConditional:
        """q(z_i) given what is below: x, or the latents there."""
        below = (self.latents[i - 1],) if i else self.data.shape
        return gaussian(self.between(i, True), below, self.latents[i], head=self.head)

    def p(self, i: int) -> NetworkConditional:
        """p(z_i) given the level above."""
        return gaussian(self.between(i + 1, True), (self.latents[i + 1],), self.latents[i], head=self.head)

    def climb(self) -> Climb:
        """The deterministic way up, by features as wide as the hidden layers."""
        shapes = [self.data.shape, *((width,) for width in self.hidden)]
        made = [self.between(i, True, self.depth - 1)(*pair, None) for i, pair in enumerate(pairwise(shapes))]
        return Climb([nn.Sequential(one, activation_named(self.activation, self.owner)()) for one in made])

    def guess(self, i: int) -> NetworkConditional:
        """What level i believes by its feature alone: a linear layer."""
        linear = partial(Dense, hidden=(), activation=self._inside(True))
        return gaussian(linear, (self.hidden[i],), self.latents[i], head=self.head)

    def _inside(self, outputs: bool) -> str | Normalised:
        return Normalised(self.activation, outputs) if self.batch_norm else self.activation


def _bound(owner: str, draws: int, schedule: str | None) -> Objective:
    """The ELBO with its schedule, or of several draws the importance-weighted bound, which has none."""
    if draws > 1 and schedule is not None:
        raise ValueError(
            f"{owner}: beta_schedule: the bound of several draws has no weight of the rate. Leave one out."
        )
    return ELBO(beta_of(1.0, schedule)) if draws == 1 else IWAE(draws)
