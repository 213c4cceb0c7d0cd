"""Images pixel after pixel: exact sums over all images, draws, sharing, and what is refused."""

from itertools import product
from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.distributions import (
    Bernoulli,
    BernoulliHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiagonalGaussian,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
    GaussianHead,
    PixelHead,
    Pixelwise,
)
from fourfold.distributions import pixelwise as module
from fourfold.networks import GatedPixelCNN, PixelStacks
from fourfold.noise import Noise, Recorder

STACKS = PixelStacks(layers=2, filters=6, kernel=3, first=3)
FAMILIES = {
    "bernoulli": BernoulliHead,
    "categorical": CategoricalHead,
    "discretised_logistic": DiscretisedLogisticHead,
    "discretised_logistic_mixture": DiscretisedLogisticMixtureHead,
}


def head(event: tuple[int, ...], family=BernoulliHead, given: tuple[int, ...] | None = None) -> PixelHead:
    """One whose pixels do depend on each other."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = PixelHead(event, family, GatedPixelCNN(event, family((1,)).per_element, given, STACKS), given)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)
    return made


def binary(event: tuple[int, ...]) -> Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=prod(event)))).reshape(-1, *event)


@pytest.mark.parametrize("given", [None, (3,), (2, 2, 3)], ids=str)
def test_all_binary_images_sum_to_one(given, double):
    made, x = head((1, 2, 3), given=given), binary((1, 2, 3))
    p = made.alone() if given is None else made(Noise(1).normal((4, *given)))
    log_p = p.log_prob(x) if given is None else p.expand((64, 4)).log_prob(x[:, None])
    assert_close(log_p.exp().sum(0), torch.ones(() if given is None else 4), rtol=0, atol=1e-13)
    assert log_p.exp().std(0).min() > 1e-3  # not the uniform one


def test_all_colour_images_sum_to_one(double):
    p, x = head((3, 1, 2)).alone(), binary((3, 1, 2))
    assert_close(p.log_prob(x).exp().sum(), torch.ones(()), rtol=0, atol=1e-13)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "bernoulli"])
def test_all_images_of_two_levels_sum_to_one(family: str, double):
    """256² images of two pixels."""
    levels = torch.arange(256) / 255
    x = torch.cartesian_prod(levels, levels).reshape(-1, 1, 1, 2)
    p = head((1, 1, 2), FAMILIES[family]).alone()
    with torch.no_grad():
        total = sum(p.log_prob(part).exp().sum() for part in x.split(8192))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_draws_come_as_often_as_they_are_probable(double):
    p, x = head((1, 2, 2), given=(2,))(torch.tensor([[0.5, -1.0]])), binary((1, 2, 2))
    n = 20_000
    drawn = p.sample(Noise(3), n).reshape(n, 4)
    counts = torch.bincount((drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long(), minlength=16)
    expected = n * p.expand((16, 1)).log_prob(x[:, None]).exp()[:, 0]
    assert ((counts - expected).square() / expected).sum() < 37.7  # χ² with 15 degrees of freedom, one in a thousand


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("event", [(1, 3, 2), (3, 2, 2)], ids=str)
def test_shapes_and_types(family: str, event: tuple[int, ...]):
    p = head(event, FAMILIES[family], (3,))(Noise(1).normal((2, 5, 3)))
    assert p.lead_shape == (2, 5) and p.event_shape == event and p.mass and not p.has_mean
    x = p.sample(Noise(2))
    assert x.shape == (2, 5, *event) and p.sample(Noise(2), 3).shape == (3, 2, 5, *event)
    top = 1 if family == "bernoulli" else 255
    assert_close(x * top, (x * top).round(), rtol=0, atol=1e-4)
    assert p.log_prob(x).shape == (2, 5) and p.log_prob(x[0]).shape == (2, 5)
    assert p.log_prob(x).dtype == torch.float32 and p.log_prob(x).isfinite().all()
    assert p.expand((4, 2, 5)).log_prob(x[0]).shape == (4, 2, 5)
    double = head(event, FAMILIES[family], (3,)).double()(Noise(1).normal((2, 5, 3)).double())
    assert_close(double.log_prob(x.double()).float(), p.log_prob(x), rtol=1e-4, atol=1e-3)


def test_without_anything_given_leading_dimensions_are_those_asked_for(double):
    p = head((1, 2, 3)).alone()
    x = p.expand((4,)).sample(Noise(1))
    assert p.lead_shape == () and p.sample(Noise(1)).shape == (1, 2, 3) and x.shape == (4, 1, 2, 3)
    assert p.log_prob(x).shape == (4,) and p.log_prob(x[0]).shape == ()
    wide = p.expand((3, 4))
    assert wide.lead_shape == (3, 4) and wide.log_prob(x).equal(p.log_prob(x).expand(3, 4))


def test_a_draw_is_transformed_noise_of_any_share_of_the_batch():
    z = Noise(1).normal((6, 3))
    made = head((1, 3, 2), given=(3,))
    source = Recorder(Noise(2))
    x = made(z).sample(source, 2)
    assert len(source.requests) == 6
    assert all(request.shape == (2, 6, 1) and request.batch == 1 for request in source.requests)
    assert made(z[3:]).sample(Noise(2, shard=(1, 2)), 2).equal(x[:, 3:])
    assert not x.equal(made(z).sample(Noise(3), 2))


@torch.no_grad()
def test_draws_of_z_are_scored_a_few_at_a_time_and_share_x(double, monkeypatch):
    made = head((1, 4, 3), given=(3,))
    x, p = Noise(1).uniform((5, 1, 4, 3)).round(), made(Noise(2).normal((7, 5, 3)))
    alone = torch.stack([made(z).log_prob(x) for z in p.given])
    rows: list[int] = []
    made.network.layers[1].above.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    assert_close(p.log_prob(x), alone, rtol=0, atol=1e-12)
    monkeypatch.setattr(module, "_AT_ONCE", 2 * 5 * made.network.numbers)
    sizes: list[int] = []
    made.network.last.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    assert_close(p.log_prob(x), alone, rtol=0, atol=1e-12)
    assert rows == [5, 5] and sizes == [10, 10, 10, 5]
    assert_close(p.log_prob(x.expand(7, 5, 1, 4, 3)), alone, rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences(double):
    made, x = head((1, 2, 2), given=(2,)), binary((1, 2, 2))[5:7]
    weights = dict(made.named_parameters())

    def log_prob(z: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip((f"head.{name}" for name in weights), values, strict=True))
        return torch.func.functional_call(_Scorer(made), named, (z, x))

    z = Noise(1).normal((3, 2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: made(z).log_prob(x), (z,))
    some = tuple(value.detach().clone().requires_grad_() for value in weights.values())
    assert torch.autograd.gradcheck(log_prob, (z, *some), fast_mode=True)


class _Scorer(nn.Module):
    def __init__(self, head: PixelHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return self.head(z).log_prob(x)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_the_centre_takes_the_likeliest_value_of_each_pixel_in_turn(family: str, double):
    p = head((1, 2, 2), FAMILIES[family], (3,))(Noise(1).normal((4, 3)))
    centre, levels = p.centre, 2 if family == "bernoulli" else 256
    assert centre.shape == (4, 1, 2, 2) and p.centre.equal(centre)
    values = torch.arange(levels) / (levels - 1)
    for i in range(4):
        steps, x = p.conditionals(), centre.reshape(4, 4)
        piece, _ = next(steps)
        for j in range(i):
            piece, _ = steps.send(x[:, j : j + 1])
        scores = torch.stack([piece.log_prob(value.expand(4, 1)) for value in values])
        assert values[scores.argmax(0)].equal(x[:, i])


def test_what_it_has_not_it_refuses(double):
    p = head((1, 2, 3)).alone()
    with pytest.raises(ValueError, match="Pixelwise: its mean has no closed form"):
        _ = p.mean
    with pytest.raises(ValueError, match="Pixelwise: a mask cannot leave pixels out"):
        p.log_prob(torch.zeros(1, 2, 3), torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match="no closed-form entropy"):
        p.entropy()
    assert p.kl(Bernoulli(torch.zeros(1, 2, 3), 3)) is None


def test_a_head_of_something_else_is_refused_by_name():
    network = GatedPixelCNN((1, 2, 3), 2, None, STACKS)
    for family in (ContinuousBernoulliHead, lambda event: GaussianHead(event, "global")):
        with pytest.raises(
            ValueError, match="PixelHead: family: wanted a probability mass over levels or a density of"
        ):
            PixelHead((1, 2, 3), family, network)
    with pytest.raises(ValueError, match=r"PixelHead: event: wanted an image \(C, H, W\), got \(6,\)"):
        PixelHead((6,), BernoulliHead, network)
    with pytest.raises(TypeError, match="PixelHead: network: wanted one as Pixels tells, got Linear"):
        PixelHead((1, 2, 3), BernoulliHead, nn.Linear(2, 2))
    assert isinstance(PixelHead((1, 2, 3), DiscretisedLogisticHead, network).alone(), Pixelwise)


def numbers(event: tuple[int, ...], given: tuple[int, ...] | None = None) -> PixelHead:
    """A density of maps of real numbers, each element well away from independent of those before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = GatedPixelCNN(event, 2, given, STACKS, unit=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)
    return PixelHead(event, GaussianHead, network, given)


