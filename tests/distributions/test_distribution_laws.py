"""What holds for every distribution: shapes, masks, types, draws, entropies and divergences."""

import pytest
import torch
from families import FAMILIES, Family
from torch.testing import assert_close

from fourfold.distributions import Bernoulli, DiagonalGaussian, Point
from fourfold.noise import Noise, Recorder

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
CLOSED = pytest.mark.parametrize(
    "family", [f for f in FAMILIES.values() if f.closed], ids=[n for n in FAMILIES if FAMILIES[n].closed]
)


@EVERY
@pytest.mark.parametrize("event", [(4,), (1, 3, 2)], ids=str)
@pytest.mark.parametrize("lead", [(), (5,), (2, 5)], ids=str)
def test_shapes(family: Family, lead, event):
    p = family.example(lead, event)
    assert p.lead_shape == lead and p.event_shape == event
    assert p.mean.shape == (*lead, *event)
    x = family.data((*lead, *event))
    assert p.log_prob(x).shape == lead
    assert p.log_prob_by_element(x).shape == (*lead, *event)
    assert p.sample(Noise(0)).shape == (*lead, *event)
    assert p.sample(Noise(0), 3).shape == (3, *lead, *event)
    assert p.log_prob(p.sample(Noise(0), 3)).shape == (3, *lead)


@EVERY
def test_an_event_adds_its_elements(family: Family):
    p, x = family.example((5,), (3, 2)), family.data((5, 3, 2))
    assert_close(p.log_prob(x), p.log_prob_by_element(x).sum((1, 2)))


@EVERY
@pytest.mark.parametrize("lead, data", [((3, 5), (5,)), ((5,), (3, 5)), ((), (3, 5)), ((), (5,)), ((3, 1), (5,))])
def test_data_and_parameters_are_broadcast(family: Family, lead, data):
    p, x = family.example(lead, (4,)), family.data((*data, 4))
    whole = torch.broadcast_shapes(lead, data)
    assert_close(p.log_prob(x), p.expand(whole).log_prob(x.expand(*whole, 4)), rtol=0, atol=0)
    one = family.make(*(value[(0,) * len(lead)] for value in family.parameters(lead, (4,))))
    assert_close(p.log_prob(x).flatten()[0], one.log_prob(x.reshape(-1, 4)[0]))


@EVERY
def test_expanding_repeats_it(family: Family):
    p = family.example((5,), (2, 3))
    wide = p.expand((7, 5))
    assert type(wide) is type(p) and wide.lead_shape == (7, 5) and wide.event_shape == (2, 3)
    x = family.data((5, 2, 3))
    assert_close(wide.log_prob(x), p.log_prob(x).expand(7, 5))
    assert_close(wide.mean, p.mean.expand(7, 5, 2, 3))
    assert wide.sample(Noise(0)).shape == (7, 5, 2, 3)


@EVERY
def test_a_mask_leaves_elements_out(family: Family):
    p, x = family.example((3, 5), (4,)), family.data((5, 4))
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(5, 4)
    assert_close(p.log_prob(x, mask), p.log_prob_by_element(x)[..., ::2].sum(-1))
    assert_close(p.log_prob(x, torch.ones(5, 4)), p.log_prob(x))
    assert (p.log_prob(x, torch.zeros(5, 4)) == 0).all()


