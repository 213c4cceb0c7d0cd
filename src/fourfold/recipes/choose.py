"""Names from the command line turned into objects, and what a recipe may ask of the data."""

__all__ = ["NetworkChoice", "beta_of", "images", "label_of", "likelihood_for"]

from functools import partial

import torch

from .._checks import unknown
from .._shapes import Shape
from ..conditional import Condition, NetworkConditional
from ..data import DataSpec
from ..likelihoods import LIKELIHOODS, Likelihood
from ..networks import Dense, NetworkLike
from ..objectives import Schedule, parse_schedule

#: A network of the user's own (a module, or ``fourfold.own(…)``), or ``None`` for the recipe's.
NetworkChoice = NetworkLike | None


def likelihood_for(data: DataSpec, name: str) -> Likelihood:
    """The likelihood by name; ``"auto"`` is Bernoulli for binary and 8-bit data, Gaussian for real-valued data.

    A Bernoulli likelihood on a dense network starts with biases at the log-odds of the mean datum, as in the IWAE
    paper (Burda et al. 2015, arXiv:1509.00519): far from them, whole epochs go into finding the background.
    """
    if name == "auto":
        name = "gaussian" if data.levels is None else "bernoulli"
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
    if data.mean is not None and isinstance(likelihood.network, Dense):
        likelihood.network.start_at(torch.from_numpy(data.mean).clamp(0.001, 0.999).logit())
    return likelihood


def beta_of(value: float, schedule: str | None) -> float | Schedule:
    """β as a number, or as the schedule that is written."""
    return parse_schedule(schedule) if schedule is not None else value


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
