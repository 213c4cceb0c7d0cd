"""Distributions as products of one-dimensional ones: the product is the distribution."""

from functools import partial

import pytest
import torch
from families import FAMILIES, Family
from torch import Tensor
from torch.testing import assert_close

from fourfold.distributions import (
    AutoregressiveGaussian,
    BernoulliHead,
    CategoricalHead,
    DiagonalGaussian,
    Distribution,
    FullGaussian,
    GaussianHead,
    Mixture,
    PixelHead,
    Point,
    PullBack,
    PushForward,
)
from fourfold.networks import GatedPixelCNN, PixelStacks
from fourfold.networks.flows import affine, gated, splines
from fourfold.noise import Noise

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
MASSES = [name for name, family in FAMILIES.items() if family.outcomes in ("binary", "levels")]


def gaussian(lead: tuple[int, ...]) -> DiagonalGaussian:
    return DiagonalGaussian(Noise(1).normal((*lead, 4)), 0.3 * Noise(2).normal((*lead, 4)))


def bent(factory, steps: int = 1):
    """A map that is far from the identity."""
    flow = factory(4, 0, steps=steps, hidden=(16,))
    for parameter, noise in zip(flow.parameters(), Noise(3).normal((9, 2048)), strict=False):
        parameter.data = noise[: parameter.numel()].reshape(parameter.shape) * 0.5
    return flow(None)


def full(lead: tuple[int, ...]) -> FullGaussian:
    factor = Noise(4).normal((*lead, 4, 4)).tril(-1) + torch.diag_embed(Noise(5).uniform((*lead, 4)) + 0.5)
    return FullGaussian(Noise(6).normal((*lead, 2, 2)), factor, 2)


