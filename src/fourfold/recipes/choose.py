"""Names from the command line turned into objects, and what a recipe may ask of the data."""

__all__ = [
    "BY_NAME",
    "GAUSSIAN",
    "NORMAL",
    "NetworkChoice",
    "beta_of",
    "images",
    "label_of",
    "likelihood_for",
    "networks_for",
]

from functools import partial

import torch

from .._checks import unknown
from .._shapes import Shape
from ..conditional import Condition, NetworkConditional
from ..data import DataSpec
from ..likelihoods import LIKELIHOODS, Likelihood
from ..networks import NETWORKS, Convolutional, Dense, NetworkFactory, NetworkLike, Residual
from ..networks.tied import Transposed
from ..objectives import Schedule, parse_schedule

#: What most recipes pick, in words.
GAUSSIAN, NORMAL = "diagonal Gaussian", "standard normal"
BY_NAME = "by name; Bernoulli, or Gaussian on real data"

#: A network of the user's own (a module, or ``fourfold.own(…)``), or ``None`` for the recipe's.
NetworkChoice = NetworkLike | None


def networks_for(name: str, hidden: tuple[int, ...], activation: str) -> tuple[NetworkFactory, NetworkFactory]:
    """The factories of encoder and decoder by name, from the widths of the encoder's hidden layers.

    A convolutional network has one dense layer of that width; a residual one has a block for each.
    """
    if name not in NETWORKS:
        raise ValueError(f"network: {unknown('network', name, NETWORKS)}")
    if name == "dense":
        up, down = (partial(Dense, hidden=widths, activation=activation) for widths in (hidden, hidden[::-1]))
        return up, down
    if len(set(hidden)) != 1:
        raise ValueError(f"hidden: a {name} network has layers of one width, such as 256, got {hidden!r}.")
    if name == "convolutional":
        made = partial(Convolutional, hidden=hidden[0], activation=activation)
    elif activation in ("relu", "silu"):  # relu is the default of every recipe: nobody asked for it
        made = partial(Residual, hidden=hidden[0], blocks=len(hidden))
    else:
        raise ValueError(f"activation: a residual network has silu throughout, got {activation!r}. Leave it out.")
    return made, made


def likelihood_for(data: DataSpec, name: str) -> Likelihood:
    """The likelihood by name; ``"auto"`` is Bernoulli for binary and grey data, Gaussian for real-valued data.

    A Bernoulli likelihood on a dense network starts with biases at the log-odds of the mean datum, as in the IWAE
    paper (Burda et al. 2015, arXiv:1509.00519): far from them, whole epochs go into finding the background.
    """
    if name == "auto":
        name = "gaussian" if data.levels is None and not data.grey else "bernoulli"
    if name not in LIKELIHOODS:
        raise ValueError(f"likelihood: {unknown('likelihood', name, LIKELIHOODS)}")
    made = LIKELIHOODS[name]
    return partial(_started, made, data) if name == "bernoulli" else made


def _started(
    made: Likelihood,
    data: DataSpec,
    network: NetworkLike,
    latent: Shape,
    shape: Shape,
    condition: Shape | None = None,
) -> NetworkConditional:
    likelihood = made(network, latent, shape, condition)
    if data.mean is not None and isinstance(likelihood.network, Dense | Transposed):
        likelihood.network.start_at(torch.from_numpy(data.mean).clamp(0.001, 0.999).logit())
    return likelihood


def beta_of(value: float, schedule: str | None) -> float | Schedule:
    """β as a number, or as the schedule that is written."""
    if schedule is None:
        return value
    try:
        return parse_schedule(schedule)
    except ValueError as error:
        raise ValueError(f"beta_schedule: {error}") from None


def label_of(data: DataSpec, recipe: str) -> Condition:
    """The class label as condition; data without labels are refused."""
    if data.classes is None:
        raise ValueError(f"recipe {recipe} needs labels, and these data have none. Give data with labels.")
    return Condition.label(data.classes)


def images(data: DataSpec, recipe: str) -> Shape:
    """The shape of the data, if they are images (C, H, W)."""
    if len(data.shape) != 3:
        raise ValueError(f"recipe {recipe} needs images (C, H, W), and a datum has shape {data.shape}. Take vae.")
    return data.shape
