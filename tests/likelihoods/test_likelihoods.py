"""Likelihoods: the table that recipes and the command line choose from."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.distributions import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    check_support,
)
from fourfold.likelihoods import LIKELIHOODS, discretised_logistic_mixture, gaussian
from fourfold.networks import Dense
from fourfold.noise import Noise

WANTED = {
    "bernoulli": (Bernoulli, "binary", 1),
    "beta_binomial": (BetaBinomial, "levels", 2),
    "categorical": (Categorical, "levels", 256),
    "continuous_bernoulli": (ContinuousBernoulli, "unit", 1),
    "discretised_logistic": (DiscretisedLogistic, "levels", 2),
    "discretised_logistic_mixture": (DiscretisedLogisticMixture, "levels", 15),
    "gaussian": (DiagonalGaussian, "real", 1),
    "gaussian_element": (DiagonalGaussian, "real", 2),
    "gaussian_fixed": (DiagonalGaussian, "real", 1),
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_table_has_every_likelihood():
    assert set(LIKELIHOODS) == set(WANTED)


@pytest.mark.parametrize("data", [(6,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("condition", [None, (3,)], ids=str)
@pytest.mark.parametrize("name", WANTED)
def test_it_scores_and_makes_what_it_is_for(name, condition, data):
    family, support, count = WANTED[name]
    likelihood = LIKELIHOODS[name](partial(Dense, hidden=(8,)), (2,), data, condition)
    assert likelihood.support == support and likelihood.head.per_element == count
    z, c = Noise(0).normal((4, 5, 2)), None if condition is None else Noise(1).normal((5, 3))
    p = likelihood(z, c)
    assert isinstance(p, family) and p.lead_shape == (4, 5) and p.event_shape == data
    x = p.sample(Noise(2))
    check_support(x, support)
    log_p = p.log_prob(x[0])
    assert log_p.shape == (4, 5) and log_p.isfinite().all()
    log_p.sum().backward()
    assert all(q.grad is not None and q.grad.isfinite().all() for q in likelihood.parameters())


def test_scales_of_gaussians():
    raw = torch.zeros(1, 12)
    made = {name: LIKELIHOODS[name](nn.Identity(), (12,), (6,)) for name in ("gaussian_element",)}
    made |= {name: LIKELIHOODS[name](nn.Identity(), (6,), (6,)) for name in ("gaussian", "gaussian_fixed")}
    assert_close(made["gaussian_element"](raw).scale, torch.full((1, 6), 1.01))
    assert_close(made["gaussian"](raw[:, :6]).scale, torch.full((1, 6), 1.01))
    assert_close(made["gaussian_fixed"](raw[:, :6]).scale, torch.ones(1, 6))
    assert [len(list(made[name].parameters())) for name in made] == [0, 1, 0]
    assert_close(gaussian(nn.Identity(), (6,), (6,), scale=0.1)(raw[:, :6]).scale, torch.full((1, 6), 0.1))


def test_the_number_of_components_is_an_argument():
    likelihood = discretised_logistic_mixture(partial(Dense, hidden=()), (2,), (6,), components=3)
    assert likelihood(torch.zeros(1, 2)).logits.shape == (1, 3, 6)


def test_a_network_with_the_wrong_outputs_is_named():
    likelihood = LIKELIHOODS["gaussian_element"](nn.Linear(2, 6), (2,), (6,))
    with pytest.raises(
        ValueError, match=r"NetworkConditional: Linear gave \(6,\).*GaussianHead needs \(12,\): 12 numbers"
    ):
        likelihood(torch.zeros(1, 2))
