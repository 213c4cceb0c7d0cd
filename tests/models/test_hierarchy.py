"""Hierarchies with linear-Gaussian rooms, whose evidence and whose posteriors are known."""

from collections.abc import Callable
from math import log, pi

import pytest
import torch
from torch import Tensor, nn

from fourfold.conditional import Condition, Conditional
from fourfold.distributions import DiagonalGaussian, Distribution, Point
from fourfold.models import BottomUp, Climb, Flush, Hierarchy, Merging, Rung, TopDown, merged
from fourfold.noise import Noise
from fourfold.objectives import ELBO, FreeBits
from fourfold.priors import StandardNormal
from fourfold.trace import Level


class Linear(Conditional):
    """N(a · context + shift · c, variance)."""

    def __init__(self, a: float, variance: float, shift: float = 0.0) -> None:
        super().__init__()
        self.a, self.variance, self.shift = a, variance, shift

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        loc = self.a * context if c is None else self.a * context + self.shift * c
        return DiagonalGaussian(loc, torch.full_like(loc, 0.5 * log(self.variance)))


# z₃ ~ N(0, 1), z₂ ~ N(z₃, 1), z₁ ~ N(z₂, 1), x ~ N(z₁, 1): N(0, 1), N(0, 2), N(0, 3) and N(0, 4).
def bottom_up(blur: float = 1.0) -> BottomUp:
    posteriors = [Linear(3 / 4, 3 / 4 * blur), Linear(2 / 3, 2 / 3), Linear(1 / 2, 1 / 2)]
    return BottomUp(posteriors, StandardNormal(1), [Linear(1, 1), Linear(1, 1)], Linear(1, 1), [(1,)] * 3)


def ladder(blur: float = 1.0) -> TopDown:
    """The guess N(x, variance of x given z_i), merged with the prior, is the exact posterior of each level."""
    rungs = [
        Merging((1,), StandardNormal(1), Linear(1 / 4, 3 / 4 * blur)),
        Merging((1,), Linear(1, 1), Linear(1, 2)),
        Merging((1,), Linear(1, 1), Linear(1, 1)),
    ]
    return TopDown(Climb([nn.Identity()] * 3), rungs, Linear(1, 1))


class Sum(nn.Module):
    """The state above plus z."""

    def forward(self, state: Tensor, z: Tensor | None = None) -> Tensor:
        return state if z is None else state + z


def flush() -> TopDown:
    """x ~ N(z₂ + z₁, 1) with independent N(0, 1) priors; q(z₁ | x) ignores z₂, so it is not exact."""
    rungs = [Flush((1,), StandardNormal(1), Linear(1 / 3, 2 / 3), Sum()) for _ in range(2)]
    return TopDown(Climb([nn.Identity()] * 2), rungs, Linear(1, 1))


def apart(blur: float = 1.0) -> TopDown:
    """The same posteriors, the guess merged with a belief that is not the prior: precisions and their means add up."""
    rungs = [
        Merging((1,), StandardNormal(1), Linear(1 / 4, 3 / 4 * blur)),
        Merging((1,), Linear(1, 1), Linear(1 / 2, 1), Linear(2, 2)),
        Merging((1,), Linear(1, 1), Linear(2 / 3, 2 / 3), Linear(2, 2)),
    ]
    return TopDown(Climb([nn.Identity()] * 3), rungs, Linear(1, 1))


class Given(Rung):
    """A rung whose posterior is no merge: N(a · feature + b · z above, variance)."""

    latent = (1,)

    def __init__(self, a: float, b: float, variance: float) -> None:
        super().__init__()
        self.a, self.b, self.variance = a, b, variance

    def prior(self, state: Tensor | None, c: Tensor | None) -> Distribution:
        return StandardNormal(1)() if state is None else Linear(1, 1)(state)

    def posterior(self, p: Distribution, state: Tensor | None, feature: Tensor, c: Tensor | None) -> Distribution:
        loc = self.a * feature + (0 if state is None else self.b * state)
        return DiagonalGaussian(loc, torch.full_like(loc, 0.5 * log(self.variance)))

    def descend(self, state: Tensor | None, z: Tensor, c: Tensor | None) -> Tensor:
        return z


def top_down(blur: float = 1.0) -> TopDown:
    rungs = [Given(1 / 4, 0, 3 / 4 * blur), Given(1 / 3, 2 / 3, 2 / 3), Given(1 / 2, 1 / 2, 1 / 2)]
    return TopDown(Climb([nn.Identity()] * 3), rungs, Linear(1, 1))


MODELS: dict[str, Callable[[], Hierarchy]] = {
    "bottom_up": bottom_up,
    "ladder": ladder,
    "apart": apart,
    "top_down": top_down,
}


