"""Networks: any shape to any shape, in any room."""

from collections.abc import Iterator
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.conditional import NetworkConditional
from fourfold.distributions import GaussianHead
from fourfold.likelihoods import bernoulli
from fourfold.networks import ACTIVATIONS, NETWORKS, Convolutional, Dense, NetworkFactory, Residual, build
from fourfold.noise import Noise
from fourfold.posteriors import gaussian
from fourfold.priors import ConditionalPrior

SMALL: dict[str, NetworkFactory] = {
    "convolutional": partial(Convolutional, channels=(4, 5, 6), hidden=16, activation="tanh"),
    "dense": partial(Dense, hidden=(16,)),
    "residual": partial(Residual, channels=(4, 5), hidden=16),
}
EVERY = pytest.mark.parametrize("make", SMALL.values(), ids=SMALL.keys())
IMAGES = [(1, 28, 28), (2, 28, 20), (1, 17, 23), (3, 8, 8), (1, 64, 64), (1, 1, 5), (2, 2, 3), (1, 1, 1)]
CONDITIONS = {"none": None, "label": (10,), "image": "as x"}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def numbers(*shape: int) -> torch.Tensor:
    return Noise(sum(shape)).normal(shape)


def reaches_everything(module: nn.Module, output: torch.Tensor) -> None:
    """Fails if a parameter has no gradient, or none but zeros."""
    weights = Noise(7).normal(tuple(output.shape))
    (weights * output).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_the_table_has_every_network():
    assert set(NETWORKS) == set(SMALL)
    assert set(NETWORKS.values()) == {Convolutional, Dense, Residual}
    for make in NETWORKS.values():
        assert make((1, 8, 8), (3,), None)(numbers(2, 1, 8, 8)).shape == (2, 3)


@EVERY
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
@pytest.mark.parametrize("inputs, outputs", list(product([(6,), (2, 17, 10)], [(4,), (3, 5), (2, 9, 20)])), ids=str)
def test_any_shape_to_any_shape(make, inputs, outputs, condition):
    condition = (3, 17, 10) if condition == "as x" else condition
    network = make(inputs, outputs, condition)
    context = numbers(5, *inputs)
    if condition is None:
        out = network(context)
    else:
        c = numbers(5, *condition)
        out = network(context, c)
        assert not torch.allclose(out, network(context, c + 1)), "c makes no difference"
    assert out.shape == (5, *outputs)
    reaches_everything(network, out)


@EVERY
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_any_image_is_read_and_made_whole(make, image):
    reader, maker = make(image, (4,), None), make((4,), image, None)
    x = numbers(2, *image).requires_grad_()
    reaches_everything(reader, reader(x))
    assert x.grad is not None and (x.grad != 0).all(), "a pixel is not looked at"
    z = numbers(2, 4).requires_grad_()
    made = maker(z)
    assert made.shape == (2, *image)
    reaches_everything(maker, made)
    assert z.grad is not None and (z.grad != 0).all()


@EVERY
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
@pytest.mark.parametrize("data", [(12,), (2, 9, 6)], ids=str)
def test_every_network_serves_in_every_room(make, data, condition):
    condition = data if condition == "as x" else condition
    q, p = gaussian(make, data, 3, condition), bernoulli(make, (3,), data, condition)
    x, c = numbers(5, *data), None if condition is None else numbers(5, *condition)
    z = q(x, c).sample(Noise(0), 4)
    assert z.shape == (4, 5, 3)
    p_x = p(z, c)
    assert p_x.lead_shape == (4, 5) and p_x.event_shape == data
    reaches_everything(nn.ModuleList([q, p]), p_x.log_prob(x))
    one = p(z[2, 3:4], None if c is None else c[3:4])
    assert_close(one.mean[0], p_x.mean[2, 3], rtol=1e-5, atol=1e-5)
    if condition is not None:
        head = GaussianHead(3)
        prior = ConditionalPrior(NetworkConditional(make(condition, head.raw_shape, None), head, condition))
        reaches_everything(prior, prior(c).log_prob(z.detach()))