def test_a_density_of_two_numbers_integrates_to_one(double):
    p, side = numbers((1, 1, 2)).alone(), torch.linspace(-9, 9, 361)
    x = torch.cartesian_prod(side, side).reshape(-1, 1, 1, 2)
    density = p.log_prob(x).detach().exp()
    assert not p.mass and p.head.support == "real"
    assert float(density.sum()) * 0.05**2 == pytest.approx(1.0, abs=1e-6)
    cube = density.reshape(361, 361)
    apart = cube.sum(1, keepdim=True) * cube.sum(0, keepdim=True) * 0.05**2
    assert float((cube - apart).abs().sum()) * 0.05**2 > 0.05  # the second number depends on the first


@torch.no_grad()
@pytest.mark.parametrize("event", [(1, 3, 2), (2, 2, 2)], ids=str)
def test_numbers_are_drawn_from_what_scores_them(event: tuple[int, ...], double):
    """By a loop over whole passes: each element is normal given those before, and its draw is that noise, moved."""
    head = numbers(event, (3,))
    p, source = head(Noise(1).normal((4, 3))), Recorder(Noise(2))
    x, log_p = p.sample(source), torch.zeros(4)
    colours, height, width = event
    noise = iter(source.tensors)
    for row, column, colour in product(range(height), range(width), range(colours)):
        raw = head.network(torch.where(_order(event) < _order(event)[colour, row, column], x, 99.0), p.given)
        loc, log_scale = raw.reshape(4, 2, *event)[:, :, colour, row, column].unbind(1)
        assert_close(x[:, colour, row, column], loc + log_scale.exp() * next(noise)[:, 0], rtol=0, atol=1e-12)
        log_p += torch.distributions.Normal(loc, log_scale.exp()).log_prob(x[:, colour, row, column])
    assert_close(p.log_prob(x), log_p, rtol=0, atol=1e-12)


