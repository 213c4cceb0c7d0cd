"""The hall: a conditional distribution is a module whose call returns a distribution."""

__all__ = ["Condition", "Conditional", "NetworkConditional", "Prior"]

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ._shapes import Shape, as_shape, size
from .distributions import Distribution, Head


@dataclass(frozen=True, slots=True)
class Condition:
    """What a model is conditioned on: a class label, or a tensor of a given shape.

    Args:
        shape: shape of c for one datum, as the rooms see it.
        classes: the number of classes, if c comes as integer labels and is turned into one-hot vectors.
    """

    shape: Shape
    classes: int | None = None

    @classmethod
    def label(cls, classes: int) -> "Condition":
        """A class label from 0 to ``classes − 1``."""
        return cls((as_shape(classes, "Condition.label: classes")[0],), classes)

    def encode(self, c: Tensor | None) -> Tensor:
        """c as the floating-point tensor ``(B, *shape)`` that the rooms take."""
        if c is None:
            wanted = f"integer labels 0…{self.classes - 1}" if self.classes else f"a tensor (B, {self.shape})"
            raise ValueError(f"c is missing: this model is conditioned on {wanted}. Pass c=…, or data with labels.")
        if not isinstance(c, Tensor):
            raise TypeError(f"c: wanted a tensor, got {c!r}. For one label for all: torch.full((n,), {c!r}).")
        if self.classes is not None and not c.is_floating_point():
            if c.ndim != 1:
                raise ValueError(f"c: wanted labels of shape (B,), got {tuple(c.shape)}.")
            return one_hot(c.long(), self.classes).to(torch.get_default_dtype())
        if tuple(c.shape[1:]) != self.shape:
            raise ValueError(f"c: wanted shape (B, {', '.join(map(str, self.shape))}), got {tuple(c.shape)}.")
        return c


class Conditional(nn.Module, ABC):
    """p(· | context, c): a posterior q(z | x, c) or a likelihood p(x | z, c).

    The context has shape ``(*lead, …)`` with lead ``(B,)`` or ``(S, B)``; c, if any, has shape ``(B, …)``.
    """

    #: What the events must be, for a likelihood: "binary", "unit", "levels", "real" or "tokens" (see ``Head.support``).
    support: str = "real"

    @abstractmethod
    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        """The distribution given this context, with the context's leading dimensions."""


class Prior(nn.Module, ABC):
    """p(z | c), with c of shape ``(B, …)`` or none: a distribution that depends on nothing else.

    Attributes:
        event: shape of one draw.
    """

    event: Shape
    support: str = "real"

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """The distribution, with leading dimensions ``()``, or ``(B,)`` where it depends on c."""


class NetworkConditional(Conditional):
    """A network followed by a head: the ordinary way to make a posterior or a likelihood.

    Leading dimensions of the context are folded into one batch here, and nowhere else; so a network only ever sees
    ``(N, *context)`` and, in a conditional model, ``c`` of shape ``(N, *condition)``, repeated over the draws.

    Args:
        network: any module ``(N, *context) → (N, …)`` (or ``(context, c) → …`` where ``condition`` is given) whose
            output holds as many numbers as the head needs.
        head: turns the raw numbers into a distribution.
        context: shape of one context.
        condition: shape of c, or ``None`` for a network that takes the context alone.

    Raises:
        ValueError: a context or an output of the wrong shape, by name.

    Example:
        >>> import torch
        >>> from fourfold.distributions import GaussianHead
        >>> q = NetworkConditional(torch.nn.Linear(6, 4), GaussianHead(2), (6,))
        >>> q(torch.zeros(5, 6)).mean.shape
        torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module, head: Head, context: int | Shape, condition: Shape | None = None) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.context = as_shape(context, "NetworkConditional: context")
        self.condition = condition
        self.support = head.support

    def raw(self, context: Tensor, c: Tensor | None = None) -> Tensor:
        """The head's raw numbers, of shape ``(*lead, *head.raw_shape)``."""
        lead = context.shape[: max(context.ndim - len(self.context), 0)]
        if tuple(context.shape[len(lead) :]) != self.context:
            raise ValueError(
                f"NetworkConditional: wanted a context ending in {self.context}, got {tuple(context.shape)}. "
                "Was the model built for data of another shape?"
            )
        folded = context.reshape(-1, *self.context)
        given = () if self.condition is None else (self._folded(c, tuple(lead)),)
        out = self.network(folded, *given)
        if out[0].numel() != size(self.head.raw_shape):
            raise ValueError(
                f"NetworkConditional: {type(self.network).__name__} gave {tuple(out.shape[1:])} for one datum, but "
                f"{type(self.head).__name__} needs {self.head.raw_shape}: {size(self.head.raw_shape)} numbers."
            )
        return out.reshape(*lead, *self.head.raw_shape)

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return self.head(self.raw(context, c))

    def _folded(self, c: Tensor | None, lead: Shape) -> Tensor:
        if c is None:
            raise ValueError(f"NetworkConditional: c is missing; wanted shape (B, {self.condition}).")
        return c.expand(*lead, *c.shape[1:]).reshape(-1, *c.shape[1:])
