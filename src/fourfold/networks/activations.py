"""Activations by name."""

__all__ = ["ACTIVATIONS", "activation"]

from collections.abc import Callable
from functools import partial

from torch import nn

from .._checks import non_negative, unknown

#: Activations by name, for the command line.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def activation(name: str, owner: str) -> Callable[[], nn.Module]:
    """What makes the activation of that name; an unknown one is an error of the owner's.

    A leaky rectifier max(x, a x) may name its slope, as in leaky_relu:0.1; a is 0.01 if it does not.

    Example:
        >>> activation("leaky_relu:0.1", "Dense")()
        LeakyReLU(negative_slope=0.1)
    """
    known, _, slope = name.partition(":")
    if known not in ACTIVATIONS:
        raise ValueError(f"{owner}: activation: {unknown('activation', known, ACTIVATIONS)}")
    if known == name:
        return ACTIVATIONS[known]
    if known != "leaky_relu":
        raise ValueError(f"{owner}: activation: only leaky_relu has a number, such as leaky_relu:0.1, got {name!r}.")
    return partial(nn.LeakyReLU, non_negative(_number(slope, owner), f"{owner}: activation: slope"))


def _number(text: str, owner: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{owner}: activation: wanted a slope, such as leaky_relu:0.1, got {text!r}.") from None