@EVERY
def test_forward_changes_nothing_and_a_datum_is_its_own(make):
    network = make((1, 9, 9), (1, 9, 9), (2,))
    x, c = numbers(6, 1, 9, 9), numbers(6, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole = network.train()(x, c)
    assert_close(network.eval()(x, c), whole, rtol=0, atol=0)
    assert_close(network(x[2:3], c[2:3]), whole[2:3], rtol=1e-5, atol=1e-6)
    assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["convolutional", "residual"])
@pytest.mark.parametrize("inputs, outputs", [((1, 64, 64), (20,)), ((20,), (1, 64, 64)), ((20,), (3, 28, 28))], ids=str)
def test_signals_neither_die_nor_explode_at_the_start(name, inputs, outputs):
    network = NETWORKS[name](inputs, outputs, None)
    with torch.no_grad():
        out = network(numbers(50, *inputs))
    assert 0.2 < out.std() < 5


def test_residual_blocks_add_to_what_they_get():
    network = Residual((4,), (4,), hidden=8, blocks=3)
    first, *blocks = list(network.body.middle)[:4]
    h = first(numbers(5, 4))
    for block in blocks:
        with torch.no_grad():
            for parameter in block.layers[-1].parameters():
                parameter.zero_()
        assert_close(block(h), h, rtol=0, atol=0)


def test_dense_is_a_perceptron():
    network = Dense((2, 3), (4,), condition=(2,), hidden=(5,), activation="tanh")
    x, c = numbers(7, 2, 3), numbers(7, 2)
    first, last = (layer for layer in network.layers if isinstance(layer, nn.Linear))
    hidden = torch.tanh(torch.cat((x.flatten(1), c), 1) @ first.weight.T + first.bias)
    assert_close(network(x, c), hidden @ last.weight.T + last.bias)
    assert len(Dense(3, 2, hidden=()).layers) == 1
    network.start_at(torch.arange(4.0))
    assert_close(last.bias.detach(), torch.arange(4.0))


def test_small_images_get_fewer_layers():
    network = Convolutional((1, 8, 8), (4,))
    assert [tuple(layer.weight.shape[:2]) for layer in network.body.down if isinstance(layer, nn.Conv2d)] == [
        (32, 1),
        (32, 32),
        (64, 32),
    ]


def test_a_module_of_ones_own_is_taken_as_it_is():
    own = nn.Linear(3, 4)
    assert build(own, (3,), (4,)) is own
    assert isinstance(build(partial(Dense, hidden=()), (3,), (4,), (2,)), Dense)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_works(name):
    assert Convolutional((1, 8, 8), 3, activation=name, channels=(2,), hidden=4)(numbers(2, 1, 8, 8)).shape == (2, 3)
    assert Dense(5, 3, activation=name)(numbers(2, 5)).shape == (2, 3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Dense(3, 0), "Dense: outputs must be positive, got 0"),
        (lambda: Dense(3, 2, hidden=(0,)), r"Dense: hidden must be positive, got \(0,\)"),
        (lambda: Dense(3, 2, activation="rellu"), "Dense: activation: unknown activation 'rellu'. Did you mean 'relu'"),
        (lambda: Convolutional((1, 0, 8), 2), r"Convolutional: inputs must be positive, got \(1, 0, 8\)"),
        (lambda: Convolutional((1, 8, 8), 2, channels=(4, 0)), "Convolutional: channels must be positive"),
        (
            lambda: Convolutional((1, 8, 8), 2, hidden=0),
            "Convolutional: hidden must be an integer of at least 1, got 0",
        ),
        (
            lambda: Convolutional((1, 8, 8), 2, activation="sine"),
            "Convolutional: activation: unknown activation 'sine'",
        ),
        (lambda: Residual(3, -1), "Residual: outputs must be positive, got -1"),
        (lambda: Residual(3, 2, blocks=0), "Residual: blocks must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
