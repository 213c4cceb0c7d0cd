"""Gradient estimators: with the same mean as autograd where they should, with less noise, exact where they can be."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fourfold as ff
from fourfold.conditional import Conditional, NetworkConditional, Prior
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian, Distribution
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE, Generated, Model
from fourfold.models.base import Pick
from fourfold.networks import Dense
from fourfold.noise import Noise, NoiseSource
from fourfold.objectives import CIWAE, ELBO, IWAE, MIWAE, Estimator, Objective, dreg
from fourfold.posteriors import gaussian
from fourfold.priors import StandardNormal
from fourfold.trace import Level, Trace

N = 100_000
pytestmark = pytest.mark.usefixtures("double")


def gaussian_of(loc: Tensor, scale: float | Tensor) -> DiagonalGaussian:
    return DiagonalGaussian(loc, torch.as_tensor(scale).log().expand_as(loc))


class Free(nn.Module):
    """A value and a scale for each datum: batch row i is a draw of its own, and so is its gradient."""

    def __init__(self, n: int, **values: float) -> None:
        super().__init__()
        for name, value in values.items():
            setattr(self, name, nn.Parameter(torch.full((n, 1), value)))


class Toy(Model):
    """z₁ ~ N(μ₁(x), s₁), z₂ ~ N(a z₁ + b, s₂); p: z₂ ~ N(0, 1), z₁ ~ N(t z₂, 1), x ~ N(θ z₁, 1); or z₁ alone.

    With ``tied`` a is t, b is μ, and s₁ = s₂: nothing is the encoder's or the decoder's alone.
    """

    def __init__(self, n: int, levels: int = 1, tied: bool = False, fined: bool = False) -> None:
        super().__init__()
        values = {"theta": 0.9, "mu": 0.2, "s": 0.7}
        if levels == 2:  # the exact posterior has μ = .76, s = .80, a = .44, b = 0, r = .86
            values |= {"mu": 0.6, "s": 0.75, "t": 0.6} | ({} if tied else {"a": 0.45, "b": -0.1, "r": 0.8})
        self.w = Free(n, **values)
        self.levels, self.tied, self.fined = levels, tied, fined

    latent_shapes = property(lambda self: ((1,),) * self.levels)

    def q1(self, x: Tensor) -> DiagonalGaussian:
        w = self.w
        return gaussian_of(w.mu * (w.theta if self.tied else 1), w.s)

    def q2(self, z1: Tensor) -> DiagonalGaussian:
        w = self.w
        a, b, r = (w.t, w.mu, w.s) if self.tied else (w.a, w.b, w.r)
        return gaussian_of(a * z1 + b, r)

    def _pass(self, x: Tensor, pick: Pick, q: bool = True) -> Trace:
        q1 = self.q1(x)
        z1 = pick(0, q1)
        p_x = gaussian_of(self.w.theta * z1, 1.0)
        prior = gaussian_of(torch.zeros_like(x), 1.0)
        if self.levels == 1:
            levels = (Level(z1, q1, prior),)
        else:
            q2 = self.q2(z1)
            z2 = pick(1, q2)
            levels = (Level(z2, q2, prior), Level(z1, q1, gaussian_of(self.w.t * z2, 1.0)))
        penalties = {"fine": (self.w.mu * z1).squeeze(-1).square().mean(0)} if self.fined else {}
        return Trace(x, p_x, p_x.log_prob(x.expand_as(p_x.mean)), levels, penalties=penalties)

    def forward(self, x, c=None, draws=1, noise: NoiseSource | None = None, mask=None) -> Trace:
        source = noise or Noise(0)
        first = lambda q: q.sample(source, draws)  # noqa: E731
        return self._pass(x, lambda i, q: first(q) if i == 0 else q.sample(source))

    def at(self, x, z, c=None, q=True, mask=None) -> Trace:
        return self._pass(x, lambda i, q: z[::-1][i], q)  # levels run from top to bottom, q from bottom to top

    def infer(self, x, c, pick, mask=None) -> Trace:
        return self._pass(x, pick)

    def generate(self, n, c, pick) -> Generated:
        raise NotImplementedError


def gradients(model: Toy, objective: Objective, seed: int = 1) -> dict[str, Tensor]:
    """The gradient of each row's own parameters, ``(N,)`` each: N independent estimates."""
    x = torch.full((len(model.w.mu), 1), 1.3)
    trace = model(x, draws=objective.draws, noise=Noise(seed))
    objective.surrogate(model, trace, objective(trace)).sum().backward()
    return {name: parameter.grad.flatten() for name, parameter in model.w.named_parameters()}  # type: ignore[union-attr]


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item() / len(values) ** 0.5


