"""The semi-amortised VAE: what the steps reach, what they may not touch, and what is learnt through them."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import DiagonalGaussian, GaussianHead
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE, Refinement, SemiAmortised
from fourfold.models.refined import _Common
from fourfold.networks import Dense
from fourfold.noise import Noise, Recorder, Request
from fourfold.objectives import ELBO, IWAE
from fourfold.posteriors import FromPrior, gaussian
from fourfold.priors import ConditionalPrior, StandardNormal

D, L, B, SCALE = 6, 2, 5, 0.5
pytestmark = pytest.mark.usefixtures("double")


def linear_gaussian(how: Refinement) -> tuple[SemiAmortised, Tensor]:
    """x | z ~ N(Wz, σ²I) with orthogonal columns, so that a diagonal q can be exact; a random encoder."""
    weight = torch.linalg.qr(Noise(0, stream="weight").normal((D, L)))[0] * torch.tensor([1.5, 0.7])
    network = nn.Linear(L, D, bias=False)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        encoder = nn.Linear(D, 2 * L)
        network.weight.copy_(weight)
    p_x = NetworkConditional(network, GaussianHead(D, SCALE), L)
    return SemiAmortised(NetworkConditional(encoder, GaussianHead(L), D), StandardNormal(L), p_x, how), weight


def elbo(q: DiagonalGaussian, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x) − KL(q ‖ p(z | x)) and log p(x), both exact."""
    precision = 1 + weight.square().sum(0) / SCALE**2
    exact = DiagonalGaussian((x @ weight) / SCALE**2 / precision, (-0.5 * precision.log()).expand(len(x), L))
    covariance = weight @ weight.T + SCALE**2 * torch.eye(D)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(D), covariance).log_prob(x)
    gap = q.kl(exact)
    assert gap is not None
    return evidence - gap, evidence


def test_every_step_climbs_towards_the_evidence_and_none_passes_it() -> None:
    x = 1.5 * Noise(1).normal((B, D))
    reached = []
    for steps in (1, 2, 4, 8, 16, 64, 400):
        model, weight = linear_gaussian(Refinement(steps, 0.05, clip=1e6))
        with torch.no_grad():
            bound, evidence = elbo(model.refined(x), x, weight)
        assert (bound <= evidence + 1e-12).all()
        reached.append(bound)
    start = elbo(model.posterior(x), x, weight)[0].detach()
    assert all((b > a).all() for a, b in zip([start, *reached], reached, strict=False))
    assert (start < evidence - 1).all()
    assert_close(reached[-1], evidence, rtol=0, atol=1e-8)
    with torch.no_grad():
        assert_close(IWAE(3)(model(x, draws=3, noise=Noise(3))).total, evidence, rtol=0, atol=1e-3)


def test_no_bound_exceeds_the_evidence_in_the_mean() -> None:
    """The numbers within the steps are not those z is drawn from: else the steps would fit their own draw."""
    model, weight = linear_gaussian(Refinement(3, 0.05))
    x = 1.5 * Noise(1).normal((1, D))
    with torch.no_grad():
        _, evidence = elbo(model.refined(x), x, weight)
        found = model(x, draws=100_000, noise=Noise(2)).log_weight[:, 0]
        wanted, _ = elbo(model.refined(x), x, weight)
    assert found.mean() < evidence + 1e-3
    assert abs(found.mean() - wanted) < 4 * found.std() / len(found) ** 0.5


def small(how: Refinement | None = None, conditional: bool = False) -> SemiAmortised:
    c = Condition.label(3) if conditional else None
    shape = c.shape if c else None
    make = partial(Dense, hidden=(7,), activation="tanh")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        prior = ConditionalPrior(gaussian(make, shape, L)) if shape else StandardNormal(L)
        q, p_x = gaussian(make, (D,), L, shape), bernoulli(make, (L,), (D,), shape)
    return SemiAmortised(q, prior, p_x, how, c)


X = Noise(4).uniform((B, D), dtype=torch.float64).round()


@pytest.mark.parametrize("conditional", [False, True])
def test_evaluation_refines_as_training_does(conditional: bool) -> None:
    model, c = small(Refinement(3, 0.3), conditional), torch.arange(B) % 3 if conditional else None
    trace = model(X, c, draws=2, noise=Noise(0))
    wanted = trace.log_weight
    with torch.no_grad():
        still = model(X, c, draws=2, noise=Noise(0)).log_weight
        assert_close(still, wanted)
        assert not still.requires_grad
    with torch.inference_mode():
        x, label = X.clone(), None if c is None else c.clone()
        assert x.is_inference()
        assert_close(model(x, label, draws=2, noise=Noise(0)).log_weight, wanted)
        at = model.at(x, (trace.levels[0].z.detach(),), label)
        assert_close(at.log_weight, wanted)
        assert_close(model.encode(x, label)[0], trace.levels[0].q.mean)
        assert model.reconstruct(x, label).shape == X.shape
    plain = VAE(model.posterior, model.prior, model.likelihood, model.condition)
    assert not torch.allclose(plain(X, c, draws=2, noise=Noise(0)).log_weight, wanted, atol=1e-3)
    bare = model.at(X, (trace.levels[0].z,), c, q=False)
    assert_close(bare.log_joint, trace.log_joint)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_datum_is_refined_alone_and_by_the_pixels_that_count() -> None:
    model = small(Refinement(3, 0.3))
    with torch.no_grad():
        assert_close(model.refined(X[1:3]).mean, model.refined(X).mean[1:3])
        mask = torch.ones(B, D)
        mask[:, 4:] = 0
        other = torch.where(mask.bool(), X, 1 - X)
        plain = model.posterior.raw(X) - model.posterior.raw(other)
        shift = lambda x, m: model.refined(x, mask=m).mean - model.posterior(x).mean  # noqa: E731
        assert not torch.allclose(shift(X, mask), shift(X, None)) and plain.abs().max() > 0
        model.posterior.network = nn.Sequential(_FirstFour(), model.posterior.network)
        assert_close(model.refined(X, mask=mask).mean, model.refined(other, mask=mask).mean)


