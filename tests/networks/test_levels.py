"""Networks between the levels of a variational ladder."""

import pytest
import torch

from fourfold.networks import Doubling, Fade, Halving, Join, halved

SHAPES = [(1, 28, 28), (3, 7, 5), (2, 1, 9), (4, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_halving_and_doubling_are_there_and_back(shape: tuple[int, int, int]) -> None:
    half = halved(shape, 6)
    x = torch.randn(2, *shape)
    down = Halving(shape, half)(x)
    assert tuple(down.shape[1:]) == half and tuple(Doubling(half, shape)(down).shape) == (2, *shape)


@torch.no_grad()
def test_the_variance_of_rectified_features_stays() -> None:
    """E y² = 2 E x²: half of it is left when y is rectified; a little less at the border, where zeros are seen."""
    torch.manual_seed(0)
    x = torch.randn(50, 64, 32, 32).relu()
    down = Halving((64, 32, 32), (64, 16, 16))(x)
    assert float(down.square().mean() / x.square().mean()) == pytest.approx(2, rel=0.15)
    up = Doubling((64, 16, 16), (64, 32, 32))(down.relu())
    assert float(up.square().mean() / down.relu().square().mean()) == pytest.approx(2, rel=0.15)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="Halving: wanted images"):
        Halving((1, 8, 8), (4, 3, 3))
    with pytest.raises(ValueError, match="Doubling: wanted images"):
        Doubling((5,), (1, 8, 8))


def test_joins() -> None:
    lift, below = torch.nn.Linear(2, 3), torch.nn.Identity()
    state, z = torch.randn(5, 3), torch.randn(5, 2)
    torch.testing.assert_close(Join(lift, below, 3)(state, z), state + 0.1 * lift(z))
    assert Join(lift, below, 3, "concatenate")(state, z).equal(torch.cat((state, lift(z)), 1))
    assert Join(lift, below)(z).equal(lift(z))
    images = Join(torch.nn.Unflatten(1, (2, 1, 1)), below, 2)
    assert images.gate is not None
    with torch.no_grad():
        images.gate.copy_(torch.tensor([0.0, 1.0]))
    made = images(torch.zeros(5, 2, 1, 1), z)
    assert made[:, 0].eq(0).all() and made[:, 1, 0, 0].equal(z[:, 1])  # a gate is of a channel
    with pytest.raises(ValueError, match="Join: merge"):
        Join(lift, below, 3, "multiply")


def test_a_fade_is_a_factor_that_is_set_from_outside() -> None:
    fade, x = Fade(), torch.randn(4)
    assert fade(x).equal(x) and list(fade.state_dict()) == ["share"]
    fade.share.fill_(0.25)
    assert fade(x).equal(0.25 * x)
