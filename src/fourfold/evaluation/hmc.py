"""Hamiltonian Monte Carlo on a path of densities: chains × data at once, each step size given beforehand."""

__all__ = ["Field", "Place", "leapfrog", "transition"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..noise import NoiseSource


@dataclass(frozen=True, slots=True)
class Place:
    """Where C chains of N data stand, and all that the path of densities f_β = start · ratio^β is there.

    Attributes:
        z: the points, all their coordinates in one vector.
        start: log f₀, normalised.
        ratio: log f₁ − log f₀.
        log_likelihood: log p(x | z).
        start_slope: gradient of ``start``.
        ratio_slope: gradient of ``ratio``.
    """

    z: Float[Tensor, "C N D"]
    start: Float[Tensor, "C N"]
    ratio: Float[Tensor, "C N"]
    log_likelihood: Float[Tensor, "C N"]
    start_slope: Float[Tensor, "C N D"]
    ratio_slope: Float[Tensor, "C N D"]

    def log_density(self, beta: float) -> Tensor:
        """log f_β in float64."""
        return self.start.double() + beta * self.ratio.double()

    def slope(self, beta: float) -> Tensor:
        """Gradient of log f_β."""
        return self.start_slope + beta * self.ratio_slope

    @classmethod
    def joined(cls, places: Sequence["Place"]) -> "Place":
        """The data of all these places."""
        return cls(*(torch.cat([getattr(place, f.name) for place in places], 1) for f in fields(cls)))

    def where(self, here: Bool[Tensor, "C N"], other: "Place") -> "Place":
        """The chains that are True here, the others from the other place."""
        parts = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return Place(*(torch.where(here if a.ndim == 2 else here[..., None], a, b) for a, b in parts))


#: What evaluates the path at given points.
Field = Callable[[Tensor], Place]


def leapfrog(
    field: Field, place: Place, momentum: Tensor, beta: float, step: Tensor, count: int
) -> tuple[Place, Tensor]:
    """``count`` leapfrog steps through f_β from a place and a momentum: where they end.

    Reversible and volume-preserving: from the end with the momentum negated, they lead back. Each step evaluates the
    field once; the step size broadcasts to ``(C, N, D)``.
    """
    momentum = momentum + 0.5 * step * place.slope(beta)
    for i in range(count):
        place = field(place.z + step * momentum)
        momentum = momentum + (1.0 if i < count - 1 else 0.5) * step * place.slope(beta)
    return place, momentum


def transition(
    field: Field, place: Place, beta: float, step: Tensor, count: int, noise: NoiseSource
) -> tuple[Place, Float[Tensor, "C N"]]:
    r"""One trajectory with a Metropolis decision for each chain: leaves f_β as it is, whatever the step size.

    .. math:: a = \min\big(1, e^{H(z, v) - H(z', v')}\big), \qquad H(z, v) = -\log f_\beta(z) + \tfrac12 \|v\|^2

    Momenta are drawn anew each time, so the sign that a rejection would turn does not matter. An end whose density is
    not finite is refused. That f_β stays as it is holds for step sizes that were fixed before: sizes that follow a
    chain's own acceptances break it.

    Args:
        field: evaluates the path.
        place: where the chains stand.
        beta: β.
        step: the step size, broadcastable to ``(C, N, D)``.
        count: leapfrog steps.
        noise: of momenta and decisions.

    Returns:
        Where the chains stand now, and the acceptance probabilities.

    References:
        Neal 2011, "MCMC using Hamiltonian dynamics", arXiv:1206.1901.
    """
    momentum = noise.normal(tuple(place.z.shape), 1, place.z.dtype)
    end, there = leapfrog(field, place, momentum, beta, step, count)
    kinetic = 0.5 * (there.double().square().sum(-1) - momentum.double().square().sum(-1))
    after = end.log_density(beta)
    log_accept = after - place.log_density(beta) - kinetic
    accept = torch.where(after.isfinite() & ~log_accept.isnan(), log_accept.clamp(max=0).exp(), 0.0)
    chosen = noise.uniform(tuple(accept.shape), 1, torch.float64) < accept
    return end.where(chosen, place), accept
