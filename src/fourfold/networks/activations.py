"""Activations by name."""

__all__ = ["ACTIVATIONS", "activation"]

from torch import nn

from .._checks import unknown

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


def activation(name: str, owner: str) -> type[nn.Module]:
    """The activation of that name; an unknown one is an error of the owner's."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{owner}: activation: {unknown('activation', name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
