"""Flows: a diagonal Gaussian seen through an invertible map, cheap to draw from or cheap to score."""

__all__ = ["FlowHead", "PullBack", "PushForward"]

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Transform

from .._checks import positive_int
from .._shapes import Shape
from ..noise import NoiseSource
from .base import Conditionals, Distribution, at_least_float32
from .gaussian import DiagonalGaussian
from .heads import Head


@runtime_checkable
class _SingleStep(Protocol):
    """A map that may be a single autoregressive step, each element of which is stretched and shifted."""

    def affine(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


class _Flow(Distribution, ABC):
    """A Gaussian base and an invertible map of vectors, as zuko makes them (they know ``call_and_ladj``)."""

    has_mean: ClassVar[bool] = False

    def __init__(self, base: DiagonalGaussian, transform: Transform) -> None:
        self.base = base
        self.transform: Any = transform  # torch's transforms get call_and_ladj when zuko is imported

    @property
    def lead_shape(self) -> Shape:
        return self.base.lead_shape

    @property
    def event_shape(self) -> Shape:
        return self.base.event_shape

    @property
    def mean(self) -> Tensor:
        raise ValueError(
            f"{type(self).__name__} has no closed-form mean: a flow bends it away. Take centre (the image of the "
            "base's mean), or average draws."
        )

    @property
    @abstractmethod
    def centre(self) -> Tensor:
        """The image of the base's mean."""

    def expand(self, lead: Shape) -> Self:
        return type(self)(self.base.expand(lead), self.transform)

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """b and a of the map's only step y_i = e^a_i x_i + b_i: those of element i need the elements of x before it."""
        if not isinstance(self.transform, _SingleStep):
            raise ValueError(
                f"{type(self).__name__}: {type(self.transform).__name__} is not known to be one affine step."
            )
        return self.transform.affine(x)

    def _whole(self, mask: Tensor | None) -> None:
        if mask is not None:
            raise ValueError(f"{type(self).__name__}: a flow is no product over elements: it takes no mask.")


class PushForward(_Flow):
    r"""Draws of the base, carried forward by a map f: a posterior's orientation. Draws and their log q are cheap.

    .. math:: z = f(z_0), \quad z_0 \sim \mathcal N(\mu, \sigma^2), \qquad
        \log q(z) = \log \mathcal N(z_0; \mu, \sigma^2) - \log\left|\det \frac{\partial f}{\partial z_0}\right|

    Both come from one pass: take ``sample_with_log_prob``. ``log_prob`` of a z that was not just drawn must invert f,
    which for an inverse autoregressive flow takes one pass for each element of z.

    Args:
        base: N(μ, σ²).
        transform: f, with ``call_and_ladj`` and ``inv``; its parameters broadcast with draws of the base.

    References:
        Rezende and Mohamed 2015, arXiv:1505.05770; Kingma et al. 2016, arXiv:1606.04934.
    """

    log_prob_with_draw = True

    @property
    def centre(self) -> Tensor:
        return self.transform(self.base.mean)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        self._whole(mask)
        start = self.transform.inv(x)
        return self.base.log_prob(start) - self.transform.call_and_ladj(start)[1]

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        return self.transform(self.base.sample(noise, draws))

    def sample_with_log_prob(self, noise: NoiseSource, draws: int | None = None) -> tuple[Tensor, Tensor | None]:
        start, log_base = self.base.sample_with_log_prob(noise, draws)
        z, log_det = self.transform.call_and_ladj(start)
        return z, log_base - log_det

    def conditionals(self) -> Conditionals:
        """Of a single affine step: N(e^a μ + b, e^2a σ²), with a and b from the elements of the base before."""
        loc, log_scale = self.base.loc, self.base.log_scale.expand_as(self.base.loc)
        start = torch.zeros_like(loc)
        for i in range(loc.shape[-1]):
            b, a = (value[..., i : i + 1] for value in self._affine(start))
            piece = DiagonalGaussian(a.exp() * loc[..., i : i + 1] + b, a + log_scale[..., i : i + 1])
            z = yield piece, slice(i, i + 1)
            start = torch.cat((start[..., :i], (z - b) * (-a).exp(), start[..., i + 1 :]), -1)


class PullBack(_Flow):
    r"""What a map g carries to the base: a prior's orientation. The density of any z is one pass.

    .. math:: g(z) \sim \mathcal N(\mu, \sigma^2), \qquad
        \log p(z) = \log \mathcal N(g(z); \mu, \sigma^2) + \log\left|\det \frac{\partial g}{\partial z}\right|

    Draws invert g: one pass for each element of z where g is autoregressive, two where it is a coupling.

    Args:
        base: N(μ, σ²).
        transform: g, with ``call_and_ladj`` and ``inv``.

    References:
        Chen et al. 2016, "Variational lossy autoencoder", arXiv:1611.02731.
    """

    @property
    def centre(self) -> Tensor:
        return self.transform.inv(self.base.mean)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        self._whole(mask)
        end, log_det = self.transform.call_and_ladj(x)
        return self.base.log_prob(end) + log_det

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        return self.transform.inv(self.base.sample(noise, draws))

    def conditionals(self) -> Conditionals:
        """Of a single affine step: N((μ − b) e^−a, σ² e^−2a), with a and b from the elements before."""
        loc, log_scale = self.base.loc, self.base.log_scale.expand_as(self.base.loc)
        x = torch.zeros_like(loc)
        for i in range(loc.shape[-1]):
            b, a = (value[..., i : i + 1] for value in self._affine(x))
            piece = DiagonalGaussian((loc[..., i : i + 1] - b) * (-a).exp(), log_scale[..., i : i + 1] - a)
            z = yield piece, slice(i, i + 1)
            x = torch.cat((x[..., :i], z, x[..., i + 1 :]), -1)


class FlowHead(Head):
    """Means, log-scales and a context h; the Gaussian of the first two goes through a flow that sees the third.

    The raw numbers of one event are d means, d values of log σ, and those of h.

    Args:
        event: d, the size of z.
        flow: maps h of shape ``(*lead, context)`` (``None`` where ``context`` is 0) to a transform of
            ``(*lead, d)``: one of ``fourfold.networks.flows``, or any transform of zuko.
        context: size of h.

    Raises:
        ValueError: an event that is no vector.
    """

    def __init__(self, event: int | Shape, flow: nn.Module, context: int = 0) -> None:
        super().__init__(event)
        if len(self.event) != 1:
            raise ValueError(f"FlowHead: event: a flow maps vectors, got shape {self.event}. Give the size of z.")
        self.flow = flow
        self.context = positive_int(context, "FlowHead: context") if context else 0

    @property
    def per_element(self) -> int:
        return 2

    @property
    def raw_shape(self) -> Shape:
        return (2 * self.event[0] + self.context,)

    def forward(self, raw: Tensor) -> PushForward:
        size = self.event[0]
        loc, log_scale, h = at_least_float32(raw).split((size, size, self.context), -1)
        return PushForward(DiagonalGaussian(loc, log_scale), self.flow(h if self.context else None))
