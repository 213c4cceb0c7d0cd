"""The order of training: every row once a pass, one size, a pure function of seed and step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourfold.data import Order


@given(n=st.integers(1, 40), part=st.integers(1, 40), seed=st.integers(-3, 3))
def test_every_row_once_in_each_pass(n: int, part: int, seed: int):
    batch = min(n, part)
    order = Order(n, batch, seed)
    passes = 3
    batches = [order.indices(step) for step in range(-(-passes * n // batch))]
    assert {len(rows) for rows in batches} == {batch}
    stream = torch.cat(batches)[: passes * n].reshape(passes, n)
    assert stream.sort(dim=1).values.equal(torch.arange(n).expand(passes, n))


def test_a_step_does_not_depend_on_what_was_asked_before():
    forward = Order(103, 10, seed=5)
    seen = [forward.indices(step) for step in range(40)]
    for step in (39, 0, 25, 10, 11, 9):
        assert Order(103, 10, seed=5).indices(step).equal(seen[step])
        assert forward.indices(step).equal(seen[step])


def test_passes_and_seeds_differ():
    first, again = Order(1000, 1000, 0), Order(1000, 1000, 1)
    assert not first.indices(0).equal(first.indices(1))
    assert not first.indices(0).equal(again.indices(0))
    assert not first.indices(0).equal(torch.arange(1000))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    Order(50, 7, 0).indices(20)
    assert torch.get_rng_state().equal(before)


def test_steps_round_to_the_nearest_pass():
    order = Order(60_000, 128, 0)
    assert order.steps(1) == 469
    assert order.steps(20) == 9375
    assert order.steps(0.5) == 234
    assert order.steps(0) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((5, 6, 0), "at most the 5 rows"), ((0, 1, 0), "Order: n"), ((5, 0, 0), "Order: batch"), ((5, -2, 0), "batch")],
)
def test_sizes_that_mean_nothing_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Order(*arguments)


def test_negative_steps_and_epochs_are_refused():
    with pytest.raises(ValueError, match="step must be at least 0"):
        Order(5, 2, 0).indices(-1)
    with pytest.raises(ValueError, match="epochs"):
        Order(5, 2, 0).steps(-1)
