"""Batch normalisation whose statistics are gathered apart."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.networks import Convolutional, Dense, Normalised
from fourfold.networks.normalisation import BatchNorm, gathering, norms
from fourfold.noise import Noise


def layers() -> tuple[BatchNorm, nn.BatchNorm1d]:
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
            mine.copy_(Noise(0, stream=str(len(mine))).normal((3,)))
            other.copy_(mine)
    return ours, theirs


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5, 2)])
def test_a_training_pass_is_that_of_torch(double: None, shape: tuple[int, ...]):
    ours, _ = layers()
    x = 2 + 3 * Noise(1).normal(shape)
    x, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    got = ours(x)
    wanted = nn.functional.batch_norm(other, None, None, ours.weight, ours.bias, training=True, eps=ours.eps)
    assert_close(got, wanted)
    for value, leaf in ((got, x), (wanted, other)):
        (value**3).sum().backward()
        assert leaf.grad is not None
    assert_close(x.grad, other.grad)


def test_a_pass_changes_nothing_and_gathering_gives_the_moments_of_all_batches(double: None):
    layer = BatchNorm(3)
    x = 2 + 3 * Noise(1).normal((60, 3))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(x)
    assert_close(dict(layer.state_dict()), before, rtol=0, atol=0)
    with gathering(layer):
        for part in x.split(20):
            layer(part)
    assert_close(layer.mean, x.mean(0))
    assert_close(layer.variance, x.var(0, correction=0))
    assert_close(layer.eval()(x), layer.train()(x))


def test_in_evaluation_no_datum_sees_another():
    layer = nn.Sequential(nn.Linear(3, 3), BatchNorm(3))
    x = Noise(1).normal((20, 3))
    with gathering(layer):
        layer(x)
    layer.eval()
    assert_close(layer(x)[:1], layer(x[:1]))
    assert len(norms(layer)) == 1


def test_a_pass_that_fails_leaves_the_statistics_alone():
    layer = BatchNorm(3)
    with pytest.raises(RuntimeError), gathering(layer):
        layer(Noise(1).normal((20, 3)))
        raise RuntimeError
    assert layer.mean.eq(0).all() and layer.variance.eq(1).all()


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match="batch of one"):
        BatchNorm(3)(torch.zeros(1, 3))


CONVOLUTIONAL = partial(Convolutional, channels=(3, 4), hidden=8)
SHAPES = [((1, 6, 5), (4,)), ((4,), (2, 9, 8)), ((4,), (2, 6, 5)), ((4,), (2, 1, 1)), ((3,), (4,))]


@pytest.mark.parametrize("make", [partial(Dense, hidden=(8, 7)), CONVOLUTIONAL], ids=["dense", "convolutional"])
@pytest.mark.parametrize("inputs, outputs", SHAPES, ids=str)
@pytest.mark.parametrize("ends", [False, True])
def test_every_activation_has_its_normalisation_and_no_bias_is_idle(double: None, make, inputs, outputs, ends: bool):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make(inputs, outputs, None, activation=Normalised("tanh", ends))
    found = [one for one in network.modules() if not [*one.children()]]
    assert all(isinstance(before, BatchNorm) for before, after in pairwise(found) if isinstance(after, nn.Tanh))
    x = Noise(1).normal((9, *inputs))
    y = network(x)
    assert y.shape == (9, *outputs) and len(norms(network)) == sum(isinstance(one, nn.Tanh) for one in found) + ends
    if ends:  # each number of a vector, each channel of an image
        dims = (0,) if len(outputs) < 3 or isinstance(network, Dense) else (0, 2, 3)
        mean, variance = y.mean(dims), y.var(dims, correction=0)
        assert mean.abs().max() < 1e-12 and (variance - 1).abs().max() < 0.01
    (Noise(2).normal(tuple(y.shape)) * y).sum().backward()
    for name, parameter in network.named_parameters():  # what the normalisation would take out again is of no use
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name


def test_without_it_a_network_is_what_it_was():
    plain, normed = Dense(3, 2, hidden=(4,)), Dense(3, 2, hidden=(4,), activation=Normalised("relu"))
    assert [*plain.state_dict()] == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
    assert "layers.0.bias" not in normed.state_dict() and "layers.3.bias" in normed.state_dict()
    with pytest.raises(ValueError, match="Dense: activation: unknown activation 'rellu'"):
        Dense(3, 2, activation=Normalised("rellu"))


def test_a_network_with_normalised_outputs_starts_where_it_is_told():
    network = Dense(3, 2, hidden=(4,), activation=Normalised("relu", outputs=True))
    network.start_at(torch.tensor([1.0, -2.0]))
    assert_close(network(Noise(1).normal((50, 3))).mean(0), torch.tensor([1.0, -2.0]))


def test_features_far_from_zero_keep_their_deviation():
    layer, x = BatchNorm(1), 3e4 + Noise(1).normal((4000, 1))
    with gathering(layer):
        layer(x)
    assert_close(layer.variance, x.double().var(0, correction=0).float(), rtol=1e-3, atol=0)