class _FirstFour(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :4], torch.zeros(len(x), 2)], 1)


def test_nothing_is_drawn_but_z_itself() -> None:
    state = torch.get_rng_state()
    source = Recorder(Noise(0))
    model = small(Refinement(3))
    model(X, draws=2, noise=source)
    assert source.requests == [Request("normal", (2, B, L), 1, torch.float64)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.refined(X).mean, model.refined(X).mean)


def objective_of(model: SemiAmortised) -> Tensor:
    return ELBO()(model(X, noise=Noise(0))).total.sum()


def test_gradients_go_through_the_steps() -> None:
    for clip in (1e6, 0.5):  # clipped gradients are differentiated too
        model = small(Refinement(3, 0.3, clip=clip))
        objective_of(model).backward()
        for weight in (next(model.posterior.parameters()), next(model.likelihood.parameters())):
            assert weight.grad is not None
            with torch.no_grad():
                kept, step = weight[0, 0].item(), 1e-5
                ends = []
                for sign in (1, -1):
                    weight[0, 0] = kept + sign * step
                    ends.append(objective_of(model).item())
                weight[0, 0] = kept
            assert weight.grad[0, 0].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_first_order_takes_the_shift_for_a_constant() -> None:
    model = small(Refinement(3, 0.3, first_order=True))
    objective_of(model).backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]
    full = small(Refinement(3, 0.3))
    assert_close(objective_of(model), objective_of(full))
    objective_of(full).backward()
    with torch.no_grad():
        end = model.refined(X)
        shift = torch.cat([end.mean, end.scale.log()], 1) - model.posterior.raw(X)  # type: ignore[attr-defined]
    q = model.posterior.head(model.posterior.raw(X) + shift)
    z = q.sample(Noise(0), 1)
    by_hand = (model.likelihood(z).log_prob(X).mean(0) - q.kl(model.prior())).sum()  # type: ignore[operator]
    assert_close(found, list(torch.autograd.grad(by_hand, list(model.parameters()))))
    assert not torch.allclose(found[0], next(full.parameters()).grad)  # type: ignore[arg-type]


def test_a_frozen_encoder_can_be_refined() -> None:
    model = small(Refinement(2))
    model.posterior.requires_grad_(False)
    objective_of(model).backward()
    assert all(parameter.grad is not None for parameter in model.likelihood.parameters())


def test_dreg_and_sticking_the_landing_take_a_refined_posterior() -> None:
    model = small(Refinement(2, 0.2))
    x = X[:1].expand(4_000, D)
    means = []
    for name in ("autograd", "dreg"):
        rows = []
        for step in range(20):
            model.zero_grad()
            objective = IWAE(4, name)
            trace = model(x, draws=4, noise=Noise(1, step=step))
            objective.surrogate(model, trace, objective(trace)).mean().backward()
            rows.append(torch.cat([one.grad.flatten() for one in model.parameters()]))  # type: ignore[union-attr]
        means.append(torch.stack(rows))
    error = ((means[0].var(0) + means[1].var(0)) / 20).sqrt()
    assert ((means[0].mean(0) - means[1].mean(0)).abs() < 5 * error + 1e-12).all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="Refinement: draws come in pairs"):
        Refinement(draws=3)
    with pytest.raises(ValueError, match="Refinement: steps"):
        Refinement(steps=0)
    with pytest.raises(ValueError, match="Refinement: step_size"):
        Refinement(step_size=0)


@pytest.mark.usefixtures("unchecked")
def test_a_posterior_without_raw_numbers_is_refused() -> None:
    prior = StandardNormal(L)
    with pytest.raises(TypeError, match=r"SemiAmortised: posterior must be a NetworkConditional.*got FromPrior"):
        SemiAmortised(FromPrior(prior), prior, small().likelihood)  # type: ignore[arg-type]


def test_each_step_has_numbers_of_its_own_in_pairs_around_the_mean() -> None:
    cpu = torch.device("cpu")
    first, again, other = (_Common(step, 6, cpu).normal((6, B, L), 1) for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert_close(first.mean(0), torch.zeros(B, L))
    assert_close(first.square().mean(0), torch.ones(B, L))
    assert torch.equal(first, first[:, :1].expand(6, B, L))
    uniform = _Common(0, 6, cpu).uniform((6, B, L), 1)
    assert_close(uniform[:3] + uniform[3:], torch.ones(3, B, L))
    assert (uniform < 1).all()


def test_no_step_is_longer_than_the_clip_allows() -> None:
    x, ends = 1.5 * Noise(1).normal((B, D)), []
    for clip in (1e6, 2.0, 0.5):
        model, _ = linear_gaussian(Refinement(1, 0.05, clip=clip))
        with torch.no_grad():
            start, end = model.posterior(x), model.refined(x)
            assert isinstance(start, DiagonalGaussian) and isinstance(end, DiagonalGaussian)
            steps = torch.cat([end.loc - start.loc, end.log_scale - start.log_scale], 1).norm(dim=1)
        assert (steps <= 0.05 * clip + 1e-12).all()
        ends.append((end.loc, steps))
    free, held, short = (steps for _, steps in ends)
    assert (free > 0.05 * 0.5).all()  # so that the clip is at work
    assert_close(short, torch.full((B,), 0.05 * 0.5))
    assert_close(held, free.clamp_max(0.05 * 2.0))
    assert not torch.allclose(ends[1][0], ends[2][0])