def pixels(lead: tuple[int, ...], event: tuple[int, ...], family, given: tuple[int, ...]) -> Distribution:
    """A PixelCNN."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stacks = PixelStacks(layers=2, filters=6, kernel=3, first=3)
        unit = family is not GaussianHead
        network = GatedPixelCNN(event, family((1,)).per_element, given, stacks, unit=unit)
    return PixelHead(event, family, network, given)(Noise(8).normal((*lead, *given)))


SEQUENTIAL = {
    "ar1": lambda lead: AutoregressiveGaussian(torch.tensor([0.5, 0.9]), 2, lead=lead),
    "ar1_flat": lambda lead: AutoregressiveGaussian(torch.tensor([0.5, -0.9]), 2, flat=True, lead=lead),
    "full": full,
    "pixels": lambda lead: pixels(lead, (1, 3, 2), BernoulliHead, (2,)),
    "pixels_in_colour": lambda lead: pixels(lead, (3, 2, 2), CategoricalHead, (2, 2, 2)),
    "pixels_of_numbers": lambda lead: pixels(lead, (2, 2, 2), GaussianHead, (2, 2, 2)),
    "pull_back": lambda lead: PullBack(gaussian(lead), bent(affine)),
    "pull_back_shifts": lambda lead: PullBack(gaussian(lead), bent(partial(affine, mean_only=True))),
    "push_forward": lambda lead: PushForward(gaussian(lead), bent(gated)),
    "push_forward_affine": lambda lead: PushForward(gaussian(lead), bent(affine)),
}


def product(p: Distribution, x: Tensor) -> Tensor:
    """Σ log of the pieces at known values; every element in exactly one of them, each with the leading dimensions."""
    flat, event = x.flatten(x.ndim - len(p.event_shape)), p.event_shape
    total, seen = torch.zeros(()), torch.zeros(flat.shape[-1], dtype=torch.int)
    steps = p.conditionals()
    piece, where = next(steps)
    while True:
        seen[where] += 1
        assert piece.lead_shape == p.lead_shape
        value = flat[..., where].reshape(*x.shape[: x.ndim - len(event)], *piece.event_shape)
        total = total + piece.log_prob(value)
        try:
            piece, where = steps.send(value)
        except StopIteration:
            assert (seen == 1).all()
            return total


def numbers(piece: Distribution) -> list[Tensor]:
    """The tensors that a distribution is made of."""
    found = [value for value in vars(piece).values() if isinstance(value, Tensor)]
    assert found
    return found


@EVERY
@pytest.mark.parametrize("lead", [(), (5,), (1, 5)], ids=str)
def test_a_factorised_distribution_is_one_piece(family: Family, lead):
    p, x = family.example(lead, (2, 3)), family.data((*lead, 2, 3))
    assert_close(product(p, x), p.log_prob(x), rtol=0, atol=0)


@pytest.mark.parametrize("make", SEQUENTIAL.values(), ids=SEQUENTIAL.keys())
@pytest.mark.parametrize("lead", [(), (5,), (1, 5)], ids=str)
@torch.no_grad()
def test_the_product_is_the_distribution(make, lead, double):
    p = make(lead)
    x = p.sample(Noise(7))
    assert_close(product(p, x), p.log_prob(x))


@pytest.mark.parametrize("make", SEQUENTIAL.values(), ids=SEQUENTIAL.keys())
@torch.no_grad()
def test_drawing_piece_by_piece_is_drawing(make, double):
    """What was drawn from the pieces has, read again, the same pieces bit for bit."""
    p = make((5,))
    steps, drawn = p.conditionals(), []
    piece, where = next(steps)
    while True:
        drawn.append((piece, piece.sample(Noise(8).fork(str(where)))))
        try:
            piece, where = steps.send(drawn[-1][1])
        except StopIteration:
            break
    again = p.conditionals()
    piece, _ = next(again)
    for (before, value), last in zip(drawn, [False] * (len(drawn) - 1) + [True], strict=True):
        assert all(now.equal(then) for now, then in zip(numbers(piece), numbers(before), strict=True))
        if not last:
            piece, _ = again.send(value)


@torch.no_grad()
def test_which_component_it_came_from(double):
    """w_k p_k(x) / p(x), for components in a batch and for shared ones."""
    for lead in ((), (5,)):
        parts = DiagonalGaussian(Noise(1).normal((*lead, 3, 4)), Noise(2).normal((*lead, 3, 4)))
        p = Mixture(Noise(3).normal((*lead, 3)), parts)
        x = p.sample(Noise(4), None if lead else 5)
        wanted = p.log_weights + parts.log_prob(x.unsqueeze(-2)) - p.log_prob(x).unsqueeze(-1)
        assert_close(p.log_responsibilities(x), wanted)


@pytest.mark.parametrize("name", MASSES)
def test_log_probabilities_level_by_level(name, double):
    p = FAMILIES[name].example((3,), (2,))
    by_level = torch.stack(list(p.log_prob_by_level()))
    assert by_level.shape == (p.levels, 3, 2)
    values = (torch.arange(p.levels) / (p.levels - 1)).reshape(-1, 1, 1)
    assert_close(by_level, p.log_prob_by_element(values.expand(-1, 3, 2)), rtol=1e-9, atol=1e-9)
    assert_close(by_level.exp().sum(0), torch.ones(3, 2))


def test_levels_keep_their_digits_far_from_the_mean(double):
    p = FAMILIES["discretised_logistic"].make(torch.tensor([-0.9, 0.0, 0.9]), torch.full((3,), -3.5))
    by_level = torch.stack(list(p.log_prob_by_level()))
    values = (torch.arange(256) / 255).unsqueeze(-1).expand(-1, 3)
    assert_close(by_level, p.log_prob_by_element(values), rtol=1e-10, atol=1e-10)
    assert by_level.min() < -35


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: PullBack(gaussian((5,)), bent(affine, 2)), "2 steps"),
        (lambda: PushForward(gaussian((5,)), bent(splines)), "bends each element"),
        (lambda: PushForward(gaussian((5,)), torch.distributions.ExpTransform()), "one affine step"),
        (lambda: Mixture(torch.zeros(5), gaussian((5,))), "Mixture: .* no closed form"),
        (lambda: Point(torch.zeros(3)), "Point: .* no closed form"),
    ],
)
def test_what_has_no_known_conditionals_says_so(make, why):
    with pytest.raises(ValueError, match=why):
        next(make().conditionals())
