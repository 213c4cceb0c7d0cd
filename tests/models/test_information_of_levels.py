"""What levels add: closed forms in linear-Gaussian hierarchies."""

from math import log

import numpy as np
import pytest
import torch
from test_hierarchy import bottom_up, flush, ladder

from fourfold.evaluation import Undecomposable
from fourfold.evaluation.batches import Part
from fourfold.evaluation.levels import level_information
from fourfold.noise import Noise


def batches(n: int = 3000, variance: float = 4.0) -> list[Part]:
    x = variance**0.5 * Noise(7).normal((n, 1), dtype=torch.float64)
    return [Part(part, None, None) for part in x.split(1000)]


def gaussian(squared_correlation: float) -> float:
    return -0.5 * log(1 - squared_correlation)


def test_a_chain_inferred_from_the_top(double: None) -> None:
    """x ~ N(0, 4) and z₃, z₂, z₁ have 1, 2, 3 of its variance: each adds what it has beyond those above."""
    found = level_information(ladder().eval(), batches(), Noise(0), 1500)
    known = [gaussian(1 / 4), gaussian(2 / 4), gaussian(3 / 4)]
    error = found.added.std(0) / len(found.added) ** 0.5
    assert (np.abs(found.added.mean(0) - np.diff([0.0, *known])) < 4 * error + 0.02).all()
    assert found.rates.mean(0).sum() == pytest.approx(known[2], abs=0.05) and not found.upward
    again = level_information(ladder().eval(), batches(), Noise(0), 1500, rows_per_chunk=10**6)
    np.testing.assert_allclose(again.added, found.added, atol=1e-9)


def test_a_chain_inferred_from_the_bottom(double: None) -> None:
    """Given z₁ the levels above know nothing of x."""
    found = level_information(bottom_up().eval(), batches(), Noise(0), 1500)
    assert np.abs(found.added[:, :2]).max() < 1e-9 and found.upward
    assert found.added.mean(0)[2] == pytest.approx(gaussian(3 / 4), abs=0.06)


def test_levels_that_say_the_same_add_less(double: None) -> None:
    """q(z | x) = N(x/3, 2/3) at both levels, x ~ N(0, 3): each knows as much, the second adds what is left."""
    found = level_information(flush().eval(), batches(variance=3.0), Noise(0), 1500)
    # z ~ x/3 + noise: signal 1/3, noise 2/3; of two such the mean has half the noise.
    one, both = 0.5 * log(1 + 1 / 2), 0.5 * log(1 + 1)
    assert found.added.mean(0) == pytest.approx([one, both - one], abs=0.05)


def test_what_cannot_be_told_is_refused(double: None) -> None:
    with pytest.raises(Undecomposable, match="given c"):
        level_information(ladder().eval(), [Part(torch.zeros(2, 1), torch.zeros(2, 1), None)], Noise(0))
    with pytest.raises(ValueError, match="no data"):
        level_information(ladder().eval(), [], Noise(0))
    with pytest.raises(ValueError, match="training mode"):
        level_information(ladder(), batches(10), Noise(0))
