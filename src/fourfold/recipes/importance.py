"""Recipes with a tighter bound: importance weights over several draws, and an encoder refined for each datum."""

__all__ = ["ciwae", "iwae", "miwae", "piwae", "semi_amortised_vae"]

from .._checks import positive_int
from ..data import DataSpec
from ..models import VAE, Refinement, SemiAmortised
from ..objectives import CIWAE, ELBO, IWAE, MIWAE
from ..plan import Player, Recipe, Stage, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import BY_NAME, GAUSSIAN, NORMAL, NetworkChoice, beta_of, likelihood_for, networks_for

_RAINFORTH = "Rainforth et al. 2018, arXiv:1802.04537"
_QUOTED = "dynamic MNIST, 64 draws, NLL in nats as others quote Rainforth et al.: "


def _unbiased(estimator: str, draws: int, owner: str) -> str:
    """The estimator's name; sticking the landing with several draws has no flag, so that nobody takes it unawares."""
    if estimator == "stl" and draws > 1:
        raise ValueError(
            f"{owner}: estimator: sticking the landing is biased for more than one draw (here {draws}). Take dreg; "
            "or, in Python, a Recipe whose objective has estimator='stl' and biased=True."
        )
    return estimator


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="importance-weighted bound of K draws",
    equation=r"\mathcal L_K = \mathbb E \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}",
    source="Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519; DReG: Tucker et al. 2018, arXiv:1810.04152",
    good_for="the best likelihood a given decoder can reach; more active units than the ELBO gives",
    not_for="a posterior to be used by itself: q need no longer be near p(z|x); many draws where time is short",
    published="dynamic MNIST, one layer, test NLL in nats by 5,000 draws (paper, Table 1): VAE 86.76, IWAE-5 85.54, "
    "IWAE-50 84.78; IWAE-50 with 2 layers 82.90. DReG-50, one layer: 84.32 (another's reproduction)",
)
def iwae(
    data: DataSpec,
    *,
    draws: int = 50,
    estimator: str = "autograd",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The importance-weighted autoencoder: K draws of z, weighted by how well they explain x, for a tighter bound.

    Args:
        draws: K, draws of z for each datum in training.
        estimator: of the gradient: autograd; dreg, the same in the mean with far less noise on the encoder;
            one-backward, the same in the mean with more noise, in less time; rws, reweighted wake-sleep, whose encoder
            does not ascend the bound.
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
    return Recipe(VAE(q, StandardNormal(latent), p_x), IWAE(draws, _unbiased(estimator, draws, "iwae")))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="mean of M importance-weighted bounds of K draws",
    equation=r"\frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K \frac{p(x, z_{mk})}{q(z_{mk}|x)}",
    source=_RAINFORTH,
    good_for="a clearer signal for the encoder than IWAE gives for the same number of draws",
    not_for="the tightest bound: it is as loose as that of K draws",
    published=_QUOTED + "M = K = 8 84.97 ± .10; M = 4, K = 16 84.56; IWAE 84.52; VAE 86.21",
)
def miwae(
    data: DataSpec,
    *,
    outer: int = 8,
    inner: int = 8,
    estimator: str = "autograd",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """MIWAE: the mean of several importance-weighted bounds, between the VAE (K = 1) and the IWAE (M = 1).

    Args:
        outer: M, the number of bounds that are averaged.
        inner: K, draws of z for each of them.
        estimator: of the gradient: autograd; dreg, the same in the mean with far less noise on the encoder;
            one-backward, the same in the mean with more noise, in less time; rws, reweighted wake-sleep, whose encoder
            does not ascend the bound.
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
    return Recipe(VAE(q, StandardNormal(latent), p_x), MIWAE(outer, inner, _unbiased(estimator, inner, "miwae")))


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="β · ELBO + (1 − β) · importance-weighted bound of K draws",
    equation=r"\beta\, \mathcal L_{\mathrm{ELBO}} + (1 - \beta)\, \mathcal L_K",
    source=_RAINFORTH,
    good_for="an encoder kept near p(z|x) by a little ELBO, at nearly the tightness of IWAE",
    not_for="the tightest bound; with dreg there is little left for it to cure",
    published=_QUOTED + "β = 0.05 84.57 ± .09; IWAE 84.52",
)
def ciwae(
    data: DataSpec,
    *,
    beta: float = 0.05,
    draws: int = 64,
    estimator: str = "autograd",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """CIWAE: a convex combination of the ELBO and the importance-weighted bound.

    Args:
        beta: weight of the ELBO, from 0 (IWAE) to 1 (VAE with K draws).
        draws: K, draws of z for each datum in training.
        estimator: of the gradient: autograd; or dreg, the same in the mean with far less noise on the encoder.
        latent: size of z.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: β over the steps, such as linear:1:0:5000; takes the place of beta.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    q = gaussian(encoder or up, data.shape, latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    objective = CIWAE(beta_of(beta, beta_schedule), draws, estimator=_unbiased(estimator, draws, "ciwae"))
    return Recipe(VAE(q, StandardNormal(latent), p_x), objective)


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="decoder: importance-weighted bound of M·K draws; encoder: mean of M bounds of K draws",
    equation=r"\theta: \log \tfrac1{MK} \sum_{m,k} w_{mk}, \qquad \phi: \tfrac1M \sum_m \log \tfrac1K \sum_k w_{mk}",
    source=_RAINFORTH,
    good_for="the tight bound where it helps, for the decoder, and the clearer signal for the encoder",
    not_for="time that is short: each step takes two passes; with dreg, IWAE alone does as well",
    published=_QUOTED + "M = K = 8 84.46 ± .06; IWAE 84.52",
)
def piwae(
    data: DataSpec,
    *,
    outer: int = 8,
    inner: int = 8,
    estimator: str = "autograd",
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """PIWAE: the decoder maximises IWAE(M·K), the encoder MIWAE(M, K); what is validated is the decoder's bound.

    Args:
        outer: M, the number of bounds that are averaged for the encoder.
        inner: K, draws of z for each of them; the decoder's bound has M·K.
        estimator: of the encoder's gradient: autograd; dreg, the same in the mean with far less noise; one-backward,
            with more noise, in less time; rws, reweighted wake-sleep, which does not ascend the bound.
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
    q, prior = gaussian(encoder or up, data.shape, latent), StandardNormal(latent)
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    tight = IWAE(positive_int(outer, "piwae: outer") * positive_int(inner, "piwae: inner"))
    clear = MIWAE(outer, inner, _unbiased(estimator, inner, "piwae"))
    players = Player(tight, (p_x, prior)), Player(clear, (q,), "encoder")
    return Recipe(VAE(q, prior, p_x), tight, stages=(Stage(players),))


@recipe(
    posterior="diagonal Gaussian, refined for each datum by a few gradient steps",
    prior=NORMAL,
    likelihood=BY_NAME,
    objective="ELBO at the refined posterior, differentiated through the steps",
    equation=r"\lambda_{t+1} = \lambda_t + \eta \nabla_\lambda \mathcal L(\lambda_t; x), \quad "
    r"\mathcal L(\lambda_T; x)",
    source="Kim, Wiseman, Miller, Sontag and Rush 2018, arXiv:1802.02550",
    good_for="closing the amortisation gap, where the encoder is the weak part; less posterior collapse",
    not_for="fast inference: every encoding takes several passes through the decoder with their gradients",
    published="none that compare: the paper's decoders are autoregressive, on text and on Omniglot",
)
def semi_amortised_vae(
    data: DataSpec,
    *,
    steps: int = 5,
    step_size: float = 0.05,
    first_order: bool = False,
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
    """The VAE whose encoder only makes a first guess, which is then improved for each datum, in evaluation too.

    Args:
        steps: of gradient ascent on each datum's ELBO.
        step_size: factor on their gradient.
        first_order: training does not differentiate through the steps; cheaper.
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
    model = SemiAmortised(q, StandardNormal(latent), p_x, Refinement(steps, step_size, first_order=first_order))
    return Recipe(model, ELBO(beta_of(1.0, beta_schedule), draws))
