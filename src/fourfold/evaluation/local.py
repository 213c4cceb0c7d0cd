"""A posterior of each datum's own: its draws, its weights, and the way up its own bound."""

__all__ = ["Ascent", "Local", "climb", "log_weight", "weights"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from .._checks import positive, positive_int
from ..distributions import Distribution, PushForward
from ..models import Model
from ..noise import Noise, NoiseSource, Request
from .batches import BatchLike, ChunkedNoise
from .bend import Bend


@dataclass(frozen=True, slots=True)
class Ascent:
    """How the bound of each datum is climbed: Adam, at full rate for 60 % of the steps, then falling to 0 in a line.

    Args:
        steps: of Adam. Each datum has moments of its own, so data do not disturb one another.
        draws: of z at each step, new ones at every step, in antithetic pairs: an even number.
        lr: learning rate, in units of the raw parameters.
        flow_lr: that of a flow's parameters.

    Raises:
        ValueError: a number that is not above 0, an odd number of draws.
    """

    steps: int = 1000
    draws: int = 8
    lr: float = 0.01
    flow_lr: float = 0.005

    def __post_init__(self) -> None:
        positive_int(self.steps, "Ascent: steps")
        positive(self.lr, "Ascent: lr")
        positive(self.flow_lr, "Ascent: flow_lr")
        if positive_int(self.draws, "Ascent: draws") % 2:
            raise ValueError(f"Ascent: draws come in pairs, so their number must be even, got {self.draws}.")

    @property
    def full(self) -> int:
        """How many steps are taken at the full rate."""
        return ceil(0.6 * self.steps)


@dataclass(frozen=True, slots=True)
class Local:
    """A posterior for each datum of a batch: draws of a base, bent or not, carried on by the family's own flow or not.

    Args:
        base: a distribution with leading dimensions ``(B,)``.
        bend: what its draws go through first.
        push: the flow of a ``PushForward``, which they go through then.
    """

    base: Distribution
    bend: Bend | None = None
    push: Any = None

    @classmethod
    def of(cls, q: Distribution, bend: Bend | None = None) -> Self:
        """A member of the family; a bend sits between the base of a flow and the flow."""
        return cls(q.base, bend, q.transform) if isinstance(q, PushForward) else cls(q, bend)

    def draw(self, noise: NoiseSource, draws: int) -> tuple[Tensor, Tensor]:
        """z ``(S, B, *latent)`` and log q(z), ``(S, B)``."""
        z, log_q = self.base.sample_with_log_prob(noise, draws)
        assert log_q is not None  # a point was refused
        if self.bend is not None:
            z, log_det = self.bend(z)
            log_q = log_q - log_det
        return self._pushed(z, log_q)

    def along_the_path(self, noise: NoiseSource, draws: int) -> tuple[Tensor, Tensor]:
        """The same, with the density of what is pushed at fixed parameters, where the base can tell it.

        What its gradient leaves out is the score, which has mean zero, so the gradient of the bound has the same mean;
        and where q is the posterior, no variance at all (Roeder, Wu and Duvenaud 2017, arXiv:1703.09194).
        """
        try:
            frozen = self.base.detached()
        except ValueError:  # its density at fixed parameters is not to be had
            return self.draw(noise, draws)
        z = self.base.sample(noise, draws)
        if self.bend is None:
            return self._pushed(z, frozen.log_prob(z))
        z = self.bend(z)[0]
        start, log_det = self.bend.detached().inverse(z)
        return self._pushed(z, frozen.log_prob(start) - log_det)

    def _pushed(self, z: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        if self.push is None:
            return z, log_q
        z, log_det = self.push.call_and_ladj(z)
        return z, log_q - log_det


def log_weight(model: Model, batch: BatchLike, z: Tensor, log_q: Tensor) -> Tensor:
    """log p(x, z) − log q(z) of a model with one level of latents, ``(S, B)``."""
    return model.at(batch.x, (z,), batch.c, q=False, mask=batch.mask).log_joint - log_q


def weights(model: Model, batch: BatchLike, q: Local, noise: Noise, draws: int, rows: int) -> Iterator[Tensor]:
    """log p(x, z) − log q(z) at draws of q, in chunks of draws; from the same noise whatever q is."""
    source = ChunkedNoise(noise, len(batch.x))
    for some in source.passes(draws, rows):
        with torch.inference_mode():
            values = log_weight(model, batch, *q.draw(source, some))
        yield values


def climb(
    bound: Callable[[tuple[Tensor, ...], NoiseSource], Tensor],
    start: tuple[Tensor, ...],
    noise: Noise,
    ascent: Ascent,
    tell: Callable[[int], None],
) -> tuple[tuple[Tensor, ...], np.ndarray]:
    """Parameters of each datum's best posterior, and how much the bound of each still rose, ``(B,)`` in nats.

    The rise is from one tenth of the steps to the next, both at the full rate and just before it falls: when the rate
    falls, every bound comes to rest, converged or not.

    Args:
        bound: parameters and noise to one-draw bounds, ``(S, B)``.
        start: the first parameters: raw ones, then those of a flow, each with a leading ``B``.
        noise: draws are made anew at every step, so nothing is fitted to them.
        ascent: how.
        tell: called at every step with the rows that were decoded.
    """
    with torch.inference_mode(False), torch.enable_grad():
        parameters = tuple(one.detach().clone().requires_grad_() for one in start)
        rates = [ascent.lr] + [ascent.flow_lr] * (len(parameters) - 1)
        optimiser = torch.optim.Adam([{"params": [one]} for one in parameters])
        bounds: list[Tensor] = []
        for step in range(ascent.steps):
            fall = min((ascent.steps - step) / max(ascent.steps - ascent.full, 1), 1.0)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * fall
            values = bound(parameters, _Pairs(noise.at(step)))
            slopes = torch.autograd.grad(-values.mean(0).sum(), parameters)
            for one, slope in zip(parameters, slopes, strict=True):
                one.grad = slope
            optimiser.step()
            bounds.append(values.detach().double().mean(0))
            tell(values.numel())
    return tuple(one.detach() for one in parameters), _rise(bounds, ascent)


def _rise(bounds: list[Tensor], ascent: Ascent) -> np.ndarray:
    """The mean bound of each datum over the last tenth of the steps at full rate, less that over the tenth before."""
    tenth = max(ascent.steps // 10, 1)
    last, before = bounds[ascent.full - tenth : ascent.full], bounds[ascent.full - 2 * tenth : ascent.full - tenth]
    return (torch.stack(last).mean(0) - torch.stack(before or last).mean(0)).cpu().numpy()


class _Pairs(NoiseSource):
    """Draws in pairs around the centre: ε and −ε, u and 1 − u."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def draw(self, request: Request) -> Tensor:
        if request.batch == 0 or request.kind not in ("normal", "uniform"):
            return self.noise.draw(request)
        half = self.noise.draw(replace(request, shape=(request.shape[0] // 2, *request.shape[1:])))
        other = -half if request.kind == "normal" else (1 - half).clamp_max(1 - torch.finfo(half.dtype).eps)
        return torch.cat([half, other])
