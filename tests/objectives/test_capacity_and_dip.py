"""Controlled capacity, and the covariance of the code."""

import numpy as np
import pytest
import torch
from latents import passed, posterior, told
from torch.testing import assert_close

from fourfold.distributions import Bernoulli, DiagonalGaussian
from fourfold.noise import Noise
from fourfold.objectives import DIP, ELBO, Capacity, Linear
from fourfold.trace import Trace

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def test_the_gap_is_of_the_batch_mean() -> None:
    trace = passed(posterior(6, 3))
    rate = ELBO()(trace).parts["rate"].value
    c = float(rate.mean()) + 0.25  # single data lie on both sides: their own gaps have another mean
    terms = Capacity(100.0, c)(trace)
    assert (rate > c).any() and (rate < c).any()
    assert_close(terms.parts["capacity_gap"].value, torch.full_like(rate, 0.25), rtol=1e-5, atol=1e-5)
    assert_close(terms.total, trace.log_likelihood.mean(0) - 25, rtol=1e-5, atol=1e-4)
    assert_close(terms.parts["rate"].value, rate, **EXACT)
    assert terms.parts["rate"].weight == 0 and float(terms.parts["capacity_gap"].weight) == -100


@pytest.mark.parametrize(("c", "sign"), [(0.0, -1), (100.0, 1)])
def test_below_c_the_rate_is_pushed_up_and_above_it_down(c: float, sign: int) -> None:
    q = posterior(4, 2)
    q.loc.requires_grad_()
    trace = passed(q)
    rate = ELBO()(trace).parts["rate"].value.sum()
    up = torch.autograd.grad(rate, q.loc, retain_graph=True)[0]
    found = torch.autograd.grad(Capacity(7.0, c)(trace).total.mean(), q.loc)[0]
    assert_close(found, sign * 7.0 * up / 4, **EXACT)


def test_c_follows_its_schedule() -> None:
    objective = Capacity(10.0, Linear(0.5, 25, 100))
    assert objective.capacity.item() == 0.5
    objective.advance(50)
    assert objective(passed(posterior(4, 2))).parts["capacity"].value.tolist() == [12.75] * 4
    assert not objective.settled(50, 100) and objective.settled(100, 200)


def test_a_model_without_latents_has_no_capacity() -> None:
    one = passed(posterior(4, 2))
    with pytest.raises(ValueError, match="Capacity: a model without latents"):
        Capacity(1.0, 1.0)(Trace(one.x, one.p_x, one.log_likelihood, ()))


@pytest.mark.parametrize("kind", ["i", "ii"])
@pytest.mark.parametrize(("n", "latents"), [(7, 3), (3, 7)])
def test_the_covariance_is_over_the_batch_and_divided_by_it(kind: str, n: int, latents: int) -> None:
    loc, log_scale = (Noise(0, stream=s).normal((n, latents), dtype=torch.float64) for s in ("loc", "scale"))
    trace = passed(DiagonalGaussian(loc, 0.3 * log_scale))
    c = np.cov(loc.numpy(), rowvar=False, bias=True)
    if kind == "ii":
        for i in range(latents):
            c[i, i] += np.mean(np.exp(0.6 * log_scale.numpy()[:, i]))
    apart = sum(c[i, j] ** 2 for i in range(latents) for j in range(latents) if i != j)
    away = sum((c[i, i] - 1) ** 2 for i in range(latents))
    terms = DIP(2.0, 5.0, kind)(trace)
    assert_close(terms.parts["off_diagonal"].value, torch.full((n,), apart, dtype=torch.float64), **EXACT)
    assert_close(terms.parts["diagonal"].value, torch.full((n,), away, dtype=torch.float64), **EXACT)
    assert_close(terms.total, ELBO()(trace).total - 2 * apart - 5 * away, **EXACT)


def test_a_whitened_code_is_not_fined() -> None:
    loc = Noise(0).normal((50, 3), dtype=torch.float64)
    loc = loc - loc.mean(0)
    white = loc @ torch.linalg.inv(torch.linalg.cholesky(loc.T @ loc / 50)).T
    trace = told(white[None], DiagonalGaussian(white, torch.zeros_like(white)))
    assert_close(DIP()(trace).total, ELBO()(trace).total, **EXACT)
    assert (DIP(kind="ii")(trace).parts["diagonal"].value > 2.9).all()  # z itself has variance 2


def test_kind_two_needs_variances() -> None:
    q = Bernoulli(Noise(0).normal((4, 3)))
    z = torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match=r"diagonal Gaussian posterior, got Bernoulli.*Take kind 'i'"):
        DIP(kind="ii")(told(z, q))
    with pytest.raises(ValueError, match="kind"):
        DIP(kind="iii")


@pytest.mark.parametrize("objective", [Capacity(3.0, 2.0), DIP(), DIP(kind="ii")])
def test_they_belong_to_the_batch_and_validate_with_the_weights_of_training(objective: Capacity | DIP) -> None:
    assert objective.batch_statistic
    trace = passed(posterior(5, 2))
    assert torch.equal(objective.train()(trace).total, objective.eval()(trace).total)
