"""What the models with one group of latents share."""

__all__ = ["Draw", "Flat", "drawing"]

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from .._shapes import Shape
from ..conditional import Conditional, Prior
from ..distributions import Distribution, Point
from ..noise import NoiseSource
from ..trace import Level, Trace
from .base import Generated, Model, Pick

#: What chooses z, of shape ``(S, B, *latent)``, given q; and log q(z), where it is had with the draw.
Draw = Callable[[Distribution], tuple[Tensor, Tensor | None]]


class Flat(Model, ABC):
    """A posterior, a prior p(z | c) and a likelihood p(x | z, c) of one group of latents, however q is come by."""

    prior: Prior
    likelihood: Conditional

    @abstractmethod
    def believed(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """q(z | x, c), with leading dimensions ``(B,)``; c as the rooms take it."""

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return (self.prior.event,)

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self._pass(x, c, mask, lambda q: (pick(0, q), None))

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        if q:
            return self._pass(x, c, mask, lambda posterior: (z[0], None))
        c = self.encoded(c)
        prior = self.prior(c)
        given = Point(z[0], len(prior.event_shape))  # no posterior was asked: there is no rate, and it says so
        return self._trace(x, c, mask, Level(z[0], given, prior))

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        c = self.encoded(c)
        z = pick(0, self.prior(c).expand((n,)))
        return Generated((z,), self.likelihood(z, c))

    def _pass(
        self,
        x: Tensor,
        c: Tensor | None,
        mask: Tensor | None,
        draw: Draw,
        seen: Tensor | None = None,
        fed: Tensor | None = None,
    ) -> Trace:
        """The pass whose posterior sees x, or what is given in its place; and the likelihood the elements before."""
        c = self.encoded(c)
        q, p = self.believed(x if seen is None else seen, c, mask), self.prior(c)
        if q.event_shape != p.event_shape:  # shapes that broadcast would give nats of nothing
            raise ValueError(
                f"{type(self).__name__}: the posterior is of z of shape {q.event_shape}, the prior "
                f"({type(self.prior).__name__}) of {p.event_shape}. Give both the same latent."
            )
        z, recorded = draw(q)
        return self._trace(x, c, mask, Level(z, q, p, recorded), fed)

    def _trace(
        self, x: Tensor, c: Tensor | None, mask: Tensor | None, level: Level, fed: Tensor | None = None
    ) -> Trace:
        p_x = self.likelihood(level.z, c)
        scored = p_x.log_prob(x, mask) if fed is None else p_x.log_prob_fed(x, fed, mask)
        return Trace(x, p_x, scored, (level,), c, mask)


def drawing(source: NoiseSource, draws: int | None) -> Draw:
    """Draws from q (one a row where ``draws`` is ``None``), and log q of them if that must be had now or never."""

    def draw(q: Distribution) -> tuple[Tensor, Tensor | None]:
        return q.sample_with_log_prob(source, draws) if q.log_prob_with_draw else (q.sample(source, draws), None)

    return draw
