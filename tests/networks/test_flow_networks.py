"""Flows as maps: who sees whom, in which order, and where they start."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from zuko.lazy import LazyTransform

from fourfold.networks import affine, gated, splines
from fourfold.noise import Noise

D = 5


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def jacobian(flow: LazyTransform, h: Tensor | None = None) -> Tensor:
    return torch.autograd.functional.jacobian(flow(h), Noise(0).normal((D,)))


def dependencies(jacobian: Tensor) -> Tensor:
    return jacobian.abs() > 1e-14


LOWER = torch.ones(D, D).tril().bool()


@pytest.mark.parametrize("make", [gated, affine])
def test_each_step_is_triangular_and_the_order_is_reversed(make, double):
    """Every element sees all before it and none after; the second step the other way round."""
    flow = make(D, 2, steps=3, hidden=(24, 24))
    h = torch.ones(2)
    first, second, third = (dependencies(jacobian(step, h)) for step in flow.transforms)
    assert first.equal(LOWER) and second.equal(LOWER.T) and third.equal(LOWER)
    assert dependencies(jacobian(flow, h)).all()


def test_couplings_change_places(double):
    flow = splines(4, steps=2, hidden=(24,))
    first, second = (
        dependencies(torch.autograd.functional.jacobian(step(None), Noise(0).normal((4,)))) for step in flow.transforms
    )
    halves = torch.eye(4).bool()
    halves[2:, :2] = True
    assert first.equal(halves) and second.equal(halves.flip(0, 1))


@pytest.mark.parametrize("make", [gated, affine, splines])
def test_every_element_sees_all_of_the_context(make, double):
    flow, z = make(D, 3, steps=2, hidden=(24, 24)), Noise(1).normal((D,))
    by_h = torch.autograd.functional.jacobian(lambda h: flow(h)(z), torch.ones(3))
    assert (by_h.abs() > 1e-14).all()
    one = torch.autograd.functional.jacobian(lambda h: flow.transforms[1](h)(z), torch.ones(3))
    assert (one.abs() > 1e-14).all()  # the order of the context is not reversed: no step's first element is without it


def test_flows_start_near_the_identity(double):
    z = Noise(2).normal((1000, D))
    for flow in (affine(D), affine(D, mean_only=True), splines(D)):
        assert (flow(None)(z) - z).abs().max() < 0.3
    gates = gated(D, steps=1)(None)
    assert_close(
        gates.call_and_ladj(z)[1], torch.full((1000,), D * torch.tensor(2.0).sigmoid().log()), atol=0.2, rtol=0
    )
    assert (gates(z) - torch.tensor(2.0).sigmoid() * z).abs().max() < 0.1


def test_a_shift_keeps_volumes(double):
    z = Noise(3).normal((7, D))
    moved, log_det = affine(D, mean_only=True)(None).call_and_ladj(z)
    assert not moved.equal(z) and (log_det == 0).all()


@pytest.mark.parametrize("make", [gated, affine, splines])
def test_wrong_sizes_are_named(make):
    with pytest.raises(ValueError, match="flow: steps must be an integer of at least 1, got 0"):
        make(D, steps=0)
    with pytest.raises(ValueError, match="flow: hidden must be positive"):
        make(D, hidden=(0,))
    with pytest.raises(ValueError, match="flow: activation: unknown"):
        make(D, activation="step")


@pytest.mark.slow
def test_the_compiler_captures_a_flow_whole(fresh_python):
    fresh_python(
        """
import torch
from fourfold.networks import gated, splines
from fourfold.noise import Replay
from fourfold.posteriors import iaf
from fourfold.priors import AutoregressiveFlow, CouplingFlow

def check(loss, modules, *given):
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    parameters = [p for module in modules for p in module.parameters()]
    found, wanted = compiled(*given), loss(*given)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters))

for flow in (gated, splines):
    q = iaf(torch.nn.Linear(6, 11), (6,), 4, flow=flow, context=3)
    def loss(x, epsilon):
        z, log_q = q(x).sample_with_log_prob(Replay((epsilon,)), 2)
        return (z.square().sum(-1) + log_q).mean()
    check(loss, [q], torch.randn(5, 6), torch.randn(2, 5, 4))
for prior in (AutoregressiveFlow(4), CouplingFlow(4)):
    check(lambda z: prior().log_prob(z).mean(), [prior], torch.randn(5, 4))
"""
    )
