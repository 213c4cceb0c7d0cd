"""Importance-weighted bounds: their values, their counts, and what they refuse."""

from itertools import pairwise
from math import log

import numpy as np
import pytest
import torch
from test_linear_gaussian import data, known
from torch import Tensor
from torch.testing import assert_close

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian
from fourfold.noise import Noise, Recorder
from fourfold.objectives import CIWAE, ELBO, IWAE, MIWAE, Linear, Objective, dreg
from fourfold.trace import Trace

MODEL = ff.recipes.vae(latent=3, hidden=(8,)).build(DataSpec((5,), 2, None)).model
X = torch.tensor([[0.0, 1, 1, 0, 1], [1, 1, 0, 0, 0]])


def trace(draws: int) -> Trace:
    return MODEL(X, draws=draws, noise=Noise(0))


def written_out(log_weight: Tensor, outer: int, inner: int) -> np.ndarray:
    """(1/M) Σ log (1/K) Σ w, without a logsumexp."""
    weight = np.exp(log_weight.detach().double().numpy()).reshape(outer, inner, -1)
    return np.log(weight.mean(1)).mean(0)


@pytest.mark.parametrize("estimator", ["autograd", "dreg", "rws"])
@pytest.mark.parametrize(
    ("objective", "outer", "inner"), [(IWAE, 1, 6), (MIWAE, 2, 3), (MIWAE, 3, 2)], ids=["iwae6", "miwae23", "miwae32"]
)
def test_the_value_is_the_bound_whatever_the_estimator(objective, outer: int, inner: int, estimator: str) -> None:
    made = objective(*([inner] if objective is IWAE else [outer, inner]), estimator=estimator)
    assert made.draws == 6
    one = trace(6)
    terms = made(one)
    wanted = written_out(one.log_weight, outer, inner)
    np.testing.assert_allclose(terms.total.detach().numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(made.surrogate(MODEL, one, terms).detach().numpy(), wanted, rtol=1e-5)
    plain = ELBO(draws=6)(one).parts
    for name in ("log_likelihood", "rate"):
        assert_close(terms.parts[name].value, plain[name].value)
        assert float(terms.parts[name].weight) == 0 and not terms.parts[name].value.requires_grad


def test_larger_weights_count_for_more() -> None:
    log_weight = torch.tensor([[-9.0], [-1.0], [-5.0]], requires_grad=True)
    made = IWAE(3)(Trace(log_weight, DiagonalGaussian(log_weight, log_weight), log_weight, ()))
    (found,) = torch.autograd.grad(made.total.sum(), log_weight)
    assert_close(found.flatten(), torch.tensor([-9.0, -1.0, -5.0]).softmax(0))
    assert -1 - log(3) < made.total.item() < -1


def test_ciwae_lies_between_its_bounds() -> None:
    one = trace(4)
    for beta in (0.0, 0.3, 1.0):
        found = CIWAE(beta, draws=4, kl="monte_carlo")(one)
        assert_close(
            found.total, beta * ELBO(kl="monte_carlo")(one).total + (1 - beta) * IWAE(4)(one).total, atol=1e-5, rtol=0
        )
        weights = {name: float(part.weight) for name, part in found.parts.items()}
        assert weights == pytest.approx({"log_likelihood": beta, "rate": -beta, "iwae": 1 - beta})
    assert_close(CIWAE(1.0, draws=4)(one).total, ELBO()(one).total)


@pytest.mark.parametrize("objective", [IWAE(7), MIWAE(2, 3), CIWAE(0.5, 5), ELBO(draws=4)])
def test_the_draws_asked_for_are_the_draws_made(objective: Objective) -> None:
    source = Recorder(Noise(0))
    made = MODEL(X, draws=objective.draws, noise=source)
    assert [request.shape for request in source.requests] == [(objective.draws, 2, 3)]
    assert made.log_weight.shape == (objective.draws, 2)
    assert len(source.tensors[0].flatten().unique()) == objective.draws * 2 * 3  # no number serves twice
    objective(made)


def test_a_trace_of_other_draws_is_refused() -> None:
    for objective in (IWAE(5), MIWAE(2, 3), CIWAE(0.5, 2)):
        with pytest.raises(ValueError, match=rf"{type(objective).__name__}: wanted a trace of {objective.draws} draws"):
            objective(trace(4))


def test_sticking_the_landing_is_refused_for_more_draws_or_says_what_it_is() -> None:
    for make in (lambda **more: IWAE(2, "stl", **more), lambda **more: MIWAE(1, 2, "stl", **more)):
        with pytest.raises(ValueError, match=r"biased for more than one draw.*dreg"):
            make()
        named = set(make(biased=True)(trace(2)).parts)
        assert any(name.endswith("(biased gradient)") for name in named) and "iwae" not in named
    assert "iwae" in IWAE(1, "stl")(trace(1)).parts
    assert "miwae" in MIWAE(4, 1, "stl")(trace(4)).parts


def test_an_encoder_that_leaves_the_bound_is_named() -> None:
    assert "iwae (encoder ascends wake-phi, no bound)" in IWAE(2, "rws")(trace(2)).parts
    assert "iwae (encoder ascends DReG(0.5), no bound)" in IWAE(2, dreg(0.5))(trace(2)).parts
    assert "iwae" in IWAE(2, dreg(0))(trace(2)).parts


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"IWAE: estimator.*'derg'.*autograd, dreg, one-backward, rws, stl"):
        IWAE(2, "derg")
    with pytest.raises(ValueError, match=r"ELBO: estimator.*autograd, stl"):
        ELBO(estimator="dreg")
    with pytest.raises(ValueError, match=r"CIWAE: beta must be from 0 to 1, got 1.5"):
        CIWAE(1.5)
    with pytest.raises(ValueError, match=r"CIWAE: beta must be from 0 to 1"):
        CIWAE(Linear(0, 2, 10)).advance(10)
    with pytest.raises(ValueError, match=r"CIWAE: rws has no part for the ELBO"):
        CIWAE(0.5, 2, estimator="rws")
    with pytest.raises(ValueError, match="IWAE: draws"):
        IWAE(0)
    with pytest.raises(ValueError, match="MIWAE: inner"):
        MIWAE(2, 0)
    with pytest.raises(ValueError, match="dreg: alpha"):
        dreg(1.5)


