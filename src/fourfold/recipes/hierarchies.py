"""Recipes with several levels of latents."""

__all__ = ["hvae"]

from functools import partial

from .._checks import positive_int
from ..data import DataSpec
from ..models import BottomUp
from ..networks import Dense
from ..objectives import ELBO, IWAE
from ..plan import Recipe, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, NORMAL, beta_of, likelihood_for


@recipe(
    posterior="a chain of diagonal Gaussians from the bottom up, each given a draw of the level below",
    prior=f"{NORMAL} at the top, below it diagonal Gaussians given the level above",
    likelihood=BY_NAME,
    objective="ELBO; with several draws the importance-weighted bound",
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
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """The hierarchical VAE with a stochastic way up: each level of latents is inferred from a draw of the one below.

    Args:
        latents: sizes of z from the bottom level to the top one.
        hidden: widths of the hidden layers between each level and what is below it, from the bottom up.
        depth: hidden layers between two levels, in either direction.
        activation: name of the activation.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: K draws of all latents a datum in training; with more than one, the bound is the importance-weighted one.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000, for one draw; 1 if not given.
    """
    if not latents or len(latents) != len(hidden):
        raise ValueError(f"hvae: latents and hidden: wanted as many widths as levels, got {latents!r} and {hidden!r}.")
    if draws > 1 and beta_schedule is not None:
        raise ValueError("hvae: beta_schedule: the bound of several draws has no weight of the rate. Leave one out.")
    depth = positive_int(depth, "hvae: depth")
    nets = [partial(Dense, hidden=(width,) * depth, activation=activation) for width in hidden]
    shapes = [data.shape, *((size,) for size in latents)]
    posteriors = [gaussian(net, shapes[i], latents[i]) for i, net in enumerate(nets)]
    conditionals = [gaussian(nets[i], shapes[i + 1], latents[i - 1]) for i in range(len(latents) - 1, 0, -1)]
    p_x = likelihood_for(data, likelihood)(nets[0], shapes[1], data.shape)
    model = BottomUp(posteriors, StandardNormal(latents[-1]), conditionals, p_x, shapes[:0:-1])
    return Recipe(model, ELBO(beta_of(1.0, beta_schedule)) if draws == 1 else IWAE(draws))
