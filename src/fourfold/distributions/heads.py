"""Heads turn the raw outputs of a network into a distribution. A head owns no network."""

__all__ = ["BernoulliHead", "GaussianHead", "Head", "PointHead"]

from abc import ABC, abstractmethod
from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .._checks import choice, non_negative, positive
from .._shapes import Shape, as_shape
from .base import Distribution, at_least_float32
from .bernoulli import Bernoulli
from .gaussian import DiagonalGaussian, Point

_SCALES = ("element", "global", "softplus")
_TINY = torch.finfo(torch.float32).tiny  # softplus of −100 is 0 in float32, and log 0 no number


class Head(nn.Module, ABC):
    """Maps raw numbers of shape ``(*lead, *raw_shape)`` to a distribution over events of shape ``event``.

    ``raw_shape`` is ``(k · event[0], *event[1:])``: k numbers for each element of the event, stacked along its first
    dimension (the channels of an image).
    """

    #: What the events must be: "binary" {0,1}, "unit" [0,1], "levels" {0,1/255,…,1}, "real", "codes" or "tokens".
    support: ClassVar[str] = "real"

    def __init__(self, event: int | Shape) -> None:
        super().__init__()
        self.event = as_shape(event, f"{type(self).__name__}: event")

    @property
    @abstractmethod
    def per_element(self) -> int:
        """How many raw numbers one element of the event needs."""

    @property
    def raw_shape(self) -> Shape:
        """Shape of the raw numbers of one event."""
        return (self.per_element * self.event[0], *self.event[1:])

    @abstractmethod
    def forward(self, raw: Tensor) -> Distribution:
        """The distribution with these raw parameters."""

    def _stacked(self, raw: Tensor) -> Tensor:
        """The raw numbers as ``(*lead, per_element, *event)``."""
        return raw.unflatten(-len(self.event), (self.per_element, self.event[0]))

    def _split(self, raw: Tensor) -> tuple[Tensor, ...]:
        """The raw numbers as ``per_element`` tensors of shape ``(*lead, *event)``."""
        return self._stacked(raw).unbind(-len(self.event) - 1)


class BernoulliHead(Head):
    """Logits of independent coin flips."""

    support: ClassVar[str] = "binary"

    @property
    def per_element(self) -> int:
        return 1

    def forward(self, raw: Tensor) -> Bernoulli:
        return Bernoulli(raw, len(self.event))


class GaussianHead(Head):
    """Means and scales of independent normals.

    Args:
        event: shape of one event.
        scale: ``"element"``: each element has its own scale from the network (the raw numbers are log σ);
            ``"softplus"``: its own variance, softplus of the raw number, which grows no faster than that;
            ``"global"``: one learned scale for all; a number: that fixed scale.
        floor: the least scale allowed, in data units: without one, a likelihood on constant pixels is unbounded.
            Learned scales are ``floor + exp(raw)``, variances ``floor² + softplus(raw)``; a posterior takes 0. A fixed
            scale is taken as it is.
        ceiling: the largest scale of an element, or ``None`` for any; with one, its scale is
            floor + (ceiling − floor) · (softsign(raw) + 1) / 2. Latents whose prior is learned have no other unit.

    Raises:
        ValueError: an unknown kind of scale, a scale that is not above 0, a negative floor, a ceiling not above it.
    """

    log_scale: Tensor

    def __init__(
        self, event: int | Shape, scale: float | str = "element", floor: float = 0.0, ceiling: float | None = None
    ) -> None:
        super().__init__(event)
        if ceiling is not None and not ceiling > floor:
            raise ValueError(f"GaussianHead: ceiling: wanted one above the floor {floor}, got {ceiling!r}.")
        if ceiling is not None and scale != "element":
            raise ValueError(f"GaussianHead: ceiling: it is for scales of elements, got scale={scale!r}. Leave it out.")
        self.ceiling = ceiling
        self.floor = non_negative(floor, "GaussianHead: floor")
        self.kind = choice(scale, _SCALES, "GaussianHead: scale") if isinstance(scale, str) else "fixed"
        if self.kind == "global":
            self.log_scale = nn.Parameter(torch.zeros(()))
        self.fixed = log(positive(float(scale), "GaussianHead: scale")) if self.kind == "fixed" else None

    @property
    def per_element(self) -> int:
        return 2 if self.kind in ("element", "softplus") else 1

    def forward(self, raw: Tensor) -> DiagonalGaussian:
        raw = at_least_float32(raw)
        if self.fixed is not None:  # a number, not a buffer: it keeps its digits in every precision
            return DiagonalGaussian(raw, raw.new_full((), self.fixed), len(self.event))
        loc, log_scale = self._split(raw) if self.per_element == 2 else (raw, self.log_scale)
        if self.kind == "softplus":
            log_scale = 0.5 * (softplus(log_scale) + max(self.floor**2, _TINY)).log()
        elif self.ceiling is not None:
            log_scale = (self.floor + (self.ceiling - self.floor) * _sign(log_scale)).log()
        elif self.floor:
            log_scale = torch.logaddexp(log_scale, log_scale.new_full((), log(self.floor)))
        return DiagonalGaussian(loc, log_scale, len(self.event))


def _sign(raw: Tensor) -> Tensor:
    """(softsign(raw) + 1) / 2, from 0 to 1, without loss of digits at 0."""
    less = 0.5 / (1 + raw.abs())
    return torch.where(raw > 0, 1 - less, less)


class PointHead(Head):
    """The raw numbers themselves, without any uncertainty."""

    @property
    def per_element(self) -> int:
        return 1

    def forward(self, raw: Tensor) -> Point:
        return Point(raw, len(self.event))
