"""Recipes whose objective says what the latents should be to one another: capacity, independence, covariance."""

__all__ = ["capacity_vae", "dip_vae", "factor_vae", "tc_vae"]

from .._checks import positive_int
from .._shapes import as_shape
from ..data import DataSpec
from ..models import VAE
from ..objectives import DIP, Capacity, Decomposed, Discrimination, FactorVAE, Linear, discriminator
from ..plan import Player, Recipe, Stage, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, GAUSSIAN, NORMAL, NetworkChoice, likelihood_for, networks_for

_MARGINALS = r"\sum_j\mathrm{KL}(q(z_j)\,\|\,p(z_j))"
_TC = r"\mathrm{KL}\big(q(z)\,\|\,\prod_j q(z_j)\big)"


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="reconstruction, with the rate held at C nats while C grows",
    equation=r"\mathbb E_{q(z|x)}\log p(x|z) - \gamma\,\big|\mathbb E_x\mathrm{KL}(q(z|x)\,\|\,p(z)) - C\big|",
    source="Burgess et al. 2018, arXiv:1804.03599",
    good_for=(
        "a code of a rate that you choose in nats, at the best reconstruction for it; seeing in which order factors "
        "enter the code as C grows."
    ),
    not_for=(
        "likelihoods: it is no bound, and the rate is C whether or not the data want it. At a constant learning rate "
        "the rate swings around C, the more the larger gamma: let it fall (--lr-schedule cosine)."
    ),
    published=(
        "C from 0.5 to 25 nats over 100,000 steps with gamma 1000 on dSprites (Burgess et al. 2018); the log of a "
        "later code (disvae, gamma 100) has a test rate of 25.04 at C = 25."
    ),
)
def capacity_vae(
    data: DataSpec,
    *,
    capacity: float = 25.0,
    ramp: int = 5000,
    gamma: float = 10.0,
    latent: int = 10,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VAE whose rate is held at C nats, C rising in a straight line from 0.5 to the capacity asked for.

    Args:
        capacity: C at the end of the ramp, in nats.
        ramp: steps over which C rises from 0.5; 100,000 in the paper.
        gamma: weight of the distance between rate and C: more than what a nat of rate saves in distortion; 1000 in the
            paper, where it leaves little of the gradient to the reconstruction.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    rising = Linear(min(0.5, capacity), capacity, positive_int(ramp, "capacity_vae: ramp"))
    return Recipe(VAE(q, StandardNormal(latent), p_x), Capacity(gamma, rising))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO with weights on mutual information, total correlation and dimension-wise KL",
    equation=r"\mathbb E_{q(z|x)}\log p(x|z) - \alpha\,I_q(x;z) - \beta\," + _TC + r" - \gamma\," + _MARGINALS,
    source="Chen et al. 2018, arXiv:1802.04942",
    good_for=(
        "independent latents at a smaller price in reconstruction than beta_vae: only the total correlation is made "
        "dear, not what the code says of x."
    ),
    not_for=(
        "small batches: q(z) of all data is estimated from one of them. Numbers of its training are estimates that "
        "depend on the estimator; report those of fourfold evaluate --decomposition 2000."
    ),
    published="beta 6, 10 latents, batch 2048, Adam 1e-3, 50 epochs, estimator mws (read in the authors' code).",
)
def tc_vae(
    data: DataSpec,
    *,
    alpha: float = 1.0,
    beta: float = 6.0,
    gamma: float = 1.0,
    estimator: str = "mss",
    latent: int = 10,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The β-TCVAE: of the three parts of the rate, the dependence between latents is made dearer.

    Args:
        alpha: weight of the mutual information between data and code.
        beta: weight of the total correlation of the code.
        gamma: weight of the KL of each latent's marginal from the prior.
        estimator: of q(z) from a batch: mss, mws, or full where the batch is all the data.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    if data.n is None:
        raise ValueError("recipe tc_vae: it needs the number of training rows. Give DataSpec(…, n=…).")
    objective = Decomposed(alpha, beta, gamma, data_size=data.n, estimator=estimator)
    return Recipe(VAE(q, StandardNormal(latent), p_x), objective)


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO less γ times the total correlation, which a discriminator estimates",
    equation=r"\mathcal L - \gamma\," + _TC,
    source="Kim and Mnih 2018, arXiv:1802.05983",
    good_for=(
        "independent latents from small batches: a second network learns the density ratio over all of training, where "
        "tc_vae sees one batch."
    ),
    not_for=(
        "a number for the total correlation (fourfold evaluate --decomposition 2000 has one), and short runs: the two "
        "networks play against each other. Watch the discriminator's accuracy: 0.5 is healthy, near 1 it has won."
    ),
    published=(
        "gamma 35 on dSprites scores 0.82 on the paper's metric (Kim and Mnih 2018); discriminator of six "
        "layers of 1000, Adam 1e-4 for both, with betas 0.5 and 0.9 for the discriminator, batch 64, 300,000 steps "
        "(read in the code of disentanglement_lib)."
    ),
)
def factor_vae(
    data: DataSpec,
    *,
    gamma: float = 10.0,
    discriminator_hidden: tuple[int, ...] = (256, 256, 256, 256),
    latent: int = 10,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """FactorVAE: two players, a VAE that pays for dependent latents and a discriminator that sees the dependence.

    Args:
        gamma: weight of the total correlation.
        discriminator_hidden: widths of the discriminator's hidden layers; six of 1000 in the paper.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    widths = as_shape(discriminator_hidden, "factor_vae: discriminator_hidden")
    model, critic = VAE(q, StandardNormal(latent), p_x), discriminator(latent, widths)
    objective = FactorVAE(gamma, critic)
    rival = Player(Discrimination(critic), parts=(critic,), name="discriminator", betas=(0.5, 0.9))
    return Recipe(model, objective, stages=(Stage((Player(objective, parts=(model,)), rival)),))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO less a penalty on the distance of the code's covariance from the identity",
    equation=r"\mathcal L - \lambda_{od}\sum_{i\ne j}C_{ij}^2 - \lambda_d\sum_i(C_{ii}-1)^2",
    source="Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848",
    good_for="latents without correlation, by a penalty in closed form: no second network, no estimate of q(z).",
    not_for=(
        "dependence beyond second moments, which it does not see; and, for kind i, more latents than the data need: "
        "the means of every one of them are drawn to variance 1."
    ),
    published=(
        "settings of disentanglement_lib (read in its code): off-diagonal weight 1 to 50, diagonal weight 10 times "
        "that (i) or the same (ii)."
    ),
)
def dip_vae(
    data: DataSpec,
    *,
    off_diagonal: float = 10.0,
    diagonal: float | None = None,
    kind: str = "i",
    latent: int = 10,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """DIP-VAE: the covariance of the code over the data is drawn towards the identity.

    Args:
        off_diagonal: weight of the squared covariances of two latents.
        diagonal: weight of the squared distance of variances from 1; if not given, 10 times off_diagonal for kind i,
            off_diagonal for kind ii.
        kind: i takes the covariance of the posterior means, ii that of z itself.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    usual = off_diagonal * (10 if kind == "i" else 1)
    objective = DIP(off_diagonal, usual if diagonal is None else diagonal, kind)
    return Recipe(VAE(q, StandardNormal(latent), p_x), objective)
