"""Batch normalisation whose statistics are gathered apart."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

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