def test_a_point_posterior_has_no_bound() -> None:
    point = ff.recipes.autoencoder(latent=3).build(DataSpec((5,), 2, None)).model
    for objective in (IWAE(2), MIWAE(1, 2), CIWAE(0.5, 2)):
        with pytest.raises(ValueError, match=r"Point has no density.*Reconstruction"):
            objective(point(X, draws=2, noise=Noise(0)))


@pytest.mark.usefixtures("double")
def test_the_exact_posterior_makes_every_bound_the_evidence() -> None:
    case, x = known(torch.float64), data()
    evidence = case.evidence(x)
    for objective in (IWAE(1), IWAE(7), MIWAE(3, 4), CIWAE(0.4, 5)):
        found = objective(case.model(x, draws=objective.draws, noise=Noise(2))).total
        assert_close(found, evidence, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("double")
def test_no_bound_exceeds_the_evidence_and_each_is_where_it_belongs() -> None:
    """Of a blurred posterior: ELBO < CIWAE(8) < IWAE(8), IWAE climbs with K, MIWAE(4, 2) is a calmer IWAE(2)."""
    case, x = known(torch.float64, shift=0.1, blur=1.5), data(1)
    n = 20_000

    def bound(objective: Objective) -> Tensor:
        with torch.no_grad():
            return objective(case.model(x.expand(n, x.shape[1]), draws=objective.draws, noise=Noise(3))).total

    evidence = case.evidence(x)[0]
    chain = [bound(one) for one in (ELBO(draws=8), CIWAE(0.5, 8), IWAE(8), IWAE(32))]
    climb = [bound(one) for one in (IWAE(1), IWAE(2), IWAE(4), IWAE(8), IWAE(32))]
    for row in (chain, climb):
        means = [one.mean() for one in row]
        assert all(a < b for a, b in pairwise(means))
        assert all(one.mean() < evidence + 4 * one.std() / n**0.5 for one in row)
    grouped, plain = bound(MIWAE(4, 2)), climb[1]
    assert abs(grouped.mean() - plain.mean()) < 4 * plain.std() / n**0.5
    assert grouped.std().item() == pytest.approx(plain.std().item() / 2, rel=0.05)
