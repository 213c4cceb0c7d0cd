"""Recipes with a flow: as the posterior, or as the prior."""

__all__ = ["af_prior_vae", "coupling_prior_vae", "iaf_vae", "spline_vae"]

from functools import partial

from .._shapes import as_shape
from ..data import DataSpec
from ..models import VAE
from ..networks import gated, splines
from ..objectives import ELBO
from ..plan import Recipe, recipe
from ..posteriors import gaussian, iaf, spline
from ..priors import AutoregressiveFlow, CouplingFlow, StandardNormal
from .choose import BY_NAME, GAUSSIAN, NORMAL, NetworkChoice, beta_of, likelihood_for, networks_for

_OBJECTIVE = "ELBO, the rate by Monte Carlo"
_NUMBERS = "the paper's networks are convolutional and wider, its estimate IS-128"


@recipe(
    posterior="inverse autoregressive flow on a diagonal Gaussian",
    prior=NORMAL,
    likelihood=BY_NAME,
    objective=_OBJECTIVE,
    equation=r"\mathcal L = \mathbb E_{q(z_T|x)}\big[\log p(x|z_T) + \log p(z_T) - \log q(z_T|x)\big], \quad "
    r"z_t = \sigma_t \odot z_{t-1} + (1 - \sigma_t) \odot m_t",
    source="Kingma et al. 2016, arXiv:1606.04934",
    good_for="closing the gap that a diagonal posterior leaves: latents that explain a datum together, or bent",
    not_for="log q of a given z (one pass for each latent), gradient estimators that leave the score out",
    published="dynamic MNIST, bound: diagonal −84.08 ± .10, IAF 2 × 320 −82.02 ± .08, 2 × 1920 −81.17 ± .08, "
    f"8 × 1920 −80.80 ± .07 and log p −79.10; static MNIST −79.88 (the paper; {_NUMBERS})",
)
def iaf_vae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    steps: int = 2,
    flow_hidden: tuple[int, ...] = (320, 320),
    context: int = 64,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE whose posterior is bent by inverse autoregressive flow: gated MADE steps that see the encoder.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        steps: steps of the flow; the order of the latents is reversed from one to the next.
        flow_hidden: widths of the hidden layers of each step's masked network.
        context: size of what the encoder tells every step.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation) and the context.
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    flow = partial(gated, steps=steps, hidden=as_shape(flow_hidden, "flow_hidden"))
    q = iaf(encoder or up, data.shape, latent, flow=flow, context=context)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(1.0, beta_schedule), draws))


@recipe(
    posterior="coupling steps of neural splines on a diagonal Gaussian",
    prior=NORMAL,
    likelihood=BY_NAME,
    objective=_OBJECTIVE,
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\big[\log p(x|z) + \log p(z) - \log q(z|x)\big], \quad "
    r"z = f_h(z_0),\; z_0 \sim \mathcal N(\mu, \sigma^2)",
    source="splines: Durkan et al. 2019, arXiv:1906.04032; as a posterior: after Rezende and Mohamed 2015, "
    "arXiv:1505.05770",
    good_for="posteriors with more than one mode in a latent; log q of any z at the price of a few draws",
    not_for="latents far outside [−5, 5], where a spline step is the identity",
    published="none that compare: Durkan et al. put splines into posterior and prior, with other networks",
)
def spline_vae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    steps: int = 2,
    flow_hidden: tuple[int, ...] = (128, 128),
    context: int = 64,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE whose posterior is bent by coupling splines: the alternative to iaf_vae that inverts cheaply.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        steps: coupling steps; the halves of z change places from one to the next.
        flow_hidden: widths of the hidden layers of each step's masked network.
        context: size of what the encoder tells every step.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation) and the context.
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    flow = partial(splines, steps=steps, hidden=as_shape(flow_hidden, "flow_hidden"))
    q = spline(encoder or up, data.shape, latent, flow=flow, context=context)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(1.0, beta_schedule), draws))


@recipe(
    posterior=GAUSSIAN,
    prior="autoregressive flow: MADE steps from z to N(0, I)",
    likelihood=BY_NAME,
    objective=_OBJECTIVE,
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\Big[\log p(x|z) + \log \mathcal N(g(z); 0, I) + "
    r"\log\Big|\det\frac{\partial g}{\partial z}\Big| - \log q(z|x)\Big]",
    source="the prior of the variational lossy autoencoder, Chen et al. 2016, arXiv:1611.02731",
    good_for="a prior that learns where the codes are, at what an IAF posterior costs: along the encoder it is one",
    not_for="fast samples (one pass for each latent and step), codes whose latents should be independent",
    published="dynamic MNIST with a PixelCNN decoder, IS-4096: standard prior 79.48, AF prior 78.94 (the paper's "
    "ablation; with our decoder the numbers are not comparable)",
)
def af_prior_vae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    steps: int = 2,
    flow_hidden: tuple[int, ...] = (320, 320),
    mean_only: bool = False,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE with the autoregressive prior of the variational lossy autoencoder, learned with the rest.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        steps: steps of the prior; the order of the latents is reversed from one to the next.
        flow_hidden: widths of the hidden layers of each step's masked network.
        mean_only: shifts without scales, as in the paper's binary models (4 steps of 640, 640, 640).
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    prior = AutoregressiveFlow(latent, steps, as_shape(flow_hidden, "flow_hidden"), mean_only=mean_only)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, prior, p_x), ELBO(beta_of(1.0, beta_schedule), draws))


@recipe(
    posterior=GAUSSIAN,
    prior="coupling flow of neural splines from z to N(0, I)",
    likelihood=BY_NAME,
    objective=_OBJECTIVE,
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\Big[\log p(x|z) + \log \mathcal N(g(z); 0, I) + "
    r"\log\Big|\det\frac{\partial g}{\partial z}\Big| - \log q(z|x)\Big]",
    source="couplings as a prior: Xu et al. 2019; splines: Durkan et al. 2019, arXiv:1906.04032",
    good_for="a learned prior whose samples cost a few passes, whatever the number of latents",
    not_for="small budgets: a spline costs more than an affine step; latents far outside [−5, 5]",
    published="static MNIST with affine couplings (RealNVP) and a convolutional VAE 80.09 (Xu et al. 2019, as others "
    "report it; not our networks)",
)
def coupling_prior_vae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    steps: int = 4,
    flow_hidden: tuple[int, ...] = (128, 128),
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE with an invertible coupling prior of splines, learned with the rest.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        steps: coupling steps; the halves of z change places from one to the next.
        flow_hidden: widths of the hidden layers of each step's masked network.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    prior = CouplingFlow(latent, steps, as_shape(flow_hidden, "flow_hidden"))
    return Recipe(VAE(q, prior, p_x), ELBO(beta_of(1.0, beta_schedule), draws))
