"""Recipes with one group of latents: each picks one thing from each room."""

__all__ = ["autoencoder", "beta_vae", "conv_vae", "cvae", "vae"]

from functools import partial

from ..data import DataSpec
from ..models import VAE
from ..networks import Convolutional
from ..objectives import ELBO, Reconstruction
from ..plan import Recipe, recipe
from ..posteriors import gaussian, point
from ..priors import StandardNormal
from .choose import BY_NAME, GAUSSIAN, NORMAL, NetworkChoice, beta_of, images, label_of, likelihood_for, networks_for

_ELBO = r"\mathcal L = \mathbb E_{q(z|x)}\log p(x|z) - \mathrm{KL}(q(z|x)\,\|\,p(z))"


@recipe(
    posterior="a point: z = f(x)",
    prior="standard normal, never used in training",
    likelihood=BY_NAME,
    objective="reconstruction log-likelihood; no rate, so no bound",
    equation=r"\log p(x \mid z = f(x))",
    source="Rumelhart, Hinton, Williams 1986; Baldi and Hornik 1989 for the linear case",
    good_for="a code to reconstruct from, without a claim about probability; with hidden=() it finds what PCA finds",
    not_for="sampling, likelihoods and comparison in nats: no rate is paid for the code",
    published="MNIST, code of 30, squared error an image: PCA 13.87, deep 3.00 (Hinton and Salakhutdinov 2006)",
)
def autoencoder(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """An autoencoder: a code without noise, trained to reconstruct. It has no prior to sample from honestly.

    Args:
        latent: size of the code.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder; empty for a linear autoencoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 1 number a code.
        decoder: your own network, code to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = point(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), Reconstruction())


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO",
    equation=_ELBO,
    source="Kingma and Welling 2013, arXiv:1312.6114",
    good_for="the first model on any data, and the one that others are compared with",
    not_for="sharp images, or a decoder that can do without z: see free_bits_vae and delta_vae",
    published="MNIST, NLL, 50 latents, hidden 200,200, 3,280 epochs: dynamic 86.76, static 88.71 (Burda et al. 2015)",
)
def vae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The variational autoencoder, by default with dense networks: one hidden layer of 300 units each way.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(1.0, beta_schedule), draws))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO",
    equation=_ELBO,
    source="architecture of Burgess et al. 2018, arXiv:1804.03599",
    good_for="images of any size, with fewer parameters than a dense network has",
    not_for="data that are no images; fine detail, for which the decoder is too smooth",
    published="no likelihoods; the architecture is the one of the disentanglement papers",
)
def conv_vae(
    data: DataSpec,
    *,
    latent: int = 20,
    channels: tuple[int, ...] = (32, 32, 64, 64),
    hidden: int = 256,
    activation: str = "relu",
    likelihood: str = "auto",
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The variational autoencoder for images of any size: strided convolutions down, transposed ones up.

    Args:
        latent: size of z.
        channels: channels of the convolutions from the image inwards; small images use the first few.
        hidden: width of the dense layer between the convolutions and z.
        activation: name of the activation.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    network = partial(Convolutional, channels=channels, hidden=hidden, activation=activation)
    q = gaussian(encoder or network, images(data, "conv_vae"), latent)
    p_x = likelihood_for(data, likelihood)(decoder or network, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(1.0, beta_schedule)))


@recipe(
    posterior="diagonal Gaussian q(z|x,c)",
    prior="standard normal, whatever the label",
    likelihood="p(x|z,c), by name; Bernoulli, or Gaussian on real data",
    objective="ELBO of log p(x|c)",
    equation=r"\mathcal L = \mathbb E_{q(z|x,c)}\log p(x|z,c) - \mathrm{KL}(q(z|x,c)\,\|\,p(z))",
    source="Kingma et al. 2014, arXiv:1406.5298 (model M2 with the label observed)",
    good_for="samples of the class you ask for, and a code of style without the class",
    not_for="data without labels; many or changing labels, which a one-hot vector does not carry",
    published="none that compare: the paper reports classification from few labels",
)
def cvae(
    data: DataSpec,
    *,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE given a class label: sample the class you ask for. Needs data with labels.

    Args:
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 throughout if not given.
        encoder: your own network, (x, c) to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, (z, c) to the likelihood's raw numbers.
    """
    label = label_of(data, "cvae")
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent, label.shape)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape, label.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x, label), ELBO(beta_of(1.0, beta_schedule)), "label")


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO with weight β on the rate",
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\log p(x|z) - \beta\,\mathrm{KL}(q(z|x)\,\|\,p(z))",
    source="Higgins et al. 2017, beta-VAE (ICLR)",
    good_for="a code of few, more independent parts, where the data have independent factors",
    not_for="likelihoods: with β > 1 the objective is a looser bound, and reconstruction suffers",
    published="dSprites, its own disentanglement metric: 99.23 % with β = 4 (Higgins et al. 2017)",
)
def beta_vae(
    data: DataSpec,
    *,
    beta: float = 4.0,
    latent: int = 10,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE with a dearer rate: β > 1 trades reconstruction for a code with fewer, more independent parts.

    Args:
        beta: weight of the rate.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: β over the steps, such as linear:0:4:5000; takes the place of beta.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(beta, beta_schedule)))