def agree(a: Tensor, b: Tensor) -> bool:
    (x, e), (y, f) = mean_and_error(a), mean_and_error(b)
    return abs(x - y) < 4 * (e**2 + f**2) ** 0.5 + 1e-12


def test_the_toy_of_the_reference() -> None:
    """The fact sheet's table, §0.5: K = 8, θ = .9, x = 1.3, μ = .2, σ = .7; the gradient in μ."""
    found = {
        name: mean_and_error(gradients(Toy(N), IWAE(8, estimator, biased=estimator == "stl"))["mu"])
        for name, estimator in (("autograd", "autograd"), ("dreg", "dreg"), ("stl", "stl"))
    }
    assert found["autograd"][0] == pytest.approx(0.1659, abs=4 * found["autograd"][1])
    assert found["dreg"][0] == pytest.approx(0.1656, abs=8e-4)
    assert found["stl"][0] == pytest.approx(0.8899, abs=1e-3)
    spreads = {name: error * N**0.5 for name, (_, error) in found.items()}
    assert spreads == pytest.approx({"autograd": 0.626, "dreg": 0.062, "stl": 0.080}, rel=0.05)


@pytest.mark.parametrize(
    ("levels", "tied", "fined"),
    [(1, False, False), (2, False, False), (1, True, False), (2, True, False), (1, False, True)],
    ids=["one", "two", "one-shared", "two-shared", "one-with-a-penalty"],
)
@pytest.mark.parametrize("make", [partial(IWAE, 6), partial(MIWAE, 2, 3), partial(CIWAE, 0.2, 4, "monte_carlo")])
def test_dreg_agrees_with_autograd_in_the_mean(
    make: Callable[..., Objective], levels: int, tied: bool, fined: bool
) -> None:
    n = 60_000
    plain = gradients(Toy(n, levels, tied, fined), make())
    other = gradients(Toy(n, levels, tied, fined), make(estimator="dreg"), seed=2)
    for name in plain:
        assert agree(plain[name], other[name]), (name, mean_and_error(plain[name]), mean_and_error(other[name]))
        assert mean_and_error(other[name])[1] < abs(other[name].mean()), f"{name}: nothing to compare"


@pytest.mark.parametrize("levels", [1, 2])
def test_dreg_has_a_fifth_of_the_spread_on_the_encoder(levels: int) -> None:
    plain, other = (gradients(Toy(8_000, levels), IWAE(64, name)) for name in ("autograd", "dreg"))
    for name in ("mu", "s", *(("a", "b", "r") if levels == 2 else ())):
        assert 5 * other[name].std() < plain[name].std(), (name, plain[name].std(), other[name].std())


def test_several_levels_and_one_take_the_same_gradient() -> None:
    """The general way and the short one, on one level, where both are right: the same numbers, draw by draw."""
    x = torch.full((50, 1), 1.3)
    for beta in (1.0, 0.3):
        found = []
        for way in ("_at_once", "_in_parts"):
            model = Toy(50)
            trace = model(x, draws=4, noise=Noise(1))
            share = trace.log_weight.detach().softmax(0)
            getattr(ff.objectives.estimators, way)(model, trace, share, share**2, None, beta).sum().backward()
            found.append([parameter.grad for parameter in model.parameters()])
        assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2])
