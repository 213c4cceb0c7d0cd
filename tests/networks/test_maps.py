"""Maps to maps by convolutions: every size that halving leads to, and nothing from afar."""

import pytest
import torch

from fourfold.conditional import NetworkConditional
from fourfold.distributions import GaussianHead
from fourfold.networks import Maps, build
from fourfold.noise import Noise

SIZES = [((1, 9, 12), (4, 9, 12)), ((1, 9, 13), (2, 2, 3)), ((2, 2, 3), (3, 9, 13)), ((3, 7, 7), (1, 28, 28))]


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("inputs, outputs", SIZES, ids=str)
@pytest.mark.parametrize("condition", [None, "label", "image"], ids=str)
def test_any_size_that_halving_leads_to_and_every_weight_matters(inputs, outputs, condition):
    shape = {None: None, "label": (5,), "image": (2, *inputs[1:])}[condition]
    net = Maps(inputs, outputs, shape, channels=6, blocks=2)
    given = () if shape is None else (Noise(1).normal((3, *shape)),)
    made = net(Noise(0).normal((3, *inputs)), *given)
    assert made.shape == (3, *outputs)
    (Noise(2).normal(tuple(made.shape)) * made).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in net.parameters())


def test_an_output_sees_a_neighbourhood_of_its_place(double):
    jacobian = torch.func.jacrev(Maps((1, 16, 16), (1, 16, 16), channels=4))(Noise(0).normal((1, 1, 16, 16)))
    seen = jacobian[0, 0, :, :, 0, 0] != 0
    assert seen[8, 8, 4:13, 4:13].all() and int(seen[8, 8].sum()) == 81  # four convolutions of 3 × 3
    up = (
        torch.func.jacrev(Maps((1, 8, 8), (1, 16, 16), channels=4))(Noise(0).normal((1, 1, 8, 8)))[0, 0, :, :, 0, 0]
        != 0
    )
    assert up[1, 1, :4, :4].all() and not up[1, 1, 7].any() and not up[14, 14, 0].any()


def test_a_conditional_takes_it(double):
    q = NetworkConditional(build(Maps, (1, 8, 8), (6, 4, 4)), GaussianHead((3, 4, 4)), (1, 8, 8))
    assert q(torch.zeros(2, 5, 1, 8, 8)).mean.shape == (2, 5, 3, 4, 4)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: Maps((6,), (1, 3, 2)), r"wanted images \(C, H, W\), got \(6,\)"),
        (lambda: Maps((1, 8, 8), (1, 3, 3)), r"halving \(8, 8\) does not lead to \(3, 3\)"),
        (lambda: Maps((1, 8, 8), (1, 16, 4)), r"does not lead to"),
        (lambda: Maps((1, 8, 8), (1, 4, 4), (2, 4, 4)), "condition: wanted a vector, or maps of the inputs' size"),
        (lambda: Maps((1, 8, 8), (1, 4, 4), channels=0), "channels must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, why: str):
    with pytest.raises(ValueError, match="Maps: .*" + why):
        make()
