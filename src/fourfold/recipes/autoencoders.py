"""Autoencoders: a code without noise, and what keeps it from being a mere copy."""

__all__ = ["contractive_ae", "dae", "sparse_ae", "stacked_ae"]

from functools import partial

from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from .._checks import choice, fraction, non_negative, positive_int
from ..conditional import NetworkConditional
from ..data import DataSpec
from ..distributions import GaussianHead, PointHead
from ..models import VAE
from ..models.corruption import CORRUPTIONS, Corruption
from ..models.features import OnFeatures
from ..networks import Dense, build
from ..networks.tied import Transposed, UnitColumns
from ..objectives import Reconstruction
from ..objectives.contractive import Contractive
from ..objectives.sparse import KLSparsity, L1Sparsity
from ..plan import Player, Recipe, Stage, recipe
from ..posteriors import point
from ..priors import StandardNormal
from .choose import BY_NAME, NetworkChoice, likelihood_for, networks_for

_UNUSED = "standard normal, never used in training"


@recipe(
    posterior="a point: z = f(x̃), of a corrupted datum in training",
    prior=_UNUSED,
    likelihood=BY_NAME + "; of the clean datum",
    objective="reconstruction log-likelihood; no rate, so no bound",
    equation=r"\mathbb E_{q(\tilde x|x)} \log p(x \mid z = f(\tilde x))",
    source="Vincent, Larochelle, Bengio and Manzagol 2008, ICML",
    good_for="cleaning data, and features that fill in what is missing; with Gaussian noise r(x̃) − x̃ is σ² times the "
    "score of the blurred data",
    not_for="sampling: its prior is never trained",
    published="none that compare: classifiers fine-tuned from stacks of three, test error (share masked): basic 2.80 % "
    "(10 %), rot 10.29 % (10 %), bg-rand 10.38 % (40 %), bg-img 16.68 % (25 %) (Vincent et al. 2008; not checked)",
)
def dae(
    data: DataSpec,
    *,
    corruption: str = "masking",
    amount: float = 0.25,
    latent: int = 20,
    network: str = "dense",
    hidden: tuple[int, ...] = (300,),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """A denoising autoencoder: the encoder sees a corrupted datum, the decoder is to tell the clean one.

    Args:
        corruption: masking (to 0), dropout (masking, the rest rescaled), gaussian, or salt_and_pepper.
        amount: share of the elements that are corrupted; of gaussian noise the standard deviation.
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
    return Recipe(
        VAE(q, StandardNormal(latent), p_x, corruption=_corruption(data, corruption, amount)), Reconstruction()
    )


def _corruption(data: DataSpec, name: str, amount: float) -> Corruption:
    choice(name, CORRUPTIONS, "dae: corruption")
    if name == "salt_and_pepper" and data.levels is None and not data.grey:
        raise ValueError("dae: salt_and_pepper sets elements to black or white, and these data are real numbers.")
    (non_negative if name == "gaussian" else fraction)(amount, "dae: amount")
    return CORRUPTIONS[name](amount)


@recipe(
    posterior="a point: z = f(x), through a sigmoid (penalty kl) or a ReLU (l1)",
    prior=_UNUSED,
    likelihood=BY_NAME + "; with l1 the decoder's columns have norm 1",
    objective="reconstruction log-likelihood and a price on activity; no bound",
    equation=r"\log p(x \mid z) - \beta \sum_j \mathrm{KL}(\rho \,\|\, \hat\rho_j), \quad\text{or}\quad "
    r"\log p(x \mid z) - \lambda \sum_j |z_j|",
    source="Ng 2011, Sparse autoencoder (CS294A lecture notes)",
    good_for="codes wider than the data, whose units are rarely on and can be looked at one by one",
    not_for="compression or sampling: nothing is paid for what an active unit says",
    published="no numbers, only settings: image patches ρ = 0.01, β = 3, 25 units (CS294A); MNIST ρ = 0.1, β = 3, 200 "
    "units (UFLDL; not checked); both with squared error, whose β is not that of a Bernoulli's nats",
)
def sparse_ae(
    data: DataSpec,
    *,
    penalty: str = "kl",
    weight: float | None = None,
    rho: float = 0.1,
    latent: int = 200,
    network: str = "dense",
    hidden: tuple[int, ...] = (),
    activation: str = "relu",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """A sparse autoencoder: many units, of which any datum is to use few.

    Args:
        penalty: kl (each unit's mean activity is drawn to rho) or l1 (the size of the code).
        weight: of the penalty; 10 for kl and 0.1 for l1 if not given.
        rho: wished mean activity of a unit, for kl.
        latent: size of the code.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder; empty for none;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation; residual networks have silu.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 1 number a code.
        decoder: your own network, code to the likelihood's raw numbers.
    """
    kl = choice(penalty, ("kl", "l1"), "sparse_ae: penalty") == "kl"
    up, down = networks_for(network, hidden, activation)
    q = point(encoder or up, data.shape, latent, activation="sigmoid" if kl else "relu")
    p_x = likelihood_for(data, likelihood)(decoder or down, (latent,), data.shape)
    model = VAE(q, StandardNormal(latent), p_x)
    if kl:
        return Recipe(model, KLSparsity(latent, rho, 10.0 if weight is None else weight))
    _hold_columns(p_x.network)
    return Recipe(model, L1Sparsity(0.1 if weight is None else weight))


def _hold_columns(decoder: nn.Module) -> None:
    """Keeps the columns of every layer at norm 1."""
    if not isinstance(decoder, Dense):
        raise ValueError("sparse_ae: penalty l1 needs a dense decoder, to keep its columns at norm 1. Take penalty kl.")
    for layer in [*decoder.layers.children()][::2]:
        register_parametrization(layer, "weight", UnitColumns())


@recipe(
    posterior="a point: z = f(x), through a sigmoid or tanh",
    prior=_UNUSED,
    likelihood=BY_NAME + "; the decoder has the encoder's weights, transposed",
    objective="reconstruction log-likelihood and a price on the Jacobian of the code; no bound",
    equation=r"\log p(x \mid z) - \lambda \Big\lVert \frac{\partial f(x)}{\partial x} \Big\rVert_F^2",
    source="Rifai, Vincent, Muller, Glorot and Bengio 2011, ICML",
    good_for="features that move with the data along few directions, and stay where they are along the others",
    not_for="decoders of their own weights, which undo the contraction; sampling, as the prior is never trained",
    published="MNIST, classification error / mean norm of the Jacobian: contractive 1.14 % / 0.73, denoising 1.18 % / "
    "0.86, plain 1.78 % / 17.5 (Rifai et al. 2011; not checked, the unit of the norm unsure)",
)
def contractive_ae(
    data: DataSpec,
    *,
    weight: float = 0.1,
    method: str = "auto",
    probes: int = 1,
    tied: bool = True,
    latent: int = 200,
    network: str = "dense",
    hidden: tuple[int, ...] = (),
    activation: str = "sigmoid",
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """A contractive autoencoder: the code is to stay where it is when the datum moves a little.

    Args:
        weight: of the squared norm of the Jacobian.
        method: closed_form (one layer), exact, hutchinson; auto is the closed form where there is one, else hutchinson.
        probes: random vectors for hutchinson.
        tied: the decoder has the encoder's weights, transposed; dense networks only.
        latent: size of the code.
        network: dense, convolutional or residual.
        hidden: widths of the hidden layers of encoder and, reversed, decoder; empty for none;
            one width (convolutional), or one for each block (residual).
        activation: name of the activation of the hidden layers and of the code.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to 1 number a code.
        decoder: your own network, code to the likelihood's raw numbers.
    """
    up, down = networks_for(network, hidden, activation)
    made = build(encoder or up, data.shape, (positive_int(latent, "contractive_ae: latent"),))
    if tied and (decoder is not None or not isinstance(made, Dense)):
        raise ValueError("contractive_ae: tied weights need dense networks, and no decoder of your own. Or tied=False.")
    back = Transposed(made, data.shape) if tied and isinstance(made, Dense) else decoder or down
    p_x = likelihood_for(data, likelihood)(back, (latent,), data.shape)
    q = point(made, data.shape, latent, activation=activation)
    return Recipe(VAE(q, StandardNormal(latent), p_x), _contraction(made, activation, weight, method, probes))


def _contraction(encoder: nn.Module, activation: str, weight: float, method: str, probes: int) -> Contractive:
    """The objective, in closed form where the encoder is one layer with a sigmoid or tanh."""
    positive_int(probes, "contractive_ae: probes")
    one = encoder.layers[0] if isinstance(encoder, Dense) and len(encoder.layers) == 1 else None
    closed = isinstance(one, nn.Linear) and activation in ("sigmoid", "tanh")
    if method == "auto":
        method = "closed_form" if closed else "hutchinson"
    if method != "closed_form":
        return Contractive(weight, method, probes=probes)
    if not closed:
        raise ValueError("contractive_ae: the closed form is of one dense layer (hidden=()) with a sigmoid or tanh.")
    assert isinstance(one, nn.Linear)
    return Contractive(weight, method, layer=one, activation=activation)


@recipe(
    posterior="a point: z = f(x)",
    prior=_UNUSED,
    likelihood=BY_NAME + "; of hidden layers, in their own stage, a Gaussian of scale 1",
    objective="reconstruction log-likelihood, of one layer after the other and then of the whole; no bound",
    equation=r"\log p(h^{l-1} \mid h^l = f_l(h^{l-1})), \; l = 1 \dots L, \quad\text{then}\quad "
    r"\log p(x \mid z = f(x))",
    source="Hinton and Salakhutdinov 2006, Science 313; Bengio et al. 2007 for autoencoders in place of RBMs",
    good_for="deep networks of saturating units under a small budget, where a random start learns next to nothing",
    not_for="ReLU networks, which train from a random start: autoencoder does as well, sooner",
    published="MNIST, 784-1000-500-250-30, squared error an image: 3.00, logistic PCA 8.01, PCA 13.87 (Hinton and "
    "Salakhutdinov 2006: RBMs, 50 epochs a layer)",
)
def stacked_ae(
    data: DataSpec,
    *,
    pretraining: float = 0.5,
    latent: int = 30,
    hidden: tuple[int, ...] = (1000, 500, 250),
    activation: str = "sigmoid",
    likelihood: str = "auto",
) -> Recipe:
    """A deep autoencoder that is trained layer by layer first, each on the codes of the one below, then as a whole.

    Args:
        pretraining: share of the training that goes to the layers, in equal parts; 0 for none.
        latent: size of the code.
        hidden: widths of the hidden layers of encoder and, reversed, decoder.
        activation: name of the activation of the hidden layers; the code is linear.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
    """
    share = fraction(pretraining, "stacked_ae: pretraining")
    up = Dense(data.shape, positive_int(latent, "stacked_ae: latent"), None, hidden, activation)
    down = partial(Dense, hidden=hidden[::-1], activation=activation)
    p_x = likelihood_for(data, likelihood)(down, (latent,), data.shape)
    model, objective = VAE(point(up, data.shape, latent), StandardNormal(latent), p_x), Reconstruction()
    if not share:
        return Recipe(model, objective)
    pairs = [_pair(up, p_x, i) for i in range(len(hidden) + 1)]
    before = (
        Stage((Player(Reconstruction(), (pair.model,)),), f"layer{i}", share / len(pairs), pair)
        for i, pair in enumerate(pairs, 1)
    )
    return Recipe(model, objective, stages=(*before, Stage((Player(objective),), share=1 - share)))


def _pair(encoder: Dense, p_x: NetworkConditional, i: int) -> OnFeatures:
    """Layer i of the encoder and its partner of the decoder: an autoencoder of what the layers below make of x."""
    assert isinstance(p_x.network, Dense)
    up, down = [*encoder.layers.children()], [*p_x.network.layers.children()]
    layer, back = up[2 * i], len(down) - 1 - 2 * i
    assert isinstance(layer, nn.Linear)
    wide, narrow = layer.in_features, layer.out_features
    # The first pair sees data and tells them as the whole will; the others see codes, and tell them with squared error.
    inputs, head = ((wide,), GaussianHead(wide, 1.0)) if i else (p_x.head.event, p_x.head)
    q = NetworkConditional(nn.Sequential(nn.Flatten(), *up[2 * i : 2 * i + 2]), PointHead(narrow), inputs)
    p = NetworkConditional(nn.Sequential(*down[back : back + 2]), head, narrow)
    below = nn.Sequential(nn.Flatten(), *up[: 2 * i]) if i else nn.Identity()
    return OnFeatures(below, VAE(q, StandardNormal(narrow), p))
