"""Gradient estimators where p and q are made of the same numbers: the ladder, whose posterior contains its prior."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from fourfold.conditional import Conditional
from fourfold.distributions import DiagonalGaussian, Distribution
from fourfold.models import BottomUp, Climb, Hierarchy, Merging, TopDown
from fourfold.networks import BatchNorm
from fourfold.noise import Noise
from fourfold.objectives import CIWAE, ELBO, IWAE, MIWAE, Objective
from fourfold.priors import StandardNormal

pytestmark = pytest.mark.usefixtures("double")


class Row(Conditional):
    """N(a · context + b, s²), with numbers of its own for each datum: each row of a batch is an estimate of its own."""

    def __init__(self, n: int, a: float, b: float, s: float) -> None:
        super().__init__()
        self.a, self.b, self.s = (nn.Parameter(torch.full((n, 1), value)) for value in (a, b, s))

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        loc = self.a * context + self.b
        return DiagonalGaussian(loc, self.s.log().expand_as(loc))


def ladder(n: int) -> TopDown:
    """z₂ ~ N(0, 1), z₁ ~ N(.9 z₂ + .1, .8²), x ~ N(.7 z₁ − .1, 1); the way down of p is within q."""
    rungs = [
        Merging((1,), StandardNormal(1), Row(n, 0.2, 0.1, 0.9)),
        Merging((1,), Row(n, 0.9, 0.1, 0.8), Row(n, 0.8, -0.2, 1.5)),
    ]
    return TopDown(Climb([nn.Identity()] * 2), rungs, Row(n, 0.7, -0.1, 1.0))


def bottom_up(n: int) -> BottomUp:
    posteriors = [Row(n, 0.5, 0.1, 0.7), Row(n, 0.5, -0.1, 0.7)]
    prior, p_x = StandardNormal(1), Row(n, 0.7, -0.1, 1.0)
    return BottomUp(posteriors, prior, [Row(n, 0.9, 0.1, 0.8)], p_x, [(1,)] * 2)


def gradients(model: Hierarchy, objective: Objective, seed: int) -> dict[str, Tensor]:
    """The gradient of each row's own numbers."""
    n = len(next(model.parameters()))
    trace = model(torch.full((n, 1), 1.3), draws=objective.draws, noise=Noise(seed))
    terms = objective(trace)
    surrogate = objective.surrogate(model, trace, terms)
    torch.testing.assert_close(surrogate, terms.total)  # the value is the bound's
    surrogate.sum().backward()
    return {name: parameter.grad.flatten() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("make", [ladder, bottom_up])
@pytest.mark.parametrize(
    "objective, estimator",
    [
        (partial(IWAE, 5), "dreg"),
        (partial(MIWAE, 2, 3), "dreg"),
        (partial(CIWAE, 0.3, 4, "monte_carlo"), "dreg"),
        (partial(ELBO, 0.7, 2, "monte_carlo"), "stl"),
    ],
)
def test_the_mean_gradient_is_that_of_the_bound(
    make: Callable[[int], Hierarchy], objective: Callable[..., Objective], estimator: str
) -> None:
    n = 30_000
    plain, other = gradients(make(n), objective(), 1), gradients(make(n), objective(estimator=estimator), 2)
    encoder = "guess" if make is ladder else "posteriors"
    for name in plain:
        a, b = plain[name], other[name]
        error = ((a.var() + b.var()) / n).sqrt()
        assert abs(a.mean() - b.mean()) < 4.5 * error, name
        if encoder in name:  # what only q has is found with less noise; what p and q share need not be
            assert b.std() < 0.7 * a.std(), name


def test_each_way_into_the_bound_has_its_weight() -> None:
    """The ladder's DReG by hand: Σ w̃² ∂z log w ∂z at fixed numbers, and Σ w̃ ∂ log p(x, z) at fixed z."""
    n, k = 6, 5
    found = gradients(ladder(n), IWAE(k, "dreg"), 1)
    model = ladder(n)
    x = torch.full((n, 1), 1.3)
    trace = model(x, draws=k, noise=Noise(1))
    z = tuple(level.z for level in trace.levels)
    share = trace.log_weight.detach().softmax(0)
    fixed = ladder(n).requires_grad_(False)
    path = torch.autograd.grad((share**2 * fixed.at(x, z).log_weight).sum(), [*model.parameters()], allow_unused=True)
    still = tuple(one.detach() for one in z)
    log_p = (share * model.at(x, still, q=False).log_joint).sum()
    direct = torch.autograd.grad(log_p, [*model.parameters()], allow_unused=True)
    both = set()
    for (name, _), one, other in zip(model.named_parameters(), path, direct, strict=True):
        parts = [part.flatten() for part in (one, other) if part is not None]
        torch.testing.assert_close(found[name], sum(parts))
        both |= {name} if len(parts) == 2 else set()
    assert both == {f"rungs.1.conditional.{name}" for name in "abs"}


class Normed(Conditional):
    """N(normalised context + b, e⁻⁰·³ I): every datum sees the whole batch, and every dimension itself alone."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm = BatchNorm(n)

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        loc = self.norm(context.flatten(0, -2)).reshape(context.shape) + 0.3
        return DiagonalGaussian(loc, torch.full_like(loc, -0.3))


def normed(n: int = 1) -> TopDown:
    rungs = [Merging((n,), StandardNormal(n), Normed(n)), Merging((n,), Normed(n), Normed(n))]
    return TopDown(Climb([nn.Identity()] * 2), rungs, Normed(n))


def test_where_data_see_each_other_weights_of_their_own_are_refused() -> None:
    x = Noise(0).normal((8, 1))
    for objective in (IWAE(3, "dreg"), MIWAE(2, 2, "dreg"), CIWAE(0.5, 3, estimator="dreg"), IWAE(3, "rws")):
        model = normed()
        trace = model(x, draws=objective.draws, noise=Noise(1))
        with pytest.raises(ValueError, match=f"{type(objective).__name__}: estimator '.*': batch normalisation"):
            objective.surrogate(model, trace, objective(trace))
        still = model.eval()(x, draws=objective.draws, noise=Noise(1))
        objective.surrogate(model, still, objective(still))


def test_sticking_the_landing_with_batch_statistics_has_the_mean_of_the_bound() -> None:
    """The score that it leaves out has mean zero whatever the statistics of the draws above are."""
    n, found = 20_000, []
    x = torch.tensor([[1.0], [-0.5], [0.2]]).expand(3, n)
    for seed, name in enumerate(("autograd", "stl")):
        model, objective = normed(n), ELBO(0.7, 2, "monte_carlo", name)
        trace = model(x, draws=2, noise=Noise(seed))
        objective.surrogate(model, trace, objective(trace)).sum().backward()
        found.append({key: one.grad for key, one in model.named_parameters()})
    for name, plain in found[0].items():
        error = ((plain.var() + found[1][name].var()) / n).sqrt()
        assert abs(plain.mean() - found[1][name].mean()) < 4.5 * error + 1e-12, name
        assert not torch.equal(plain, found[1][name])
