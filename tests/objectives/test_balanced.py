"""KL balancing: the published weights, constants of a step, and gone where β is 1."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fourfold.distributions import DiagonalGaussian
from fourfold.objectives import ELBO, Balanced, Linear
from fourfold.trace import Level, Trace

B = 6


@pytest.fixture
def rates(double: None) -> Tensor:
    """KL of three groups for each datum, in nats."""
    return torch.tensor([[4.0], [0.5], [0.25]]) * torch.linspace(0.5, 1.5, B)


def trace(rates: Tensor) -> Trace:
    """Unit normals whose means are as far from 0 as these rates ask for."""
    levels = []
    for each in rates:
        q = DiagonalGaussian((2 * each)[:, None].sqrt(), torch.zeros(B, 1))
        levels.append(Level(q.mean[None], q, DiagonalGaussian(torch.zeros(1), torch.zeros(1), standard=True)))
    p_x = DiagonalGaussian(torch.zeros(1, B, 1), torch.zeros(1, B, 1))
    return Trace(torch.zeros(B, 1), p_x, p_x.log_prob(torch.zeros(B, 1)), tuple(levels))


def test_alpha_is_that_of_the_published_configuration() -> None:
    assert Balanced((5, 10)).alpha.tolist() == [1.0] * 5 + [2.0] * 10
    assert Balanced((30,)).alpha.tolist() == [1.0] * 30
    assert_close(Balanced((1, 2, 8)).alpha, torch.tensor([1.0] + [2.0] * 2 + [2.0] * 8))


def test_the_weights_are_the_formula_at_the_rates_of_the_step_before(rates: Tensor) -> None:
    objective = Balanced((1, 2), beta=0.5)
    first = objective(trace(rates))
    assert_close(objective.weights, torch.tensor([3 / 2, 3 / 4, 3 / 4]))  # of 1/α alone, for α = 1, 2, 2
    objective.after_step(first.summary)
    share = (torch.tensor([4.0, 0.5, 0.25]) + 0.01) / torch.tensor([1.0, 2.0, 2.0])
    gamma = 3 * share / share.sum()
    assert_close(objective.weights, gamma)
    terms = objective(trace(rates))
    wanted = terms.parts["log_likelihood"].value - 0.5 * (gamma[:, None] * rates).sum(0)
    assert_close(terms.total, wanted)
    assert_close(terms.parts["rate"].value, rates.sum(0))


def test_no_gradient_goes_through_the_weights(rates: Tensor) -> None:
    objective = Balanced((1, 2), beta=0.5)
    leaf = rates.requires_grad_()
    objective.after_step(objective(trace(leaf)).summary)
    found = torch.autograd.grad(objective(trace(leaf)).total.sum(), leaf)[0]
    assert_close(found, -0.5 * objective.weights[:, None].expand(3, B))


def test_where_beta_is_one_it_is_the_elbo(rates: Tensor) -> None:
    objective = Balanced((1, 2), beta=Linear(0.1, 1, 10))
    objective.after_step(objective(trace(rates)).summary)
    elbo = ELBO()(trace(rates)).total
    for step, same in ((9, False), (10, True)):
        objective.advance(step)
        total = objective(trace(rates)).total
        assert torch.allclose(total, elbo) is same
    assert objective.weights.tolist() == [1.0, 1.0, 1.0]


def test_another_number_of_groups_is_refused(rates: Tensor) -> None:
    with pytest.raises(ValueError, match="the model has 3 groups of latents, and 4 were told"):
        Balanced((2, 2))(trace(rates))
