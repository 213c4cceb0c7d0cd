"""How a room gets its network: from a factory, or as a module of the user's own."""

__all__ = ["NetworkFactory", "NetworkLike", "build"]

from typing import Protocol, runtime_checkable

from torch import nn

from .._shapes import Shape


@runtime_checkable
class NetworkFactory(Protocol):
    """Anything that makes a network for given shapes: one of our classes, or a ``functools.partial`` of one."""

    def __call__(self, inputs: Shape, outputs: Shape, condition: Shape | None) -> nn.Module:
        """A module ``(N, *inputs) → (N, *outputs)``; with a condition, ``((N, *inputs), (N, *condition)) → …``."""
        ...


NetworkLike = nn.Module | NetworkFactory


def build(network: NetworkLike, inputs: Shape, outputs: Shape, condition: Shape | None = None) -> nn.Module:
    """The module itself, or the one that the factory makes for these shapes."""
    return network if isinstance(network, nn.Module) else network(inputs, outputs, condition)
