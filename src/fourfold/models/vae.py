"""The flat VAE: one group of latents."""

__all__ = ["VAE"]

from collections.abc import Callable

from torch import Tensor

from .._shapes import Shape
from ..conditional import Condition, Conditional, Prior
from ..distributions import Distribution, Point
from ..noise import Noise, NoiseSource
from ..trace import Level, Trace
from .base import Generated, Model, Pick
from .corruption import Corruption

_Draw = Callable[[Distribution], tuple[Tensor, Tensor | None]]


class VAE(Model):
    r"""A posterior, a prior and a likelihood: the variational autoencoder with one group of latents.

    .. math:: p(x, z \mid c) = p(z \mid c)\, p(x \mid z, c), \qquad q(z \mid x, c)

    Args:
        posterior: q(z | x, c).
        prior: p(z | c).
        likelihood: p(x | z, c).
        condition: what c is, if there is one: a label or a tensor.
        corruption: what the posterior sees in place of x, in training mode only and only in ``model(x)``; the
            likelihood is of the clean x, and ``infer``, ``at``, ``encode`` and ``reconstruct`` see no other.

    References:
        Kingma and Welling 2013, arXiv:1312.6114; Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082.

    Example:
        >>> import torch
        >>> from fourfold.conditional import NetworkConditional
        >>> from fourfold.distributions import BernoulliHead, GaussianHead
        >>> from fourfold.noise import Noise
        >>> from fourfold.priors import StandardNormal
        >>> q = NetworkConditional(torch.nn.Linear(6, 4), GaussianHead(2), 6)
        >>> p = NetworkConditional(torch.nn.Linear(2, 6), BernoulliHead(6), 2)
        >>> VAE(q, StandardNormal(2), p)(torch.ones(5, 6), draws=3, noise=Noise(0)).log_weight.shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        posterior: Conditional,
        prior: Prior,
        likelihood: Conditional,
        condition: Condition | None = None,
        corruption: Corruption | None = None,
    ) -> None:
        super().__init__()
        self.posterior, self.prior, self.likelihood = posterior, prior, likelihood
        self.condition, self.corruption = condition, corruption
        self.support = likelihood.support

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return (self.prior.event,)

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise(device=x.device)
        seen = x if self.corruption is None or not self.training else self.corruption(x, source)
        return self._pass(x, c, mask, lambda q: _drawn(q, source, draws), seen)

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

    def _pass(self, x: Tensor, c: Tensor | None, mask: Tensor | None, draw: _Draw, seen: Tensor | None = None) -> Trace:
        c = self.encoded(c)
        q, p = self.posterior(x if seen is None else seen, c), self.prior(c)
        z, recorded = draw(q)
        return self._trace(x, c, mask, Level(z, q, p, recorded))

    def _trace(self, x: Tensor, c: Tensor | None, mask: Tensor | None, level: Level) -> Trace:
        p_x = self.likelihood(level.z, c)
        return Trace(x, p_x, p_x.log_prob(x, mask), (level,), c, mask)


def _drawn(q: Distribution, noise: NoiseSource, draws: int) -> tuple[Tensor, Tensor | None]:
    """A draw, and its log q if that must be had now or never."""
    return q.sample_with_log_prob(noise, draws) if q.log_prob_with_draw else (q.sample(noise, draws), None)
