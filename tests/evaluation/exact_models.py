"""Models whose evidence is known, and data for them; everything in torch's default type."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from fourfold.conditional import Condition, Conditional, Prior
from fourfold.distributions import Bernoulli, DiagonalGaussian, Distribution, Point
from fourfold.models import VAE, Generated, Model, Pick
from fourfold.noise import Noise, NoiseSource
from fourfold.priors import StandardNormal
from fourfold.trace import Level, Trace


@dataclass(frozen=True)
class Batch:
    x: Tensor
    c: Tensor | None = None
    mask: Tensor | None = None


def cut(x: Tensor, size: int, c: Tensor | None = None, mask: Tensor | None = None) -> list[Batch]:
    """Data in batches of a size; a mask is shared."""
    parts = range(0, len(x), size)
    return [Batch(x[i : i + size], None if c is None else c[i : i + size], mask) for i in parts]


class Linear(Conditional):
    """N(A context + b, scale²)."""

    def __init__(self, a: Tensor, b: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.a, self.b, self.scale, self.calls = a, b, scale, 0

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        self.calls += 1
        loc = context @ self.a.T + self.b
        return DiagonalGaussian(loc, self.scale.log().expand_as(loc))


class LinearBernoulli(Conditional):
    """Bernoulli with logits A context + b (+ c)."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        logits = context @ self.a.T + self.b
        return Bernoulli(logits if c is None else logits + c)


class FirstTwo(Conditional):
    """A point: the first two elements of the context."""

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return Point(context[..., :2])


class Shifted(Prior):
    """N(sum of c, 0.5²) in one dimension."""

    event = (1,)

    def forward(self, c: Tensor | None = None) -> Distribution:
        assert c is not None
        loc = c.sum(-1, keepdim=True)
        return DiagonalGaussian(loc, torch.full_like(loc, log(0.5)))


@dataclass(frozen=True)
class Exact:
    """z ~ N(0, I), x | z ~ N(Wz + b, σ²) with orthogonal columns of W: the exact posterior is diagonal."""

    w: Tensor
    b: Tensor
    sigma: float = 0.7

    @classmethod
    def make(cls, data: int = 5, latent: int = 2) -> "Exact":
        q, _ = torch.linalg.qr(Noise(1).normal((data, latent)))
        return cls(q * torch.linspace(2.0, 0.5, latent), Noise(2).normal((data,)))

    def model(self, blur: float = 1.0, shift: float = 0.0) -> VAE:
        """With q the exact posterior, or one with blurred scale and shifted mean."""
        variance = 1 / (1 + self.w.square().sum(0) / self.sigma**2)
        a = variance[:, None] * self.w.T / self.sigma**2
        posterior = Linear(a, -a @ self.b + shift, blur * variance.sqrt())
        likelihood = Linear(self.w, self.b, torch.full_like(self.b, self.sigma))
        return VAE(posterior, StandardNormal(self.w.shape[1]), likelihood).eval()

    def data(self, n: int) -> Tensor:
        z, e = Noise(3).normal((n, self.w.shape[1])), Noise(4).normal((n, len(self.b)))
        return z @ self.w.T + self.b + self.sigma * e

    def log_evidence(self, x: Tensor, kept: int | None = None) -> Tensor:
        """log p(x), of the first ``kept`` elements."""
        w, b = self.w[:kept], self.b[:kept]
        covariance = w @ w.T + self.sigma**2 * torch.eye(len(b))
        return MultivariateNormal(b, covariance, validate_args=False).log_prob(x[:, :kept])


class Chain(Model):
    """z₁ ~ N(0, 1), z₂ ~ N(z₁, 1), x ~ N(z₂, 1) with the exact posteriors q(z₁ | x), q(z₂ | z₁, x); x ~ N(0, 3)."""

    support = "real"

    def __init__(self, condition: Condition | None = None, blur: float = 1.0) -> None:
        super().__init__()
        self.condition, self.log_blur, self.calls = condition, log(blur), 0
        self.eval()

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((1,), (1,))

    def _q1(self, x: Tensor) -> Distribution:
        self.calls += 1
        return DiagonalGaussian(x / 3, torch.full_like(x, 0.5 * log(2 / 3) + self.log_blur))

    def _q2(self, x: Tensor, z: Tensor) -> Distribution:
        return DiagonalGaussian((x + z) / 2, torch.full_like(z, 0.5 * log(1 / 2)))

    def _unit(self, loc: Tensor) -> Distribution:
        return DiagonalGaussian(loc, torch.zeros_like(loc))

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise()
        shift = self.encoded(c)
        inner = x if shift is None else x - shift
        q1 = self._q1(inner)
        z1, log_q1 = q1.sample_with_log_prob(source, draws)
        q2 = self._q2(inner, z1)
        z2, log_q2 = q2.sample_with_log_prob(source)
        p1, p2 = self._unit(torch.zeros(1)), self._unit(z1)
        p_x = self._unit(z2 if shift is None else z2 + shift)
        levels = (Level(z1, q1, p1, log_q1), Level(z2, q2, p2, log_q2))
        return Trace(x, p_x, p_x.log_prob(x, mask), levels, shift, mask)

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        inner = x if c is None else x - self.encoded(c)
        q1 = self._q1(inner)
        z1 = pick(0, q1)
        q2 = self._q2(inner, z1)
        return self._scored(x, c, mask, (z1, pick(1, q2)), (q1, q2))

    def at(
        self, x: Tensor, z: tuple[Tensor, ...], c: Tensor | None = None, q: bool = True, mask: Tensor | None = None
    ) -> Trace:
        if q:
            return self.infer(x, c, lambda i, _: z[i], mask)
        return self._scored(x, c, mask, z, (Point(z[0]), Point(z[1])))

    def _scored(
        self,
        x: Tensor,
        c: Tensor | None,
        mask: Tensor | None,
        z: tuple[Tensor, ...],
        q: tuple[Distribution, ...],
    ) -> Trace:
        shift = self.encoded(c)
        p1, p2 = self._unit(torch.zeros(1)), self._unit(z[0])
        p_x = self._unit(z[1] if shift is None else z[1] + shift)
        levels = (Level(z[0], q[0], p1), Level(z[1], q[1], p2))
        return Trace(x, p_x, p_x.log_prob(x, mask), levels, shift, mask)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        z1 = pick(0, self._unit(torch.zeros(n, 1)))
        z2 = pick(1, self._unit(z1))
        shift = self.encoded(c)
        return Generated((z1, z2), self._unit(z2 if shift is None else z2 + shift))
