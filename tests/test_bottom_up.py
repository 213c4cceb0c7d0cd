"""A bottom-up posterior, z₁ ~ q(z₁ | x) and z₂ ~ q(z₂ | z₁): p(z₁ | z₂) is given a latent drawn after z₁."""

from math import log, pi

import pytest
import torch
from torch import Tensor

from fourfold.distributions import DiagonalGaussian
from fourfold.noise import Noise
from fourfold.objectives import ELBO, FreeBits
from fourfold.trace import Level, Trace


def _gaussian(loc: Tensor, variance: float) -> DiagonalGaussian:
    return DiagonalGaussian(loc, torch.full_like(loc, 0.5 * log(variance)))


def _trace(x: Tensor, draws: int, foreseen: bool = False) -> Trace:
    """z₂ ~ N(0, 1), z₁ ~ N(z₂, 1), x ~ N(z₁, 1), with the exact posteriors, so that log p(x) = log N(x; 0, 3)."""
    noise = Noise(0)
    q1 = _gaussian(2 * x / 3, 2 / 3)
    z1 = q1.sample(noise, draws)
    q2 = _gaussian(z1 / 2, 1 / 2)
    z2 = q2.sample(noise)
    p_x = _gaussian(z1, 1)
    levels = (Level(z2, q2, _gaussian(torch.zeros(1), 1)), Level(z1, q1, _gaussian(z2, 1), foreseen=foreseen))
    return Trace(x, p_x, p_x.log_prob(x), levels)


@pytest.fixture
def x(double: None) -> Tensor:
    return torch.tensor([[-1.5], [0.3], [2.0]])


def _evidence(x: Tensor) -> Tensor:
    return (-0.5 * (x.square() / 3 + log(2 * pi * 3))).squeeze(1)


def test_every_draw_gives_the_evidence(x: Tensor) -> None:
    trace = _trace(x, 5)
    torch.testing.assert_close(trace.log_weight, _evidence(x).expand(5, 3), rtol=0, atol=1e-12)
    total = ELBO(draws=5, kl="monte_carlo")(trace).total
    torch.testing.assert_close(total, _evidence(x), rtol=0, atol=1e-12)


def test_the_closed_form_is_taken_only_where_it_belongs_to_the_bound(x: Tensor) -> None:
    draws = 200_000
    trace = _trace(x, draws)
    top, bottom = trace.levels
    assert top.kl is not None and bottom.kl is None and bottom.kl_by_element is None
    each = trace.log_likelihood - top.kl - bottom.log_ratio
    error = each.std(0) / draws**0.5
    bound = ELBO(draws=draws)(trace).total
    assert ((bound - _evidence(x)).abs() < 4 * error).all()
    # What the flag keeps out: KL(q(z₁ | x) ‖ p(z₁ | z₂)) at a z₂ that was drawn given z₁ is off by nats, not by noise.
    wrong = ELBO(draws=draws)(_trace(x, draws, foreseen=True)).total
    assert ((wrong - _evidence(x)).abs() > 0.3).all()


def test_free_bits_of_parts_are_refused_where_there_is_no_rate_of_parts(x: Tensor) -> None:
    with pytest.raises(ValueError, match="per_dim_batchmean"):
        FreeBits(nats=0.1, kind="per_dim_batchmean")(_trace(x, 2))
