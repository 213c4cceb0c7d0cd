"""Picks: heated draws, latents kept, moved in units of their prior, and arcs."""

import pytest
import torch
from test_hierarchy import bottom_up, flush, ladder
from torch import Tensor

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.distributions import AutoregressiveGaussian, Categorical, DiagonalGaussian, FullGaussian, Mixture
from fourfold.models import Hierarchy, at_units, central, fixed, heated, prior_units, slerp
from fourfold.noise import Noise

EVERY = pytest.mark.parametrize("make", [bottom_up, ladder, flush])


def encoded(model: Hierarchy, x: Tensor) -> tuple[Tensor, ...]:
    """z and its units, one draw of each level."""
    return prior_units(model(x, noise=Noise(0)).levels)


@pytest.mark.parametrize(
    "p",
    [
        DiagonalGaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -1.0]])),
        FullGaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[[1.0, 0.0], [0.7, 0.5]]])),
        AutoregressiveGaussian(torch.tensor([0.8]), 2, flat=True, lead=(1,)),
    ],
    ids=lambda p: type(p).__name__,
)
def test_a_temperature_scales_the_deviation_around_the_mean(p: object) -> None:
    assert isinstance(p, DiagonalGaussian | FullGaussian | AutoregressiveGaussian)
    many = p.expand((200_000,))
    plain, cool = (heated(t, Noise(1))(0, many) for t in (1.0, 0.5))
    assert plain.equal(many.sample(Noise(1)))
    torch.testing.assert_close(cool, many.mean + 0.5 * (plain - many.mean))
    torch.testing.assert_close(torch.cov(cool.T), 0.25 * torch.cov(plain.T), rtol=1e-4, atol=1e-5)
    assert heated(0.0, Noise(1))(0, many).equal(many.mean.expand_as(cool))


def test_each_level_has_its_own_temperature(double: None) -> None:
    """z₃ ~ N(0, 1), z₂ ~ N(z₃, 1), z₁ ~ N(z₂, 1): cooled to 0, 0.5 and 2 the variances are 0, ¼ and 4¼."""
    made = bottom_up().generate(100_000, None, heated((0.0, 0.5, 2.0), Noise(0)))
    assert [float(z.var()) for z in made.z] == pytest.approx([0, 0.25, 4.25], rel=0.02)
    sampled = ladder().sample(100_000, noise=Noise(0), temperature=(0.0, 0.5, 2.0))
    assert float(sampled.var()) == pytest.approx(4.25, rel=0.02)
    assert ladder().sample(5, noise=Noise(0), temperature=1.0).equal(ladder().sample(5, noise=Noise(0)))


def test_what_has_no_temperature_is_refused_by_name() -> None:
    parts = DiagonalGaussian(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"Mixture has none.*level 2"):
        heated(0.5, Noise(0))(1, Mixture(torch.zeros(2), parts))
    with pytest.raises(ValueError, match="Categorical has none"):
        heated((1.0, 0.5), Noise(0))(1, Categorical(torch.zeros(1, 1, 4), 1))
    heated((1.0, 0.5), Noise(0))(0, Mixture(torch.zeros(2), parts))  # 1 is a draw, whatever p is
    with pytest.raises(ValueError, match="heated: temperature must be"):
        heated(-1.0, Noise(0))
    with pytest.raises(ValueError, match="wanted one, or one for each of 3 levels"):
        bottom_up().sample(2, noise=Noise(0), temperature=(1.0, 1.0))
    flow = ff.recipes.af_prior_vae(latent=3, hidden=(8,)).build(DataSpec((1, 4, 4), 256, None)).model
    with pytest.raises(ValueError, match=r"Pu\w+ has none"):
        flow.sample(2, noise=Noise(0), temperature=0.7)


@EVERY
def test_units_lead_there_and_back(make: object, double: None) -> None:
    model, x = make(), torch.tensor([[-1.5], [2.0], [0.1]])  # type: ignore[operator]
    trace = model(x, noise=Noise(0))
    units = tuple(part[0] for part in prior_units(trace.levels))
    again = model.generate(3, None, at_units(units))
    torch.testing.assert_close(again.z, tuple(level.z[0] for level in trace.levels))
    torch.testing.assert_close(again.p_x.mean, trace.p_x.mean[0])


@EVERY
def test_what_is_moved_in_units_carries_those_below_along(make: object, double: None) -> None:
    """Every prior below the top is N(z above, 1), or flat: a unit of the top is one of all, and so of x."""
    model, x = make(), torch.tensor([[-1.5]])  # type: ignore[operator]
    units = [part[0] for part in encoded(model, x)]
    before = model.generate(1, None, at_units(units))
    units[0] = units[0] + 1
    after = model.generate(1, None, at_units(units))
    torch.testing.assert_close(after.p_x.mean - before.p_x.mean, torch.ones(1, 1))
    shifts = [float(b - a) for a, b in zip(before.z, after.z, strict=True)]
    assert shifts == pytest.approx([1, 0] if make is flush else [1, 1, 1])


def test_levels_below_what_is_kept_follow_the_model(double: None) -> None:
    """Given z₃ the model has z₁ ~ N(z₃, 2) and x̂ = z₁."""
    model = ladder()
    z = torch.full((100_000, 1), 0.7)
    made = model.generate(100_000, None, fixed((z, None, None), heated(1.0, Noise(0))))
    assert made.z[0].equal(z)
    assert float(made.z[2].mean()) == pytest.approx(0.7, abs=0.02)
    assert float(made.z[2].var()) == pytest.approx(2, rel=0.02)
    centre = model.generate(1, None, fixed((z[:1], None, None)))
    assert [float(part) for part in centre.z] == pytest.approx([0.7] * 3)
    assert central(0, DiagonalGaussian(torch.ones(2), torch.zeros(2))).equal(torch.ones(2))


def test_the_arc(double: None) -> None:
    a, b = torch.randn(2, 50).unbind()
    b = b * a.norm() / b.norm()
    for share in (0.0, 0.3, 1.0):
        assert float(slerp(a, b, share).norm()) == pytest.approx(float(a.norm()))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    angle = torch.arccos((a * b).sum() / a.norm() ** 2)
    part = torch.arccos((a * slerp(a, b, 0.3)).sum() / a.norm() ** 2)
    assert float(part / angle) == pytest.approx(0.3)
    for other in (2 * a, -a, 0 * a):  # no one arc
        torch.testing.assert_close(slerp(a, other, 0.25), torch.lerp(a, other, 0.25))


def test_a_temperature_without_a_level_to_heat_is_refused() -> None:
    spec = ff.data.DataSpec((1, 4, 4), 2, None)
    alone = ff.recipes.pixel_cnn(layers=2, filters=4).build(spec).model
    levels = ff.recipes.hvae(latents=(3, 2), hidden=(6, 5)).build(spec).model
    for model, temperature in ((alone, 0.3), (levels, (1.0, 1.0, 0.5)), (levels, ())):
        with pytest.raises(ValueError, match="sample: temperature: wanted one"):
            model.sample(2, noise=Noise(0), temperature=temperature)
    assert alone.sample(2, noise=Noise(0), temperature=1.0).shape == (2, 1, 4, 4)