def _order(event: tuple[int, ...]) -> Tensor:
    """When each element is drawn: row by row, and within a pixel colour by colour."""
    colours, height, width = event
    return torch.arange(height * width * colours).reshape(height, width, colours).permute(2, 0, 1)


def test_the_centre_of_numbers_is_the_mean_given_the_means_before(double):
    p = numbers((1, 2, 2), (3,))(Noise(1).normal((4, 3)))
    steps, found = p.conditionals(), p.centre.reshape(4, 4)
    piece, _ = next(steps)
    for i in range(4):
        assert isinstance(piece, DiagonalGaussian) and piece.mean[:, 0].equal(found[:, i])
        piece, _ = steps.send(piece.mean) if i < 3 else (piece, None)


def test_numbers_have_a_gradient_in_themselves(double):
    p = numbers((2, 2, 2), (3,))(Noise(1).normal((4, 3)))
    assert torch.autograd.gradcheck(p.log_prob, (Noise(2).normal((4, 2, 2, 2)).requires_grad_(),), fast_mode=True)


def test_numbers_are_seen_as_they_are_and_levels_from_minus_one(double):
    made = GatedPixelCNN((1, 3, 2), 2, None, STACKS)
    plain = GatedPixelCNN((1, 3, 2), 2, None, STACKS, unit=False)
    plain.load_state_dict(made.state_dict())
    x = Noise(1).uniform((5, 1, 3, 2))
    assert_close(plain(2 * x - 1), made(x), rtol=0, atol=1e-14)