@EVERY
@pytest.mark.parametrize(
    "given, wanted",
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
    ids=str,
)
def test_densities_have_at_least_single_precision(family: Family, given, wanted):
    parameters = tuple(value.to(given) for value in family.parameters((5,), (4,)))
    x = family.data((5, 4)).to(wanted)
    p = family.make(*parameters)
    exact = family.make(*(value.to(wanted) for value in parameters))
    assert p.log_prob(x).dtype == p.mean.dtype == p.sample(Noise(0)).dtype == wanted
    assert_close(p.log_prob(x), exact.log_prob(x), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = family.make(*parameters)
        assert under.log_prob(x).dtype == wanted
        assert_close(under.log_prob(x), exact.log_prob(x), rtol=0, atol=0)
        assert_close(under.sample(Noise(0)), exact.sample(Noise(0)), rtol=0, atol=0)
        if family.closed:
            assert_close(under.entropy(), exact.entropy(), rtol=0, atol=0)
            assert_close(under.kl_by_element(under), torch.zeros(5, 4, dtype=wanted))


@EVERY
def test_a_draw_is_transformed_noise(family: Family):
    p = family.example((6,), (4,))
    assert p.sample(Noise(3), 2).equal(p.sample(Noise(3), 2))
    assert not p.sample(Noise(3)).equal(p.sample(Noise(4)))
    source = Recorder(Noise(0))
    p.sample(source, 2)
    assert all(request.batch == 1 and request.shape == (2, 6, 4) for request in source.requests)
    half = family.make(*(value[3:] for value in family.parameters((6,), (4,))))
    assert half.sample(Noise(3, shard=(1, 2)), 2).equal(p.sample(Noise(3), 2)[:, 3:])


@EVERY
def test_draws_have_the_mean_and_are_outcomes(family: Family):
    p = family.example((1,), (4,))
    x = p.sample(Noise(1), family.draws)
    gap = (x.mean(0) - p.mean).abs()
    assert (gap < 4.5 * x.std(0) / family.draws**0.5).all()
    if family.outcomes == "real":
        return
    assert (x >= 0).all() and (x <= 1).all()
    if family.outcomes != "unit":
        top = {"binary": 1, "levels": 255}[family.outcomes]
        assert_close(x * top, (x * top).round(), rtol=0, atol=1e-4)


@EVERY
def test_a_draw_comes_with_its_own_log_probability(family: Family, double):
    parameters = [value.requires_grad_() for value in family.parameters((5,), (4,))]
    p = family.make(*parameters)
    z, log_q = p.sample_with_log_prob(Noise(2), 3)
    assert z.equal(p.sample(Noise(2), 3))
    assert_close(log_q, p.log_prob(z), rtol=1e-12, atol=1e-12)
    weights = torch.linspace(0.5, 2, 15).reshape(3, 5)
    given = torch.autograd.grad((weights * log_q).sum(), parameters, retain_graph=True, materialize_grads=True)
    direct = torch.autograd.grad((weights * p.log_prob(z)).sum(), parameters)
    assert_close(given, direct, rtol=1e-10, atol=1e-10)


@CLOSED
def test_the_entropy_is_the_mean_surprise(family: Family):
    p = family.example((1,), (4,))
    surprise = -p.log_prob(p.sample(Noise(5), family.draws))
    assert abs(surprise.mean() - p.entropy()) < 4.5 * surprise.std() / family.draws**0.5
    assert p.entropy().shape == (1,) and p.expand((3, 1)).entropy().shape == (3, 1)


@CLOSED
def test_the_divergence_is_the_mean_log_ratio(family: Family):
    p, q = family.example((1,), (4,), seed=0), family.example((1,), (4,), seed=9)
    x = p.sample(Noise(6), family.draws)
    ratio = p.log_prob_by_element(x) - q.log_prob_by_element(x)
    kl = p.kl_by_element(q)
    assert kl is not None and kl.shape == (1, 4) and (kl > 0).all()
    assert ((ratio.mean(0) - kl).abs() < 4.5 * ratio.std(0) / family.draws**0.5).all()
    assert_close(p.kl_by_element(p), torch.zeros(1, 4))


@EVERY
def test_without_a_closed_form_nothing_is_made_up(family: Family):
    p = family.example()
    other = DiagonalGaussian(torch.zeros(4), torch.zeros(4)) if p.mass else Bernoulli(torch.zeros(4))
    assert p.kl_by_element(other) is None
    if not family.closed:
        assert p.kl_by_element(p) is None
        with pytest.raises(ValueError, match=r"no closed-form entropy.*−mean\(log_prob\(sample\)\)"):
            p.entropy()


@EVERY
def test_gradients_are_those_of_finite_differences(family: Family, double):
    lead, event = (1,), (1,) if family.classes == 256 else (2,)
    parameters = tuple(value.requires_grad_() for value in family.parameters(lead, event))
    x = family.data((*lead, *event))
    assert torch.autograd.gradcheck(lambda *given: family.make(*given).log_prob(x), parameters)
    assert torch.autograd.gradcheck(lambda *given: family.make(*given).mean, parameters)
    if family.closed:
        other = family.example(lead, event, seed=7)
        assert torch.autograd.gradcheck(lambda *given: family.make(*given).entropy(), parameters)
        assert torch.autograd.gradcheck(lambda *given: family.make(*given).kl_by_element(other), parameters)
        assert torch.autograd.gradcheck(lambda *given: other.kl_by_element(family.make(*given)), parameters)


@pytest.mark.parametrize("name", ["continuous_bernoulli", "gaussian"])
def test_draws_of_a_density_are_differentiable(name, double):
    family = FAMILIES[name]
    parameters = tuple(value.requires_grad_() for value in family.parameters((2,), (3,)))
    assert torch.autograd.gradcheck(lambda *given: family.make(*given).sample(Noise(0), 2), parameters)
    x = family.data((2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: family.make(*parameters).log_prob(given), x)


def test_a_point_has_no_density():
    p = Point(torch.arange(6.0).reshape(2, 3))
    assert not p.has_density and p.lead_shape == (2,) and p.event_shape == (3,)
    z, log_q = p.sample_with_log_prob(Noise(0), 4)
    assert log_q is None and z.shape == (4, 2, 3) and z[2].equal(p.mean)
    assert p.sample(Noise(0)).equal(p.mean)
    assert p.expand((5, 2)).mean.shape == (5, 2, 3)
    assert p.kl_by_element(p) is None
    with pytest.raises(ValueError, match=r"Point has no density.*Reconstruction"):
        p.log_prob(z)
    with pytest.raises(ValueError, match="no closed-form entropy"):
        p.entropy()
