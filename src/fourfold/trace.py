"""The landing: all that an objective may know of one pass through a model, and what an objective answers."""

__all__ = ["Level", "Term", "Terms", "Trace"]

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Shaped
from torch import Tensor

from .distributions import Distribution

# Shapes: S draws of z, B data of the batch, then event dimensions.


@dataclass(frozen=True)
class Level:
    """One group of latents: its draw, the posterior it came from, and the prior at that draw.

    Attributes:
        z: the draw; whole numbers, where the latents are codes.
        q: the posterior it came from.
        p: the prior at that draw.
        recorded: log q(z) as it was found when z was drawn, for a posterior that cannot cheaply tell it again (a
            flow); ``None`` where q tells it when asked.
        foreseen: ``False`` where p was given latents that were drawn after z, as in a bottom-up hierarchy
            (z₁ ~ q(z₁ | x), z₂ ~ q(z₂ | z₁), p(z₁ | z₂)): the draw of z₁ and this p are not independent given what
            came before, so KL(q ‖ p) at such a p is no part of the bound, and only log q(z) − log p(z) is.
    """

    z: Shaped[Tensor, "S B *latent"]
    q: Distribution
    p: Distribution
    recorded: Float[Tensor, "S B"] | None = None
    foreseen: bool = True

    @property
    def log_q(self) -> Float[Tensor, "S B"]:
        """log q(z) in nats. A point posterior has none, and says so."""
        return self.q.log_prob(self.z) if self.recorded is None else self.recorded

    @property
    def log_p(self) -> Float[Tensor, "S B"]:
        """log p(z) in nats."""
        return self.p.log_prob(self.z)

    @property
    def log_ratio(self) -> Float[Tensor, "S B"]:
        """log q(z) − log p(z) in nats: the one-draw rate."""
        return self.log_q - self.log_p

    @property
    def kl(self) -> Tensor | None:
        """KL(q ‖ p) in nats, ``(B,)`` or ``(S, B)``; ``None`` where no closed form is part of the bound."""
        return self.q.kl(self.p) if self.foreseen else None

    @property
    def kl_by_element(self) -> Tensor | None:
        """The same for each element of z, ``(…, *latent)``."""
        return self.q.kl_by_element(self.p) if self.foreseen else None


@dataclass(frozen=True)
class Trace:
    """One pass through a model, scored.

    Attributes:
        x: the data, ``(B, *data)``.
        p_x: the likelihood at the drawn latents, with leading dimensions ``(S, B)``.
        log_likelihood: log p(x | z) in nats, ``(S, B)``.
        levels: the latents from top to bottom; empty for a model without latents.
        c: the conditioning, ``(B, …)``, if any.
        mask: 1 on the elements of x that are modelled (lengths, the part to predict), if not all are.
        penalties: further terms ``(B,)`` in nats that belong to the model, to be minimised; a ``Term`` has a weight and
            a unit of its own, and enters the objective as it is (with weight 0 it is only told).
        summary: means over the batch, without gradient, which the model's ``after_step`` gets (averaged over all
            processes): what a codebook or a running mean is made of.
    """

    x: Tensor
    p_x: Distribution
    log_likelihood: Float[Tensor, "S B"]
    levels: tuple[Level, ...]
    c: Tensor | None = None
    mask: Tensor | None = None
    penalties: "Mapping[str, Float[Tensor, ' B'] | Term]" = field(default_factory=dict)
    summary: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def log_ratio(self) -> Float[Tensor, "S B"]:
        """Σ over levels of log q(z) − log p(z), in nats."""
        total = self.log_likelihood.new_zeros(())
        for level in self.levels:
            total = total + level.log_ratio
        return total.expand_as(self.log_likelihood)

    @property
    def log_joint(self) -> Float[Tensor, "S B"]:
        """log p(x, z), in nats."""
        total = self.log_likelihood
        for level in self.levels:
            total = total + level.log_p
        return total

    @property
    def log_weight(self) -> Float[Tensor, "S B"]:
        """log p(x, z) − log q(z | x), in nats: the importance weight; its mean over draws is the ELBO."""
        return self.log_likelihood - self.log_ratio if self.levels else self.log_likelihood


@dataclass(frozen=True)
class Term:
    """One named part of an objective: a value per datum, and the weight it enters the total with.

    Attributes:
        value: in nats, or in the unit that is named.
        weight: its factor; for another unit it is in nats for each of them.
        unit: of the value.
    """

    value: Float[Tensor, " B"]
    weight: Float[Tensor, ""] | float
    unit: str = "nats"

    @property
    def weighted(self) -> Float[Tensor, " B"]:
        """weight · value."""
        plain = not isinstance(self.weight, Tensor) and self.weight == 1
        return self.value if plain else self.weight * self.value


@dataclass(frozen=True)
class Terms:
    """The parts of an objective, by name; the total is what is maximised.

    Attributes:
        parts: by name.
        summary: means over the batch, without gradient, which ``after_step`` gets (averaged over all processes).
    """

    parts: Mapping[str, Term]
    summary: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Float[Tensor, " B"]:
        """Σ weight · value, nats per datum, to be maximised; what is only reported may be infinite."""
        counted = [part for part in self.parts.values() if isinstance(part.weight, Tensor) or part.weight != 0]
        first, *others = (part.weighted for part in counted)
        for value in others:
            first = first + value
        return first
