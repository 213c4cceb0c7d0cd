"""Flows as distributions: one pass and its inverse agree, volumes are counted, densities integrate to 1."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from zuko.transforms import DependentTransform, IdentityTransform

from fourfold.distributions import DiagonalGaussian, Distribution, FlowHead, PullBack, PushForward
from fourfold.networks import FlowFactory, affine, gated, splines
from fourfold.noise import Noise, Recorder

D, B, H = 4, 5, 3
FLOWS: dict[str, FlowFactory] = {
    "gated": partial(gated, hidden=(16, 16)),
    "affine": partial(affine, hidden=(16,)),
    "mean_only": partial(affine, hidden=(16,), mean_only=True),
    "splines": partial(splines, hidden=(16,), steps=3),
}
EVERY = pytest.mark.parametrize("name", FLOWS)
BOTH = pytest.mark.parametrize("orientation", [PushForward, PullBack])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@torch.no_grad()
def stirred(flow: nn.Module, by: float = 0.3) -> nn.Module:
    """The flow, moved far from the identity where it starts."""
    for i, parameter in enumerate(flow.parameters()):
        parameter.add_(by * Noise(7, stream=str(i)).normal(tuple(parameter.shape), dtype=parameter.dtype))
    return flow


def base(lead: tuple[int, ...], d: int = D) -> DiagonalGaussian:
    noise = Noise(0, stream="base")
    return DiagonalGaussian(0.5 * noise.normal((*lead, d)), 0.3 * noise.normal((*lead, d)) - 0.2)


def given(name: str, lead: tuple[int, ...], orientation: type, d: int = D, by: float = 0.3) -> PushForward | PullBack:
    """A flow with a context of its own for each datum, if there is a batch."""
    context = Noise(0, stream="h").normal((*lead[-1:], H)) if lead else None
    flow = stirred(FLOWS[name](d, H if lead else 0), by)
    return orientation(base(lead, d), flow(context))


@EVERY
@BOTH
@pytest.mark.parametrize("lead", [(), (B,), (2, B)], ids=str)
@pytest.mark.parametrize("d", [1, 2, D])
def test_a_draw_comes_with_the_density_that_inversion_finds(name, orientation, lead, d, double):
    q = given(name, lead, orientation, d)
    for draws in (None, 3):
        z, log_q = q.sample_with_log_prob(Noise(2), draws)
        front = () if draws is None else (3,)
        assert z.shape == (*front, *lead, d) and log_q is not None and log_q.shape == (*front, *lead)
        assert z.equal(q.sample(Noise(2), draws)) and z.dtype == log_q.dtype == torch.float64
        assert_close(log_q, q.log_prob(z), rtol=1e-8, atol=1e-8)
    assert q.lead_shape == lead and q.event_shape == (d,) and q.centre.shape == (*lead, d)


@EVERY
@BOTH
def test_the_change_of_variables_is_that_of_the_jacobian(name, orientation, double):
    q = given(name, (), orientation)
    start = Noise(3).normal((D,))
    to_z = q.transform if orientation is PushForward else q.transform.inv
    jacobian = torch.autograd.functional.jacobian(to_z, start)
    z = to_z(start)
    assert_close(q.log_prob(z), q.base.log_prob(start) - torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9, atol=1e-9)


@EVERY
@BOTH
def test_a_density_integrates_to_one(name, orientation, double):
    q = given(name, (), orientation, d=2, by=0.15)
    side = torch.linspace(-8, 8, 321)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
    with torch.no_grad():
        mass = q.log_prob(grid.flatten(0, 1)).exp().sum() * (side[1] - side[0]) ** 2
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-3)


@EVERY
@BOTH
def test_draws_are_of_the_density(name, orientation, double):
    """E_q[p / q] = 1 for a density p: over draws of q this fails where draws and density are of different flows."""
    q = given(name, (), orientation, d=2, by=0.15)
    with torch.no_grad():
        z, log_q = q.sample_with_log_prob(Noise(4), 10_000)
        assert log_q is not None
        p = DiagonalGaussian(z.mean(0), z.std(0).log() - 0.5)
        ratio = (p.log_prob(z) - log_q).exp()
    assert abs(ratio.mean() - 1) < 4.5 * ratio.std() / 100 < 0.2


def test_no_flow_is_the_base(double):
    q = PushForward(base((B,)), DependentTransform(IdentityTransform(), 1))
    z, log_q = q.sample_with_log_prob(Noise(5), 3)
    same, log_same = q.base.sample_with_log_prob(Noise(5), 3)
    assert z.equal(same) and log_q is not None and log_same is not None and log_q.equal(log_same)
    assert q.centre.equal(q.base.mean) and q.log_prob(z).equal(q.base.log_prob(z))


@EVERY
@BOTH
def test_expanding_repeats_it(name, orientation, double):
    q = given(name, (B,), orientation)
    wide = q.expand((7, B))
    assert type(wide) is type(q) and wide.lead_shape == (7, B) and wide.event_shape == (D,)
    z = Noise(6).normal((B, D))
    assert_close(wide.log_prob(z), q.log_prob(z).expand(7, B))
    assert wide.sample(Noise(0)).shape == (7, B, D)
    lone = given(name, (), orientation).expand((6,))
    assert lone.sample(Noise(0), 2).shape == (2, 6, D) and lone.log_prob(Noise(6).normal((6, D))).shape == (6,)


@EVERY
def test_a_draw_asks_for_the_noise_of_its_base(name):
    q = given(name, (6,), PushForward)
    source = Recorder(Noise(0))
    q.sample_with_log_prob(source, 2)
    assert [(r.shape, r.batch) for r in source.requests] == [((2, 6, D), 1)]


@EVERY
@BOTH
def test_what_a_flow_does_not_know_it_refuses_by_name(name, orientation):
    q = given(name, (B,), orientation)
    kind = orientation.__name__
    assert not q.has_mean and q.kl(base((B,))) is None and base((B,)).kl(q) is None
    with pytest.raises(ValueError, match=rf"{kind} has no closed-form mean.*centre"):
        _ = q.mean
    with pytest.raises(ValueError, match=rf"{kind}: .*takes no mask"):
        q.log_prob(q.base.mean, torch.ones(D))
    with pytest.raises(ValueError, match=rf"{kind}: its log q\(z\) at fixed parameters"):
        q.detached()
    with pytest.raises(ValueError, match="no closed-form entropy"):
        q.entropy()


def test_only_the_posteriors_orientation_must_be_asked_at_the_draw():
    assert PushForward.log_prob_with_draw and not PullBack.log_prob_with_draw


@EVERY
def test_densities_are_in_single_precision_under_autocast(name):
    def flow(lead: tuple[int, ...]) -> Distribution:
        head = FlowHead(D, stirred(FLOWS[name](D, H), 0.1), H)
        return head(Noise(8).normal((*lead, 2 * D + H)))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, log_q = flow((B,)).sample_with_log_prob(Noise(0), 2)
    assert z.dtype == torch.float32 and log_q is not None and log_q.dtype == torch.float32


def test_a_head_takes_its_numbers_apart(double):
    head = FlowHead(D, stirred(FLOWS["gated"](D, H)), H)
    assert head.raw_shape == (2 * D + H,)
    raw = Noise(9).normal((2, B, 2 * D + H))
    q = head(raw)
    assert q.base.loc.equal(raw[..., :D]) and q.base.log_scale.equal(raw[..., D : 2 * D])
    assert q.lead_shape == (2, B)

    def moved(change: Tensor) -> bool:
        return not head(raw + change).centre.equal(q.centre)

    h = torch.zeros(2 * D + H)
    h[-1] = 1.0
    assert moved(h)
    with pytest.raises(ValueError, match=r"FlowHead: event: a flow maps vectors, got shape \(1, 4\)"):
        FlowHead((1, 4), head.flow)
