"""Exact cases: where log p(x) and p(z | x) are known, what every bound must be."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import log, pi
from typing import Self

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Condition, Conditional, NetworkConditional
from fourfold.distributions import Distribution, GaussianHead
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE
from fourfold.networks import Dense
from fourfold.noise import Noise, NoiseSource
from fourfold.objectives import ELBO
from fourfold.posteriors import gaussian
from fourfold.priors import ConditionalPrior, StandardNormal

D, L, B = 6, 2, 5
EXACT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def iwae(log_weight: Tensor) -> Tensor:
    """The importance-weighted bound of the given draws, ``(B,)``."""
    return torch.logsumexp(log_weight, 0) - log(len(log_weight))


class FullGaussian(Distribution):
    """N(loc, factor factorᵀ): what an exact posterior needs, and the library's diagonal one cannot be."""

    def __init__(self, loc: Tensor, factor: Tensor) -> None:
        self.loc, self.factor = loc, factor

    lead_shape = property(lambda self: tuple(self.loc.shape[:-1]))
    event_shape = property(lambda self: tuple(self.loc.shape[-1:]))
    mean = property(lambda self: self.loc)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None
        gap = (x - self.loc).unsqueeze(-1)
        standard = torch.linalg.solve_triangular(self.factor, gap, upper=False).squeeze(-1)
        size = self.loc.shape[-1]
        return -0.5 * standard.square().sum(-1) - self.factor.diagonal().log().sum() - 0.5 * size * log(2 * pi)

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        shape = (*(() if draws is None else (draws,)), *self.loc.shape)
        return self.loc + noise.normal(shape, len(shape) - 2, self.loc.dtype) @ self.factor.T

    def expand(self, lead: tuple[int, ...]) -> Self:
        return type(self)(self.loc.expand(*lead, *self.event_shape), self.factor)


class LinearPosterior(Conditional):
    """N(Ax + shift, blur² · the exact covariance): exact with no shift and no blur."""

    def __init__(self, weight: Tensor, scale: float, shift: float = 0.0, blur: float = 1.0) -> None:
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(L, dtype=weight.dtype) + weight.T @ weight / scale**2)
        self.register_buffer("slope", covariance @ weight.T / scale**2)
        self.register_buffer("factor", blur * torch.linalg.cholesky(covariance))
        self.shift = shift

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return FullGaussian(context @ self.get_buffer("slope").T + self.shift, self.get_buffer("factor"))


@dataclass(frozen=True)
class Known:
    """A model and what is known of it."""

    model: VAE
    weight: Tensor
    scale: float

    def evidence(self, x: Tensor) -> Tensor:
        """log p(x), from the marginal N(0, WWᵀ + σ²I)."""
        weight = self.weight.to(x.dtype)
        covariance = weight @ weight.T + self.scale**2 * torch.eye(D, dtype=x.dtype)
        return FullGaussian(torch.zeros_like(x), torch.linalg.cholesky(covariance)).log_prob(x)


def known(built: torch.dtype, shift: float = 0.0, blur: float = 1.0) -> Known:
    """z ~ N(0, I), x | z ~ N(Wz, σ²I), built in one precision and then made double."""
    weight, scale = Noise(0, stream="weight").normal((D, L), dtype=torch.float64).to(built), 0.5
    network = nn.Linear(L, D, bias=False, dtype=built)
    with torch.no_grad():
        network.weight.copy_(weight)
    head = GaussianHead(D, scale)
    posterior = LinearPosterior(weight.double(), scale, shift, blur)
    model = VAE(posterior, StandardNormal(L), NetworkConditional(network, head, L)).double()
    return Known(model, weight.double(), scale)


@pytest.fixture(params=["float64 by default", "float32 made double"])
def built(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """Both ways to double precision."""
    before, by_default = torch.get_default_dtype(), request.param == "float64 by default"
    torch.set_default_dtype(torch.float64 if by_default else torch.float32)
    yield torch.float64 if by_default else torch.float32
    torch.set_default_dtype(before)


def data(n: int = B) -> Tensor:
    return 1.5 * Noise(1, stream="data").normal((n, D), dtype=torch.float64)


@pytest.mark.parametrize("draws", [1, 4])
def test_the_exact_posterior_makes_every_bound_the_evidence(built, draws):
    case, x = known(built), data()
    trace = case.model(x, draws=draws, noise=Noise(2))
    evidence = case.evidence(x)
    assert trace.log_weight.dtype == torch.float64
    assert_close(trace.log_weight, evidence.expand(draws, B), **EXACT)
    assert_close(ELBO(kl="monte_carlo")(trace).total, evidence, **EXACT)
    assert_close(ELBO()(trace).total, evidence, **EXACT)  # no closed form here: Monte Carlo by itself
    assert_close(iwae(trace.log_weight), evidence, **EXACT)


def blurred(draws: int, built: torch.dtype) -> tuple[Tensor, Tensor]:
    """log-weights ``(draws, n)`` of one datum under a wrong posterior, and its log p(x)."""
    case, x = known(built, shift=0.1, blur=1.5), data(1)
    return case.model(x.expand(20_000, D), draws=draws, noise=Noise(3)).log_weight, case.evidence(x)


@pytest.mark.parametrize("draws", [1, 2, 8])
def test_no_bound_exceeds_the_evidence_on_average(built, draws):
    log_weight, evidence = blurred(draws, built)
    for bound in (log_weight.mean(0), iwae(log_weight)):
        error = bound.std() / len(bound) ** 0.5
        assert bound.mean() < evidence + 4 * error
    # the gap of the ELBO is the divergence of the posterior, known in closed form
    case = known(built, shift=0.1, blur=1.5)
    exact = torch.linalg.inv(case.model.posterior.get_buffer("factor") / 1.5)
    gap = 0.5 * (L * 1.5**2 + (exact @ torch.full((L,), 0.1, dtype=torch.float64)).square().sum() - L) - L * log(1.5)
    elbo = log_weight.mean(0)
    assert abs(evidence - elbo.mean() - gap) < 4 * elbo.std() / len(elbo) ** 0.5


def test_more_draws_are_tighter_and_reach_the_evidence(built):
    means = []
    for draws in (1, 4, 64):
        log_weight, evidence = blurred(draws, built)
        means.append(iwae(log_weight).mean())
        assert (iwae(log_weight) >= log_weight.mean(0) - 1e-9).all()
    assert means[0] < means[1] < means[2]
    assert_close(means[2], evidence[0], atol=0.01, rtol=0)


def test_the_analytic_rate_is_the_mean_of_the_drawn_one(double):
    q = gaussian(partial(Dense, hidden=(8,)), (D,), L)
    prior = ConditionalPrior(gaussian(partial(Dense, hidden=()), (3,), L))
    p = bernoulli(partial(Dense, hidden=()), (L,), (D,))
    x, c = data(1), Noise(5).normal((1, 3))
    for model, given in ((VAE(q, StandardNormal(L), p), None), (VAE(_Blind(q), prior, _Blind(p), Condition((3,))), c)):
        with torch.no_grad():
            trace = model(x.expand(1, D), given, draws=100_000, noise=Noise(4))
            analytic, drawn = (ELBO(kl=kl)(trace).parts["rate"].value for kl in ("auto", "monte_carlo"))
        assert analytic > 0.01
        assert abs(analytic - drawn) < 4 * trace.log_ratio.std() / 100_000**0.5


class _Blind(Conditional):
    """A conditional that does not look at c."""

    def __init__(self, inner: Conditional) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return self.inner(context)
