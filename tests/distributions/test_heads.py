"""Heads: raw numbers in, distributions out."""

import pytest
import torch
from torch.testing import assert_close

from fourfold.distributions import (
    BernoulliHead,
    BetaBinomialHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
    GaussianHead,
    PointHead,
)
from fourfold.noise import Noise

HEADS = {
    "bernoulli": (BernoulliHead, "binary", 1),
    "beta_binomial": (BetaBinomialHead, "levels", 2),
    "categorical": (CategoricalHead, "levels", 256),
    "continuous_bernoulli": (ContinuousBernoulliHead, "unit", 1),
    "discretised_logistic": (DiscretisedLogisticHead, "levels", 2),
    "gaussian": (GaussianHead, "real", 2),
    "gaussian_fixed": (lambda event: GaussianHead(event, 0.5), "real", 1),
    "gaussian_softplus": (lambda event: GaussianHead(event, "softplus", 0.01), "real", 2),
    "gaussian_global": (lambda event: GaussianHead(event, "global", 0.01), "real", 1),
    "mixture": (lambda event: DiscretisedLogisticMixtureHead(event, 3), "levels", 9),
    "point": (PointHead, "real", 1),
}


@pytest.mark.parametrize("event", [(6,), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("make, support, count", HEADS.values(), ids=HEADS.keys())
def test_every_raw_number_is_used(make, support, count, event):
    head = make(event)
    assert head.support == support and head.per_element == count
    assert head.raw_shape == (count * event[0], *event[1:])
    raw = Noise(0).normal((2, 5, *head.raw_shape)).requires_grad_()
    p = head(raw)
    assert p.lead_shape == (2, 5) and p.event_shape == event
    score = p.mean.square().sum()
    if p.has_density:
        score = score + p.log_prob(torch.ones(5, *event)).sum()
    score.backward()
    assert raw.grad is not None and raw.grad.isfinite().all() and (raw.grad != 0).all()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in head.parameters())


@pytest.mark.parametrize("make, support, count", HEADS.values(), ids=HEADS.keys())
def test_raw_numbers_of_one_element_are_its_own(make, support, count):
    # the raw numbers are stacked along the channels: those of pixel (c, h, w) are k·channels + c at (h, w)
    head = make((2, 3, 4))
    raw = Noise(0).normal((1, *head.raw_shape))
    whole = head(raw).mean[0, 1, 2, 0]
    alone = make((1,))(raw[:, 1::2, 2, 0]).mean[0, 0]
    assert_close(whole, alone)


def test_scales_of_a_gaussian():
    raw = torch.tensor([[1.0, 2.0, -3.0, 0.5]])
    p = GaussianHead(2)(raw)
    assert_close(p.loc, raw[:, :2])
    assert_close(p.scale, raw[:, 2:].exp())
    assert_close(GaussianHead(2, floor=0.1)(raw).scale, raw[:, 2:].exp() + 0.1)
    assert_close(GaussianHead(4, 0.3, floor=5.0)(raw).scale, torch.full((1, 4), 0.3))
    shared = GaussianHead(4, "global", floor=0.01)
    assert_close(shared(raw).scale, torch.full((1, 4), 1.01))
    assert [name for name, _ in shared.named_parameters()] == ["log_scale"]
    assert not list(GaussianHead(4, 0.3).parameters())
    with torch.no_grad():
        shared.log_scale.fill_(-1000.0)
    assert_close(shared(raw).scale, torch.full((1, 4), 0.01))


@pytest.mark.parametrize("scale", ["element", "global", 0.25])
def test_a_gaussian_head_is_single_precision_under_autocast(scale):
    head = GaussianHead(3, scale, floor=0.01)
    raw = Noise(0).normal((5, *head.raw_shape)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = head(raw)
        assert p.log_scale.dtype == torch.float32
        assert_close(p.log_prob(torch.zeros(3)), head(raw.float()).log_prob(torch.zeros(3)), rtol=0, atol=0)


def test_logistic_scales_have_a_floor():
    raw = torch.tensor([[0.1, -30.0]])
    assert DiscretisedLogisticHead(1)(raw).log_scale == -7
    assert DiscretisedLogisticMixtureHead(1, 1)(torch.tensor([[0.0, 0.1, -30.0]])).component.log_scale == -7


def test_shapes_of_a_beta_have_ends():
    p = BetaBinomialHead(2)(torch.tensor([[-100.0, 3.0, 100.0, -0.5]]))
    assert p.log_alpha.tolist() == [[-14.0, 3.0]] and p.log_beta.tolist() == [[14.0, -0.5]]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GaussianHead(2, "each"), "GaussianHead: scale: unknown value 'each'.*Known: element, global"),
        (lambda: GaussianHead(2, -1.0), "GaussianHead: scale must be a finite number above 0, got -1.0"),
        (lambda: GaussianHead(2, floor=-0.1), "GaussianHead: floor must be a finite number of at least 0"),
        (lambda: BernoulliHead((3, 0)), r"BernoulliHead: event must be positive, got \(3, 0\)"),
        (lambda: DiscretisedLogisticMixtureHead(2, 0), "components must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_softplus_is_a_variance_with_a_least_one(double: None):
    raw = torch.tensor([0.0, 0.0, 0.0, -1e4, 0.3, 50.0])
    p = GaussianHead(3, "softplus", floor=0.1)(raw)
    assert_close(p.scale.square(), torch.tensor([0.01, 0.01 + torch.tensor(0.3).exp().log1p(), 50.01]))
    bare = GaussianHead(1, "softplus")(torch.tensor([0.0, -1e4]).requires_grad_())
    assert bare.log_scale.isfinite().all() and bare.log_prob(torch.zeros(1)).isfinite()


def test_scales_below_a_ceiling(double):
    """(softsign(raw) + 1) / 2, as in the PixelVAE, and its logarithm to the last digits at either end."""
    raw = torch.tensor([-1e12, -3.0, 0.0, 2.0, 1e12])
    p = GaussianHead(5, ceiling=1.0)(torch.cat((torch.zeros(5), raw)))
    assert_close(p.scale, torch.tensor([0.5e-12, 0.125, 0.5, 5 / 6, 1.0]), rtol=1e-9, atol=0)
    assert_close(GaussianHead(1, floor=0.1, ceiling=3.0)(torch.zeros(2)).scale, torch.tensor([1.55]))
    with pytest.raises(ValueError, match=r"GaussianHead: ceiling: wanted one above the floor 0.5, got 0.5"):
        GaussianHead(5, floor=0.5, ceiling=0.5)
