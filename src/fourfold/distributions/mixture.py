"""Mixtures: a weighted sum of distributions of one family."""

__all__ = ["Mixture"]

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from .._shapes import Shape, size
from ..noise import NoiseSource, Request
from .base import Distribution, at_least_float32
from .gaussian import DiagonalGaussian
from .implicit import implicit_draw

# So many numbers at once: a batch of any size against any number of components in bounded memory.
_AT_ONCE = 1 << 22


@runtime_checkable
class _Indexed(Protocol):
    """A family of which single components can be taken without drawing from all of them."""

    def chosen(self, index: Tensor) -> Distribution: ...


class Mixture(Distribution):
    r"""Σ_k w_k p_k: a density, in nats per event.

    .. math:: \log p(x) = \operatorname{logsumexp}_k \big(\log w_k + \log p_k(x)\big)

    A draw picks a component through the inverse of the weights' distribution function and draws from it: its gradient
    is right for the components alone. Where the weights need one too (a mixture as posterior), the draw is
    reparameterised implicitly (``implicit_draw``), which takes diagonal Gaussians; others are refused. There is no
    closed-form KL.

    Densities are summed over all K components for so many events at a time that memory stays bounded (where gradients
    are recorded, autograd keeps K × D numbers an event). A mixture without leading dimensions, of diagonal Gaussians,
    expands the square into one matrix product, in float64 because the expansion cancels.

    Args:
        log_weights: log w, ``(*lead, K)``; normalised here.
        components: with leading dimensions ``(*lead, K)``.

    Raises:
        ValueError: components without a density, or with other leading dimensions than the weights; a draw with a
            gradient in the weights of components that are no diagonal Gaussians.

    Example:
        >>> import torch
        >>> parts = DiagonalGaussian(torch.tensor([[-2.0], [2.0]]), torch.zeros(2, 1))
        >>> p = Mixture(torch.zeros(2), parts)
        >>> p.log_prob(torch.tensor([0.0])), p.mean
        (tensor(-2.9189), tensor([0.]))
    """

    def __init__(self, log_weights: Tensor, components: Distribution) -> None:
        if not components.has_density or components.mass:
            raise ValueError(
                f"Mixture: wanted components with a density, got {type(components).__name__}. "
                "A mixture of points has none: there would be neither a rate nor a bound."
            )
        if tuple(log_weights.shape) != components.lead_shape:
            raise ValueError(
                f"Mixture: log_weights must have the shape (*lead, K) of the components' leading dimensions "
                f"{components.lead_shape}, got {tuple(log_weights.shape)}."
            )
        self.log_weights, self.components = at_least_float32(log_weights).log_softmax(-1), components

    @property
    def lead_shape(self) -> Shape:
        return self.components.lead_shape[:-1]

    @property
    def event_shape(self) -> Shape:
        return self.components.event_shape

    @property
    def mean(self) -> Tensor:
        return self._average(self.components.mean)

    @property
    def centre(self) -> Tensor:
        return self._average(self.components.centre)

    def _average(self, value: Tensor) -> Tensor:
        event = len(self.event_shape)
        return (self.log_weights.exp().reshape(*self.log_weights.shape, *(1,) * event) * value).sum(-event - 1)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        event = len(self.event_shape)
        front = x.ndim - event - len(self.lead_shape)
        if front < 1:
            return self._scored(x, mask)
        mask = None if mask is None else mask.expand(x.shape).flatten(0, front - 1)
        flat, shape = x.flatten(0, front - 1), x.shape[:front]
        rows = max(_AT_ONCE // (size(self.components.lead_shape) * size(self.event_shape)), 1)
        masks = mask.split(rows) if mask is not None else [None] * -(-len(flat) // rows)
        parts = [self._scored(part, kept) for part, kept in zip(flat.split(rows), masks, strict=True)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).unflatten(0, shape)

    def _scored(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """log p of so many events as fit in memory at once."""
        event = len(self.event_shape)
        if mask is None and not self.lead_shape and isinstance(self.components, DiagonalGaussian):
            logs = _all_pairs(self.components, x.flatten(x.ndim - event))
        else:
            mask = None if mask is None else mask.unsqueeze(-event - 1)
            logs = self.components.log_prob(x.unsqueeze(-event - 1), mask)
        return torch.logsumexp(self.log_weights + logs, -1)

    def log_responsibilities(self, x: Tensor) -> Tensor:
        """log p(k | x) in nats, ``(*lead, K)``: which component x came from."""
        return (self.log_weights + self.components.log_prob(x.unsqueeze(-len(self.event_shape) - 1))).log_softmax(-1)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        implicit = self.log_weights.requires_grad and torch.is_grad_enabled()
        if implicit and not isinstance(self.components, DiagonalGaussian):
            raise ValueError(
                f"Mixture: a draw from components of {type(self.components).__name__} has no gradient in the weights, "
                "and these need one. Take components that are DiagonalGaussian, or weights without gradient."
            )
        shape = (*(() if draws is None else (draws,)), *self.lead_shape)
        uniform = noise.uniform(shape, max(len(shape) - 1, 0), self.log_weights.dtype)
        below = self.log_weights.detach().exp().cumsum(-1)[..., :-1]
        index = (uniform.unsqueeze(-1) >= below).sum(-1)
        if isinstance(self.components, _Indexed):
            z = self.components.chosen(index).sample(noise)
        else:
            z = self._from_all(index, noise, draws)
        if implicit and isinstance(self.components, DiagonalGaussian):
            return implicit_draw(z.detach(), self.log_weights, self.components)
        return z

    def _from_all(self, index: Tensor, noise: NoiseSource, draws: int | None) -> Tensor:
        """A draw from every component, of which one is kept: for families that cannot be indexed (a flow)."""
        every = self.components.sample(_BeforeComponents(noise), draws)
        event = self.event_shape
        where = index.reshape(*index.shape, 1, *(1,) * len(event)).expand(*index.shape, 1, *event)
        return every.gather(index.ndim, where).squeeze(index.ndim)

    def expand(self, lead: Shape) -> Self:
        whole = (*lead, self.log_weights.shape[-1])
        return type(self)(self.log_weights.expand(whole), self.components.expand(whole))

    def detached(self) -> Self:
        return type(self)(self.log_weights.detach(), self.components.detached())


def _all_pairs(components: DiagonalGaussian, x: Tensor) -> Tensor:
    """log p_k(x) for x of shape ``(…, D)`` and all K components, ``(…, K)``, from one matrix product."""
    loc = components.loc.flatten(1).double()
    log_scale = components.log_scale.expand_as(components.loc).flatten(1).double()
    inverse = (-2 * log_scale).exp()
    constant = DiagonalGaussian(loc, log_scale).log_prob(torch.zeros_like(loc))
    wide = x.double()
    logs = torch.cat((wide.square(), wide), -1) @ torch.cat((-0.5 * inverse, inverse * loc), 1).mT + constant
    return logs.to(torch.promote_types(x.dtype, components.loc.dtype))


class _BeforeComponents(NoiseSource):
    """Hands requests on for components along the last leading dimension: the batch is the dimension before it."""

    def __init__(self, source: NoiseSource) -> None:
        self.source = source

    def draw(self, request: Request) -> Tensor:
        batch = max(request.batch - 1, 0)
        return self.source.draw(Request(request.kind, request.shape, batch, request.dtype))
