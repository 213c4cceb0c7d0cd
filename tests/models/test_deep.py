"""Rungs whose state is feature maps: exact where they are linear, and what each one promises."""

from math import log, pi

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Conditional
from fourfold.distributions import DiagonalGaussian, Distribution
from fourfold.models import ByScale, Climb, ResidualNormal, TopDown, TopDownBlock
from fourfold.networks import Spectral
from fourfold.networks.blocks import Enlarged
from fourfold.noise import Noise
from fourfold.objectives import ELBO

SIDE = (2, 3)
LATENT = (1, *SIDE)


def linear(*rows: tuple[float, ...], bias: tuple[float, ...] = ()) -> nn.Conv2d:
    """A 1 × 1 convolution with this matrix."""
    layer = nn.Conv2d(len(rows[0]), len(rows), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows)[..., None, None])
        assert layer.bias is not None
        layer.bias.copy_(torch.tensor(bias or (0.0,) * len(rows)))
    return layer


class First(Conditional):
    """N(the first channel of the state, 1)."""

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        loc = context[..., :1, :, :]
        return DiagonalGaussian(loc, torch.zeros_like(loc), 3)


HALF = 0.5 * log(0.5)


def blocks() -> TopDown:
    """z₂ ~ N(0, 1), z₁ ~ N(0.6 z₂, 1), x ~ N(z₂ + 1.6 · 0 + …, 1) per pixel, with the exact posteriors.

    The state is s = (a, b) of two channels. Top: s = z₂ (1, 1). Below: the prior's network gives mean 0.6 b and Δ =
    (0.6 b, 0), so x ~ N(1.6 z₂ + z₁, 1), which given z₂ and x makes z₁ ~ N((0.6 z₂ + x − 1.6 z₂) / 2, ½).
    """
    top = TopDownBlock(
        LATENT,
        enlarge=Enlarged((2, *SIDE)),
        prior=linear((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        # x given z₂ is N(2.2 z₂, 2): precision 1 + 2.42, mean 1.1 x / 3.42
        posterior=linear((0.0, 0.0, 1.1 / 3.42), (0.0, 0.0, 0.0), bias=(0.0, -0.5 * log(3.42))),
        project=linear((1.0,), (1.0,)),
        after=nn.Identity(),
    )
    below = TopDownBlock(
        LATENT,
        enlarge=nn.Identity(),
        prior=linear((0.0, 0.6), (0.0, 0.0), (0.0, 0.6), (0.0, 0.0)),
        posterior=linear((0.0, -0.5, 0.5), (0.0, 0.0, 0.0), bias=(0.0, HALF)),
        project=linear((1.0,), (0.0,)),
        after=nn.Identity(),
    )
    return TopDown(ByScale([nn.Identity()], [2]), [top, below], First())


def normals(clamped: bool = False) -> TopDown:
    """Two levels of residual normals on maps of two channels; with ``clamped`` raw numbers that the bound holds."""
    far = 20.0 if clamped else 0.01
    top = ResidualNormal(
        LATENT, Enlarged((1, *SIDE)), None, None, linear((far,), (0.02,)), linear((0.5, 1.0), (0.0, 1.0))
    )
    below = ResidualNormal(
        LATENT,
        nn.Identity(),
        linear((0.01, 0.02), (0.01, 0.0), bias=(0.0, -0.3)),
        linear((0.1, 0.1)),
        linear((far,), (0.02,)),
        linear((1.0, 0.0, 1.0)),
    )
    return TopDown(Climb([nn.Identity()] * 2), [top, below], First())


@pytest.fixture
def x(double: None) -> Tensor:
    return 2 * Noise(0).normal((4, *LATENT))


def test_with_exact_posteriors_every_draw_gives_the_evidence(x: Tensor) -> None:
    trace = blocks()(x, draws=5, noise=Noise(1))
    variance = 2.2**2 + 2  # x = 2.2 z₂ + unit normals of z₁ and of x itself
    evidence = -0.5 * (x.square() / variance + log(2 * pi * variance)).sum((1, 2, 3))
    assert_close(trace.log_weight, evidence.expand(5, 4), rtol=0, atol=1e-9)
    assert_close(ELBO(draws=5, kl="monte_carlo")(trace).total, evidence, rtol=0, atol=1e-9)


def test_what_the_priors_network_adds_reaches_x_whatever_z_is(x: Tensor) -> None:
    z = (torch.ones(1, 4, *LATENT), torch.zeros(1, 4, *LATENT))
    p_x = blocks().at(x, z, q=False).p_x
    assert_close(p_x.mean, torch.full((1, 4, *LATENT), 1.6))


def test_the_prior_is_computed_once_a_level(x: Tensor) -> None:
    model, calls = blocks(), []
    for rung in model.rungs:
        rung.before.register_forward_hook(lambda *given: calls.append(1))
    model(x, draws=3, noise=Noise(1))
    assert len(calls) == 2
    model.generate(3, None, lambda i, p: p.sample(Noise(2)))
    assert len(calls) == 4


def test_the_residual_normal_has_the_divergence_of_its_final_parameters(x: Tensor) -> None:
    for clamped in (False, True):
        model = normals(clamped)
        with torch.no_grad():
            trace = model(x, noise=Noise(1))
        for level, rung, above in zip(trace.levels, model.rungs, (None, trace.levels[0]), strict=True):
            q, p = level.q, level.p
            generic = torch.log(p.scale / q.scale) + (q.scale**2 + (q.mean - p.mean) ** 2) / (2 * p.scale**2) - 0.5
            assert_close(level.kl, generic.sum((-3, -2, -1)).expand_as(level.kl), rtol=1e-9, atol=1e-9)
            if above is None:
                continue
            state = rung.enter(rung_state(model, above.z), None)
            change = rung.guess((x + _of(rung.join, state.maps)).flatten(0, 1)).unflatten(0, (1, 4))
            shift, log_ratio = change.unbind(-3)
            bare = 0.5 * (shift**2 / (2 * state.raw[..., 1, :, :]).exp() + (2 * log_ratio).exp() - 2 * log_ratio - 1)
            off = (bare.sum((-2, -1)) - level.kl).abs() / level.kl
            # near where neither the bound nor the floor acts, and wrong where one does
            assert (off > 0.3).any() if clamped else (off < 0.05).all()


def rung_state(model: TopDown, z: Tensor) -> Tensor:
    """What the top hands on, given its z."""
    top = model.rungs[0]
    return top.descend(top.enter(None, None), z, None)


def _of(network: nn.Module, maps: Tensor) -> Tensor:
    return network(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])


def test_the_bound_and_the_floor_hold(x: Tensor) -> None:
    trace = normals(clamped=True)(1e6 * x, noise=Noise(1))
    for level in trace.levels:
        assert (level.q.mean.abs() <= 5).all() and (level.q.scale > 0.01).all()
    top = trace.levels[0].p
    assert isinstance(top, DiagonalGaussian) and not top.mean.any() and not top.log_scale.any()


def test_scales_share_a_feature_and_numbers_must_fit() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    up = ByScale([nn.Identity(), nn.AvgPool2d(2)], [1, 2])
    assert [tuple(feature.shape[2:]) for feature in up(x)] == [(1, 1), (1, 1), (2, 2)]
    with pytest.raises(ValueError, match="2 networks need as many numbers of rungs"):
        ByScale([nn.Identity(), nn.Identity()], [1])


def test_penalties_stand_beside_the_elbo_and_not_in_it(x: Tensor) -> None:
    plain, model = normals(), normals()
    model.penalty = Spectral([*model.rungs], 0.5)
    trace = model(x, noise=Noise(1))
    terms = ELBO()(trace)
    assert trace.penalties.keys() == {"spectral"} and trace.penalties["spectral"].shape == (4,)
    assert_close(trace.log_weight, plain(x, noise=Noise(1)).log_weight)
    elbo = terms.parts["log_likelihood"].value - terms.parts["rate"].value
    assert_close(terms.total, elbo - trace.penalties["spectral"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(x, noise=Noise(1))
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    with torch.no_grad():
        model.rungs[1].guess.weight.mul_(3)
    model.after_step({})
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed and any(name.startswith("penalty.") for name in changed)