@pytest.fixture
def x(double: None) -> Tensor:
    return torch.tensor([[-1.5], [0.3], [2.0], [4.0]])


def evidence(x: Tensor, variance: float = 4.0) -> Tensor:
    return (-0.5 * (x.square() / variance + log(2 * pi * variance))).squeeze(1)


@pytest.mark.parametrize("name", MODELS)
def test_with_exact_posteriors_every_draw_gives_the_evidence(name: str, x: Tensor) -> None:
    trace = MODELS[name]()(x, draws=7, noise=Noise(0))
    torch.testing.assert_close(trace.log_weight, evidence(x).expand(7, 4), rtol=0, atol=1e-12)
    torch.testing.assert_close(ELBO(draws=7, kl="monte_carlo")(trace).total, evidence(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [bottom_up, ladder, apart, top_down])
def test_blurred_no_bound_exceeds_the_evidence_and_iwae_climbs_to_it(
    make: Callable[[float], Hierarchy], x: Tensor
) -> None:
    weights = make(2.0)(x, draws=100_000, noise=Noise(0)).log_weight
    gaps = [
        float((evidence(x) - (weights.reshape(-1, k, 4).logsumexp(1) - log(k)).mean(0)).mean()) for k in (1, 10, 1000)
    ]
    assert gaps[0] > 0.05 and gaps[0] > 3 * gaps[1] > 9 * gaps[2] and -1e-3 < gaps[2] < 1e-3


@pytest.mark.parametrize("name", [*MODELS, "flush"])
def test_levels_stand_from_top_to_bottom_and_at_tells_the_same(name: str, x: Tensor) -> None:
    model = {**MODELS, "flush": flush}[name]()
    trace = model(x, draws=3, noise=Noise(1))
    z = tuple(level.z for level in trace.levels)
    assert [tuple(part.shape) for part in z] == [(3, 4, 1)] * len(model.latent_shapes)
    again, bare = model.at(x, z), model.at(x, z, q=False)
    torch.testing.assert_close(again.log_weight, trace.log_weight)
    torch.testing.assert_close(bare.log_joint, trace.log_joint)
    assert all(isinstance(level.q, Point) for level in bare.levels)
    rates = [level.log_ratio for level in trace.levels]
    torch.testing.assert_close(torch.stack(rates).sum(0), trace.log_ratio)


@pytest.mark.parametrize("name", MODELS)
def test_infer_and_generate_visit_each_level_in_sampling_order(name: str, x: Tensor) -> None:
    model, visited = MODELS[name](), []
    trace = model.infer(x, None, lambda i, q: (visited.append(i), q.centre if i else q.centre[None])[1])
    assert visited == [0, 1, 2]
    first = trace.levels[-1 if name == "bottom_up" else 0]
    torch.testing.assert_close(first.z[0], (3 / 4 if name == "bottom_up" else 1 / 4) * x)
    made = model.generate(50_000, None, lambda i, p: p.sample(Noise(2).fork(str(i))))
    assert [round(float(z.var()), 1) for z in made.z] == [1.0, 2.0, 3.0]
    torch.testing.assert_close(model.decode(made.z), made.z[-1])
    assert [part.shape for part in model.encode(x)] == [(4, 1)] * 3
    assert model.reconstruct(x).shape == (4, 1)


def test_rates_of_the_ladder_are_divergences_in_closed_form(x: Tensor) -> None:
    trace = ladder()(x, draws=2, noise=Noise(3))
    assert all(level.kl is not None and bool((level.kl >= 0).all()) for level in trace.levels)
    assert all(
        bool((level.q.scale <= level.p.scale).all())
        for level in trace.levels
        if isinstance(level.q, DiagonalGaussian) and isinstance(level.p, DiagonalGaussian)
    )
    FreeBits(nats=0.1, kind="per_dim_batchmean")(trace)


def test_rates_of_the_levels_sum_to_the_divergence_of_the_whole(x: Tensor) -> None:
    """KL(p(z | x) ‖ p(z)) of all three latents at once, from their joint covariance."""
    order = torch.tensor([1.0, 2.0, 3.0])
    joint = torch.minimum(order[:, None], order)  # of z₃, z₂, z₁; their covariance with x ~ N(0, 4) is 1, 2, 3
    slope, prior = order / 4, torch.distributions.MultivariateNormal(torch.zeros(3), joint)
    posterior = torch.distributions.MultivariateNormal(x * slope, joint - torch.outer(order, order) / 4)
    wanted = torch.distributions.kl_divergence(posterior, prior)
    draws = 100_000
    for name, make in MODELS.items():
        trace = make()(x, draws=draws, noise=Noise(7))
        rates = [level.kl if level.kl is not None else level.log_ratio for level in trace.levels]
        total = sum(rate.expand(draws, 4) for rate in rates)
        assert ((total.mean(0) - wanted).abs() < 4.5 * total.std(0) / draws**0.5 + 1e-12).all(), name
        drawn = trace.log_ratio
        assert ((drawn.mean(0) - wanted).abs() < 4.5 * drawn.std(0) / draws**0.5).all(), name
        if name != "bottom_up":  # each is a divergence, seen from the draws above
            assert all(bool((rate >= 0).all()) for rate in rates)
            each = torch.stack([level.log_ratio.mean(0) for level in trace.levels])
            told = torch.stack([rate.expand(draws, 4).mean(0) for rate in rates])
            torch.testing.assert_close(each, told, rtol=0, atol=0.03)


def test_only_shared_numbers_make_the_posterior_narrower_than_the_prior(x: Tensor) -> None:
    def scales(level: Level) -> tuple[Tensor, Tensor]:
        assert isinstance(level.q, DiagonalGaussian) and isinstance(level.p, DiagonalGaussian)
        return level.q.scale, level.p.scale

    noise = Noise(8)
    for share in (True, False):
        lower = Merging((1,), Linear(1, 0.5), Linear(1, 4), None if share else Linear(1, 9))
        model = TopDown(
            Climb([nn.Identity()] * 2), [Merging((1,), StandardNormal(1), Linear(1, 4)), lower], Linear(1, 1)
        )
        top, bottom = model(x, draws=2, noise=noise).levels
        q, p = scales(top)
        assert (q > p).all()  # at the top there is nothing to share
        q, p = scales(bottom)
        assert (q <= p).all() if share else (q > p).all()


def test_the_merge_is_the_product_of_gaussians(double: None) -> None:
    noise = Noise(4)
    q, p = (DiagonalGaussian(noise.normal((5, 3)), noise.normal((5, 3))) for _ in range(2))
    z = noise.normal((11, 5, 3))
    both = merged(q, p)
    difference = q.log_prob(z) + p.log_prob(z) - both.log_prob(z)
    torch.testing.assert_close(difference, difference[:1].expand(11, 5))  # a constant: the normaliser
    far = DiagonalGaussian(torch.zeros(1), torch.full((1,), -400.0))
    assert torch.isfinite(merged(far, p).log_scale).all()  # the precision e^800 itself overflows


def test_a_flat_prior_is_no_chain(x: Tensor) -> None:
    trace = flush()(x, draws=20_000, noise=Noise(5))
    assert [level.p.lead_shape for level in trace.levels] == [(), ()]
    gap = evidence(x, 3.0) - ELBO(draws=20_000)(trace).total
    # The posterior has covariance Σ = ((2, −1), (−1, 2)) / 3; q has its diagonal D: ½ (tr Σ⁻¹D − 2 + log |Σ| / |D|).
    torch.testing.assert_close(gap, torch.full((4,), 1 / 3 + 0.5 * log(3 / 4)), rtol=0, atol=0.03)
    made = flush().generate(50_000, None, lambda i, p: p.sample(Noise(6).fork(str(i))))
    assert float(made.p_x.mean.var()) == pytest.approx(2, rel=0.03)
    assert not flush().markov and bottom_up().markov


def test_conditions_reach_the_rooms(x: Tensor) -> None:
    shifted = BottomUp(
        [Linear(3 / 4, 3 / 4, -3 / 4), Linear(2 / 3, 2 / 3), Linear(1 / 2, 1 / 2)],
        StandardNormal(1),
        [Linear(1, 1), Linear(1, 1)],
        Linear(1, 1, 1.0),
        [(1,)] * 3,
        Condition((1,)),
    )
    c = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    trace = shifted(x, c, draws=3, noise=Noise(0))
    torch.testing.assert_close(trace.log_weight, evidence(x - c).expand(3, 4), rtol=0, atol=1e-12)


def test_what_does_not_fit_together_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="3 latents need as many posteriors"):
        BottomUp([Linear(1, 1)], StandardNormal(1), [], Linear(1, 1), [(1,)] * 3)
    with pytest.raises(ValueError, match="wanted at least one"):
        TopDown(Climb([]), [], Linear(1, 1))
    with pytest.raises(ValueError, match="3 levels, got 1"):
        ladder().at(x, (torch.zeros(1, 4, 1),))
    with pytest.raises(ValueError, match="as many features"):
        TopDown(Climb([nn.Identity()]), [*ladder().rungs], Linear(1, 1))(x)