def test_the_weights_of_the_three_terms_by_hand(levels: int) -> None:
    """DReG(α) on μ, which enters z alone: Σ (α w̃ + (1 − 2α) w̃²) ∂z log w; and θ gets w̃."""
    x, n = torch.full((7, 1), 1.3), 7
    for alpha in (0.0, 0.25, 1.0):
        found = gradients(Toy(n, levels), IWAE(5, dreg(alpha)))
        model = Toy(n, levels)
        trace = model(x, draws=5, noise=Noise(1))
        zs = [level.z.detach().requires_grad_() for level in trace.levels]
        again = model.at(x, tuple(zs))
        log_weight = again.log_weight
        share = log_weight.detach().softmax(0)
        z1 = zs[-1]
        slopes = torch.autograd.grad(log_weight.sum(), zs, retain_graph=True)
        along = slopes[-1] + (0 if levels == 1 else model.w.a * slopes[0])  # z₂ moves with z₁
        weight = alpha * share + (1 - 2 * alpha) * share**2
        assert_close(found["mu"], (weight * along.squeeze(-1)).sum(0))
        residual = ((x - model.w.theta * z1) * z1).squeeze(-1)
        assert_close(found["theta"], (share * residual).sum(0))
        if levels == 2:
            assert_close(found["b"], (weight * slopes[0].squeeze(-1)).sum(0))


def test_stl_on_the_elbo_has_the_mean_of_autograd_and_keeps_beta() -> None:
    for beta in (1.0, 2.5):
        plain, other = (
            gradients(Toy(60_000, 2), ELBO(beta, 3, "monte_carlo", name), seed)
            for seed, name in enumerate(("autograd", "stl"))
        )
        for name in plain:
            assert agree(plain[name], other[name]), name


def wake(model: Toy, trace: Trace, share: Tensor) -> dict[str, Tensor]:
    """Σ w̃ log p(x, z) + Σ w̃ log q(z) at fixed z, differentiated as it stands."""
    fixed = model.at(trace.x, tuple(level.z.detach() for level in trace.levels))
    log_q = sum(level.log_q for level in fixed.levels)
    grads = torch.autograd.grad((share * (fixed.log_joint + log_q)).sum(), list(model.w.parameters()))
    return {name: grad.flatten() for (name, _), grad in zip(model.w.named_parameters(), grads, strict=True)}


@pytest.mark.parametrize(("levels", "tied"), [(1, False), (2, False), (1, True), (2, True)])
def test_reweighted_wake_sleep_ascends_the_log_posterior(levels: int, tied: bool) -> None:
    model = Toy(9, levels, tied)
    trace = model(torch.full((9, 1), 1.3), draws=5, noise=Noise(1))
    wanted = wake(model, trace, trace.log_weight.detach().softmax(0))
    objective = IWAE(5, "rws")
    objective.surrogate(model, trace, objective(trace)).sum().backward()
    for name, parameter in model.w.named_parameters():
        assert_close(parameter.grad.flatten(), wanted[name], rtol=1e-10, atol=1e-12)  # type: ignore[union-attr]


def test_wake_phi_is_dreg_with_alpha_one_in_the_mean() -> None:
    plain, other = (gradients(Toy(N), IWAE(8, estimator)) for estimator in ("rws", dreg(1.0)))
    for name in ("mu", "s"):
        assert agree(plain[name], other[name]), (name, mean_and_error(plain[name]), mean_and_error(other[name]))
    assert plain["mu"].mean() > 0.3  # q is too far left of the posterior (about .65): it has to move right


class Exact(Conditional):
    """The exact posterior of ``Toy``'s x | z with parameters that gradients can be asked for."""

    def __init__(self) -> None:
        super().__init__()
        precision = 1 + 0.9**2
        self.slope = nn.Parameter(torch.full((1, 1), 0.9 / precision))
        self.log_scale = nn.Parameter(torch.full((1,), -0.5).mul(torch.tensor(precision).log()))

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return DiagonalGaussian(context @ self.slope, self.log_scale.expand_as(context))


class Given(Conditional):
    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return gaussian_of(0.9 * context, 1.0)


def test_at_the_exact_posterior_sticking_the_landing_has_no_gradient() -> None:
    x = Noise(0).normal((40, 1))
    evidence = gaussian_of(torch.zeros_like(x), (1 + 0.9**2) ** 0.5).log_prob(x)

    def gradient(objective: Objective) -> Tensor:
        model = VAE(Exact(), StandardNormal(1), Given())
        trace = model(x, draws=objective.draws, noise=Noise(1))
        terms = objective(trace)
        if not isinstance(objective, ELBO):
            assert_close(terms.total, evidence, rtol=1e-10, atol=1e-10)
        objective.surrogate(model, trace, terms).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])  # type: ignore[union-attr]

    exact = [ELBO(estimator="stl"), ELBO(draws=5, estimator="stl"), IWAE(1, "stl"), IWAE(4, "dreg")]
    for objective in (*exact, MIWAE(2, 3, "dreg"), IWAE(3, dreg(0.5))):
        assert gradient(objective).abs().max() < 1e-12
    for objective in (ELBO(), ELBO(kl="monte_carlo"), IWAE(4)):
        assert gradient(objective).abs().max() > 1e-3  # zero in the mean only


