"""Recipes for latents that say something: MMD-VAE and InfoVAE, free bits, aggressive training of the encoder."""

__all__ = ["aggressive_vae", "free_bits_vae", "info_vae", "mmd_vae"]

from .._checks import choice, non_negative, positive_int
from .._shapes import size
from ..data import DataSpec
from ..models import VAE
from ..objectives import ELBO, FREE_BITS, KERNELS, FreeBits, InfoVAE, SoftFreeBits
from ..plan import Player, Recipe, Stage, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, GAUSSIAN, NORMAL, NetworkChoice, beta_of, likelihood_for, networks_for

_ZHAO = "Zhao, Song and Ermon 2017, arXiv:1706.02262"
_NONE = "none that compare: the paper looks at how q(z) fits the prior, mutual information, and few labels"


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="InfoVAE with α = 1: reconstruction and MMD² of q(z) from the prior; no rate is paid",
    equation=r"\mathbb E_{q(z|x)}\log p(x|z) - \lambda\,\mathrm{MMD}^2(q(z), p(z))",
    source=_ZHAO,
    good_for="latents that keep much of x and, taken together, follow the prior, so that prior draws decode well.",
    not_for="likelihood: no rate is paid, so the objective is no bound and the ELBO, which is reported, is poor.",
    published=_NONE,
)
def mmd_vae(
    data: DataSpec,
    *,
    lam: float | None = None,
    kernel: str = "imq",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The MMD-VAE: no rate for any single datum; only all latents together must look like draws of the prior.

    Args:
        lam: λ, nats for each unit of MMD²; if not given, as many as x has elements, as the distortion is their sum.
        kernel: imq (C = 2d), imq_scales (a sum over seven scales around it) or rbf (2σ² = d², as in Zhao's code).
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    made = KERNELS[choice(kernel, KERNELS, "mmd_vae: kernel")](positive_int(latent, "mmd_vae: latent"))
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), InfoVAE(1.0, _weight(lam, data, "mmd_vae"), made))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="InfoVAE: the rate at weight 1 − α, and MMD² of q(z) from the prior at weight α + λ − 1",
    equation=r"\mathbb E_{q(z|x)}\log p(x|z) - (1-\alpha)\,\mathrm{KL}(q(z|x)\,\|\,p(z)) "
    r"- (\alpha+\lambda-1)\,\mathrm{MMD}^2(q(z), p(z))",
    source=_ZHAO,
    good_for="choosing how much of the rate is paid, between the VAE (α = 0, λ = 1) and the MMD-VAE (α = 1).",
    not_for="likelihood: for α > 0 the objective is no bound; at the default α = 0 it is one, less a penalty.",
    published=_NONE,
)
def info_vae(
    data: DataSpec,
    *,
    alpha: float = 0.0,
    lam: float | None = None,
    kernel: str = "imq",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The InfoVAE: part of the rate of each datum is waived, and all latents together are held to the prior.

    Args:
        alpha: α, at most 1; the rate weighs 1 − α.
        lam: λ, nats for each unit of MMD², if not given as many as x has elements; the penalty weighs α + λ − 1.
        kernel: imq (C = 2d), imq_scales (a sum over seven scales around it) or rbf (2σ² = d², as in Zhao's code).
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    made = KERNELS[choice(kernel, KERNELS, "info_vae: kernel")](positive_int(latent, "info_vae: latent"))
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    return Recipe(VAE(q, StandardNormal(latent), p_x), InfoVAE(alpha, _weight(lam, data, "info_vae", alpha), made))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO whose rate is not charged below λ nats a group; or, soft, with a weight steered by the rate",
    equation=r"\mathbb E_{q(z|x)}\log p(x|z) - \sum_j\max\big(\lambda,\, "
    r"\mathbb E_x\mathrm{KL}(q(z_j|x)\,\|\,p(z_j))\big)",
    source="Kingma et al. 2016, arXiv:1606.04934; soft: Chen et al. 2016, arXiv:1611.02731",
    good_for="keeping latents in use, early in training and under strong decoders; the unclipped rate is reported.",
    not_for="a tight bound: where λ is more than the latents are worth, the difference is lost.",
    published="no number isolates free bits; the systems that use them: IAF with 8 steps on dynamic MNIST, NLL 79.10 "
    "(Kingma et al. 2016), VLAE with 0.01 nats a pixel, 78.53 (Chen et al. 2016).",
)
def free_bits_vae(
    data: DataSpec,
    *,
    nats: float = 0.5,
    kind: str = "per_dim_batchmean",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    draws: int = 1,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE with free bits: a rate below λ nats costs nothing, so no latent is given up for its price.

    Args:
        nats: λ, nats for each group of latents.
        kind: per_dim_batchmean (each latent a group); per_group_batchmean, per_sample or soft (all of z is one group).
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        draws: draws of z for each datum in training.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    choice(kind, (*FREE_BITS, "soft"), "free_bits_vae: kind")
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    objective = SoftFreeBits(nats, draws) if kind == "soft" else FreeBits(nats, kind, draws)
    return Recipe(VAE(q, StandardNormal(latent), p_x), objective)


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO; at first most steps train the encoder alone",
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\log p(x|z) - \mathrm{KL}(q(z|x)\,\|\,p(z))",
    source="He, Spokoyny, Neubig and Berg-Kirkpatrick 2019, arXiv:1901.05534",
    good_for="decoders strong enough to do without z, while the posterior lags behind them.",
    not_for="dense decoders on images, which do not collapse: the first steps are then spent on little.",
    published="none that compare: the paper's decoders are autoregressive (a PixelCNN on Omniglot, LSTMs on text)",
)
def aggressive_vae(
    data: DataSpec,
    *,
    every: int = 10,
    aggressive_steps: int = 3000,
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
    """The VAE whose encoder runs ahead: at first it is trained at every step, the whole model at each tenth only.

    He et al. train the encoder until the loss of ten steps stops falling, at most 100 times, and end the phase when the
    mutual information of x and z stops rising; here the ratio and the end are fixed, and known before the run.

    Args:
        every: steps of the encoder for one of the whole model, 2 or more.
        aggressive_steps: length of the aggressive phase; afterwards the whole model is trained at every step.
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
    if positive_int(every, "aggressive_vae: every") == 1:
        raise ValueError("aggressive_vae: every must be at least 2, got 1: that is the recipe vae.")
    until = positive_int(aggressive_steps, "aggressive_vae: aggressive_steps")
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    elbo = ELBO(beta_of(1.0, beta_schedule), draws)
    whole = Player(elbo, every=every, until=until)
    alone = Player(elbo, (q,), "encoder", until=until)
    return Recipe(VAE(q, StandardNormal(latent), p_x), elbo, stages=(Stage((whole, alone)),))


def _weight(lam: float | None, data: DataSpec, recipe: str, alpha: float = 1.0) -> float:
    weight = float(size(data.shape)) if lam is None else non_negative(lam, f"{recipe}: lam")
    if weight + alpha < 1 - 1e-9:
        raise ValueError(
            f"{recipe}: lam + alpha must be at least 1, else MMD² would be rewarded; got {weight!r} and {alpha!r}. "
            "For the ELBO: alpha 0, lam 1."
        )
    return weight
