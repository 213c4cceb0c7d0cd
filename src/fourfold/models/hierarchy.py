"""Models whose latents stand in levels, z_L (the top) to z₁: inferred from the bottom up, or from the top down."""

__all__ = ["BottomUp", "Hierarchy", "Rung", "TopDown", "Upward"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from .._shapes import Shape
from ..conditional import Condition, Conditional, Prior
from ..distributions import Distribution, Point
from ..networks import Spectral
from ..noise import Noise, NoiseSource
from ..trace import Level, Trace
from .base import Generated, Model, Pick
from .flat import drawing

#: What chooses z of the level with this number in sampling order, given q; and log q(z), where it is had with the draw.
_Draw = Callable[[int, Distribution], tuple[Tensor, Tensor | None]]


class Hierarchy(Model, ABC):
    """What models with several levels share, whichever way they infer: everything but the pass itself."""

    likelihood: Conditional
    #: Whether q, like p, is visited from the top.
    downward: ClassVar[bool]

    @abstractmethod
    def _inferred(self, x: Tensor, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        """Levels from top to bottom and p(x | z), ``draw`` choosing every z; c as the rooms take it."""

    @abstractmethod
    def _generated(self, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        """The same without x, ``draw`` choosing z given p; the levels hold points in place of posteriors."""

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise(device=x.device)
        first, later = drawing(source, draws), drawing(source, None)
        return self._scored(x, c, mask, lambda i, q: later(q) if i else first(q))

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self._scored(x, c, mask, lambda i, q: (pick(i, q), None))

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        if len(z) != len(self.latent_shapes):
            raise ValueError(f"{type(self).__name__}.at: z: wanted {len(self.latent_shapes)} levels, got {len(z)}.")
        if q:
            given = z if self.downward else z[::-1]
            return self._scored(x, c, mask, lambda i, _: (given[i], None))
        c = self.encoded(c)
        levels, p_x = self._generated(c, lambda i, _: (z[i], None))
        return Trace(x, p_x, p_x.log_prob(x, mask), levels, c, mask)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        levels, p_x = self._generated(self.encoded(c), lambda i, p: (pick(i, _of(p, (n,))), None))
        return Generated(tuple(level.z for level in levels), p_x)

    def _scored(self, x: Tensor, c: Tensor | None, mask: Tensor | None, draw: _Draw) -> Trace:
        c = self.encoded(c)
        levels, p_x = self._inferred(x, c, draw)
        return Trace(x, p_x, p_x.log_prob(x, mask), levels, c, mask)


class BottomUp(Hierarchy):
    r"""The hierarchical VAE with a stochastic way up: each posterior sees a draw of the level below.

    .. math:: q(z \mid x) = q(z_1 \mid x) \prod_{i=2}^L q(z_i \mid z_{i-1}), \qquad
        p(x, z) = p(z_L) \prod_{i=1}^{L-1} p(z_i \mid z_{i+1})\; p(x \mid z_1)

    p(z_i | z_{i+1}) is given a latent that was drawn after z_i, so below the top only log q − log p, not a closed-form
    KL, is part of the bound, and a level's share of the rate can be negative: only their sum is a divergence.

    Args:
        posteriors: q(z₁ | x), q(z₂ | z₁), …, from the bottom to the top.
        prior: p(z_L).
        conditionals: p(z_{L−1} | z_L), …, p(z₁ | z₂), from the top to the bottom.
        likelihood: p(x | z₁).
        latents: shapes of the latents, from top to bottom.
        condition: what c is, if there is one; every room that was built for it sees it.

    Raises:
        ValueError: numbers of posteriors and conditionals that do not belong together.

    References:
        Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082; Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519,
        with two levels; the baseline of Sønderby et al. 2016, arXiv:1602.02282.
    """

    downward = False

    def __init__(
        self,
        posteriors: Sequence[Conditional],
        prior: Prior,
        conditionals: Sequence[Conditional],
        likelihood: Conditional,
        latents: Sequence[Shape],
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        if not len(posteriors) == len(conditionals) + 1 == len(latents):
            raise ValueError(
                f"BottomUp: {len(latents)} latents need as many posteriors and one conditional fewer; got "
                f"{len(posteriors)} and {len(conditionals)}."
            )
        self.posteriors, self.conditionals = nn.ModuleList(posteriors), nn.ModuleList(conditionals)
        self.prior, self.likelihood, self.condition = prior, likelihood, condition
        self._latents = tuple(latents)
        self.support, self.markov = likelihood.support, True

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return self._latents

    def _inferred(self, x: Tensor, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        below, found = x, []
        for i, posterior in enumerate(self.posteriors):
            q = posterior(below, c)
            below, recorded = draw(i, q)
            found.append((below, q, recorded))
        found.reverse()
        levels = [
            Level(z, q, self._p(i, found[i - 1][0], c), recorded, foreseen=i == 0)
            for i, (z, q, recorded) in enumerate(found)
        ]
        return tuple(levels), self.likelihood(levels[-1].z, c)

    def _generated(self, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        levels: list[Level] = []
        for i, latent in enumerate(self._latents):
            p = self._p(i, levels[-1].z if levels else None, c)
            z, _ = draw(i, p)
            levels.append(Level(z, Point(z, len(latent)), p))
        return tuple(levels), self.likelihood(levels[-1].z, c)

    def _p(self, i: int, above: Tensor | None, c: Tensor | None) -> Distribution:
        """p of level i from the top, given the z above."""
        return self.prior(c) if i == 0 else self.conditionals[i - 1](above, c)


class Rung(nn.Module, ABC):
    """One level of a ``TopDown`` model: its prior, its posterior, and what it hands on to the level below.

    The state is what the levels above handed on, ``(*lead, …)`` with lead ``()``, ``(B,)`` or ``(S, B)``; ``None`` at
    the top. What prior, posterior and descent share is computed once, in ``enter``, and they are given that instead.

    Attributes:
        latent: shape of z.
    """

    latent: Shape

    def enter(self, state: Tensor | None, c: Tensor | None) -> Any:
        """What the other three are given for the state; here the state itself."""
        return state

    @abstractmethod
    def prior(self, state: Any, c: Tensor | None) -> Distribution:
        """p(z_i | levels above, c)."""

    @abstractmethod
    def posterior(self, p: Distribution, state: Any, feature: Tensor, c: Tensor | None) -> Distribution:
        """q(z_i | x, levels above, c), given p, and what the way up found for this level, ``(B, …)``."""

    @abstractmethod
    def descend(self, state: Any, z: Tensor, c: Tensor | None) -> Tensor:
        """What the level below is given."""


class Upward(nn.Module, ABC):
    """The deterministic way up: x to one feature a level."""

    @abstractmethod
    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """Features of x, ``(B, …)`` each, from the top level to the bottom one."""


class TopDown(Hierarchy):
    r"""The hierarchy whose posterior goes down the same way as its prior, with a deterministic way up beside it.

    .. math:: q(z \mid x) = \prod_{i=L}^1 q(z_i \mid z_{>i}, d_i(x)), \qquad
        p(x, z) = \prod_{i=L}^1 p(z_i \mid z_{>i})\; p(x \mid z)

    Every p is given what was drawn before, so the rate of every level is a divergence, in closed form where the
    families have one. The ladder VAE, the variational ladder with its flat prior, NVAE and VDVAE differ in their rungs.

    Args:
        upward: x to features.
        rungs: from the top to the bottom.
        likelihood: p(x | state), the state being what the lowest rung hands on.
        condition: what c is, if there is one.
        penalty: of the weights, such as ``networks.Spectral``.

    References:
        Sønderby et al. 2016, arXiv:1602.02282; Kingma et al. 2016, arXiv:1606.04934, who name it bidirectional.
    """

    downward = True

    def __init__(
        self,
        upward: Upward,
        rungs: Sequence[Rung],
        likelihood: Conditional,
        condition: Condition | None = None,
        penalty: Spectral | None = None,
    ) -> None:
        super().__init__()
        if not rungs:
            raise ValueError("TopDown: rungs: wanted at least one, got none.")
        self.upward, self.rungs, self.likelihood = upward, nn.ModuleList(rungs), likelihood
        self.condition, self.support, self.penalty = condition, likelihood.support, penalty

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        trace = super().forward(x, c, draws, noise, mask)
        if self.penalty is None:
            return trace
        return replace(trace, penalties={name: value.expand(len(x)) for name, value in self.penalty().items()})

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        if self.penalty is not None:
            self.penalty.after_step()

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return tuple(rung.latent for rung in self._rungs())

    def _rungs(self) -> list[Rung]:
        return [rung for rung in self.rungs if isinstance(rung, Rung)]

    def _inferred(self, x: Tensor, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        handed, levels, rungs = None, [], self._rungs()
        features = self.upward(x, c)
        if len(features) != len(rungs):
            raise ValueError(f"TopDown: {len(rungs)} rungs need as many features of x, got {len(features)}.")
        for i, (rung, feature) in enumerate(zip(rungs, features, strict=True)):
            state = rung.enter(handed, c)
            p = rung.prior(state, c)
            q = rung.posterior(p, state, feature, c)
            q = _of(q, tuple(levels[-1].z.shape[:2])) if levels else q
            z, recorded = draw(i, q)
            levels.append(Level(z, q, p, recorded))
            handed = rung.descend(state, z, c)
        return tuple(levels), self.likelihood(handed, c)

    def _generated(self, c: Tensor | None, draw: _Draw) -> tuple[tuple[Level, ...], Distribution]:
        handed, levels = None, []
        for i, rung in enumerate(self._rungs()):
            state = rung.enter(handed, c)
            p = rung.prior(state, c)
            z, _ = draw(i, p)
            levels.append(Level(z, Point(z, len(rung.latent)), p))
            handed = rung.descend(state, z, c)
        return tuple(levels), self.likelihood(handed, c)


def _of(dist: Distribution, lead: Shape) -> Distribution:
    """The distribution with these leading dimensions: one that ignores the levels above has fewer of its own."""
    return dist if dist.lead_shape == lead else dist.expand(lead)