class Pseudo(Prior):
    """An equal mixture of two q(z | uᵢ): a VampPrior in small, with the encoder's own parameters."""

    event = (2,)

    def __init__(self, posterior: Conditional) -> None:
        super().__init__()
        self.posterior = posterior
        self.inputs = nn.Parameter(Noise(5).uniform((2, 4)))

    def forward(self, c: Tensor | None = None) -> Distribution:
        return _Mixture(self.posterior(self.inputs))


class _Mixture(Distribution):
    def __init__(self, parts: Distribution) -> None:
        self.parts = parts

    lead_shape = property(lambda self: ())
    event_shape = property(lambda self: (2,))
    mean = property(lambda self: self.parts.mean.mean(0))

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.parts.log_prob(x.unsqueeze(-2)).logsumexp(-1) - torch.tensor(2.0).log()

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        raise NotImplementedError

    def expand(self, lead):
        return self


def test_a_prior_that_shares_the_encoder_gets_its_share() -> None:
    """Mean gradients over repeated data, every parameter; the prior's use of the encoder is a direct term."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q = gaussian(partial(Dense, hidden=()), (4,), 2)
        p_x = bernoulli(partial(Dense, hidden=()), (2,), (4,))
    model = VAE(q, Pseudo(q), p_x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    x = torch.tensor([[1.0, 0, 1, 1]])

    def estimates(name: str) -> Tensor:
        rows = []
        for step in range(40):
            model.zero_grad()
            objective = IWAE(4, name)
            trace = model(x.expand(2_000, 4), draws=4, noise=Noise(0, step=step))
            objective.surrogate(model, trace, objective(trace)).mean().backward()
            rows.append(torch.cat([one.grad.flatten() for one in model.parameters()]))  # type: ignore[union-attr]
        return torch.stack(rows)

    plain, other = estimates("autograd"), estimates("dreg")
    error = ((plain.var(0) + other.var(0)) / len(plain)).sqrt()
    assert ((plain.mean(0) - other.mean(0)).abs() < 4.5 * error + 1e-12).all()
    assert (other.mean(0).abs() > 4 * error).sum() > len(error) / 2


def test_flows_are_refused_by_name() -> None:
    class Flow(Conditional):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(5, 6)

        def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
            return _Flow(*self.net(context).chunk(2, -1))

    class _Flow(DiagonalGaussian):
        def detached(self):
            return Distribution.detached(self)

    p_x = NetworkConditional(nn.Linear(3, 5), ff.distributions.BernoulliHead(5), 3)
    model, x = VAE(Flow(), StandardNormal(3), p_x), torch.ones(2, 5)
    for objective in (IWAE(3, "dreg"), ELBO(estimator="stl"), CIWAE(0.5, 3, estimator="dreg")):
        trace = model(x, draws=objective.draws, noise=Noise(0))
        with pytest.raises(ValueError, match=r"_Flow: its log q\(z\) at fixed parameters.*Take IWAE or the ELBO"):
            objective.surrogate(model, trace, objective(trace))


def test_a_frozen_encoder_leaves_the_decoders_gradient_alone() -> None:
    model = ff.recipes.vae(latent=3, hidden=(4,)).build(DataSpec((5,), 2, None)).model.double()
    model.posterior.requires_grad_(False)
    found = []
    for name in ("autograd", "dreg", "rws"):
        model.zero_grad()
        objective, trace = IWAE(3, name), model(torch.ones(2, 5), draws=3, noise=Noise(0))
        objective.surrogate(model, trace, objective(trace)).sum().backward()
        found.append([parameter.grad.clone() for parameter in model.likelihood.parameters()])
    assert_close(found[0], found[1])
    assert_close(found[0], found[2])


def test_an_estimator_has_a_path_or_a_score() -> None:
    with pytest.raises(ValueError, match="a path or a score"):
        Estimator("mine", constant=1.0, score=1.0)
