"""The gated PixelCNN sees the pixels before, all of them and no others; kept pixel by pixel it says the same."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fourfold.networks import GatedPixelCNN, PixelStacks
from fourfold.noise import Noise

SMALL = PixelStacks(layers=3, filters=12, kernel=3, first=3)
H, W = 6, 7


def network(colours: int = 1, given: tuple[int, ...] | None = None, stacks: PixelStacks = SMALL) -> GatedPixelCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GatedPixelCNN((colours, H, W), 2, given, stacks)


def influence(net: GatedPixelCNN, given: Tensor | None = None) -> Tensor:
    """Which element out depends on which in, ``(C, H, W, C, H, W)``, by the Jacobian, all rectifiers open."""
    with torch.no_grad():
        net.hidden.bias.fill_(9.0)
        net.layers[-1].carry.bias.fill_(9.0)
    colours = net.event[0]
    jacobian = torch.func.jacrev(lambda x: net(x, given))(Noise(1).uniform((colours, H, W)))
    return (jacobian.reshape(2, colours, H, W, colours, H, W) != 0).any(0)


def before(stacks: PixelStacks, colours: int = 1) -> Tensor:
    """What a window lets through, said pixel by pixel."""
    total = stacks.first // 2 + (stacks.layers - 1) * (stacks.kernel // 2)
    w, h = stacks.window or (2 * total + 1, total)
    left, right = -(-(w - 1) // 2), w - 1 - -(-(w - 1) // 2)
    wanted = torch.zeros(colours, H, W, colours, H, W, dtype=torch.bool)
    every = range(colours), range(H), range(W)
    for k, r, c, j, row, column in product(*every, *every):
        above = 1 <= r - row <= h and -left <= column - c <= right
        beside = row == r and 1 <= c - column <= left
        wanted[k, r, c, j, row, column] = above or beside or ((row, column) == (r, c) and j < k)
    return wanted


@pytest.mark.parametrize("given", [None, (3,), (2, H, W)], ids=str)
@pytest.mark.parametrize("colours", [1, 3])
def test_every_pixel_before_counts_and_no_other(colours: int, given, double):
    net = network(colours, given)
    assert influence(net, None if given is None else Noise(2).normal(given)).equal(before(SMALL, colours))


@pytest.mark.parametrize(
    "window", [(1, 1), (2, 1), (3, 1), (1, 3), (2, 2), (4, 2), (5, 1), (7, 3), (6, 3), (5, 3)], ids=str
)
@pytest.mark.parametrize("colours", [1, 2])
def test_a_window_is_kept_exactly(window: tuple[int, int], colours: int, double):
    stacks = PixelStacks(layers=3, filters=8, kernel=3, first=3, window=window)
    assert influence(network(colours, stacks=stacks)).equal(before(stacks, colours))


@pytest.mark.parametrize("layers, first, kernel", [(1, 3, 3), (1, 7, 5), (2, 3, 5), (4, 5, 1)])
def test_all_sizes_see_what_they_reach(layers: int, first: int, kernel: int, double):
    stacks = PixelStacks(layers, 8, kernel, first)
    assert influence(network(stacks=stacks)).equal(before(stacks))


def test_enough_layers_leave_no_pixel_out(double):
    """No blind spot: the last pixel depends on every other."""
    stacks = PixelStacks(layers=4, filters=8, kernel=5, first=7)
    seen = influence(network(stacks=stacks))[0, -1, -1, 0]
    assert seen.sum() == H * W - 1 and not seen[-1, -1]


def test_what_is_given_reaches_every_pixel_and_no_mask_hides_it(double):
    x, vector, maps = Noise(1).uniform((1, H, W)), Noise(2).normal((3,)), Noise(2).normal((2, H, W))
    by_vector = torch.func.jacrev(lambda z: network(1, (3,))(x, z))(vector)
    assert (by_vector != 0).all()
    by_maps = (torch.func.jacrev(lambda z: network(1, (2, H, W))(x, z))(maps) != 0)[0]
    for row, column in product(range(H), range(W)):
        assert by_maps[row, column, :, row, : column + 1][:, max(0, column - 2) :].all()
        assert not by_maps[row, column, :, row + 1 :].any() and not by_maps[row, column, :, row, column + 1 :].any()


@pytest.mark.parametrize("window", [None, (4, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("given", [None, (3,), (2, H, W)], ids=str)
@pytest.mark.parametrize("colours", [1, 3])
def test_pixel_by_pixel_it_says_the_same(colours: int, given, window, double):
    net = network(colours, given, PixelStacks(layers=3, filters=6, kernel=3, first=5, window=window))
    x = Noise(3).uniform((4, colours, H, W))
    z = None if given is None else Noise(4).normal((4, *given))
    whole, walk = net(x, z).reshape(4, 2, colours, H, W), net.walk(z, 4)
    for row, column, colour in product(range(H), range(W), range(colours)):
        numbers = walk.numbers(row, column, colour)
        assert_close(numbers, whole[:, :, colour, row, column], rtol=0, atol=1e-14)
        walk.put(row, column, colour, x[:, colour, row, column])


@pytest.mark.parametrize("given", [(3,), (2, H, W)], ids=str)
def test_draws_share_what_is_of_x_alone(given: tuple[int, ...], double):
    net = network(1, given)
    x, z = Noise(5).uniform((2, 1, H, W)), Noise(6).normal((5, 2, *given))
    rows: list[int] = []
    for layer in net.layers:
        layer.above.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    shared = net(x, z)
    assert rows == [2, 2, 2]
    alone = torch.stack([net(x, one) for one in z])
    assert_close(shared, alone, rtol=0, atol=1e-14)
    assert_close(shared, net(x.expand(5, 2, 1, H, W), z), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: GatedPixelCNN((6, 7), 1), r"event: wanted an image \(C, H, W\), got \(6, 7\)"),
        (lambda: GatedPixelCNN((3, 6, 7), 1, stacks=PixelStacks(filters=8)), "filters: wanted a multiple of the 3"),
        (lambda: GatedPixelCNN((1, 6, 7), 1, (2, 7, 6)), r"given: wanted \(F,\) or \(F, 6, 7\), got \(2, 7, 6\)"),
        (lambda: network(stacks=PixelStacks(kernel=4)), "kernel: wanted an odd width of at least 1, got 4"),
        (lambda: network(stacks=PixelStacks(first=1)), "first: wanted an odd width of at least 3, got 1"),
        (lambda: network(stacks=PixelStacks(layers=0)), "layers must be an integer of at least 1, got 0"),
        (lambda: network(stacks=PixelStacks(layers=1, window=(9, 2))), "reach 7 × 3 pixels, which is less than 9 × 2"),
        (lambda: network(stacks=PixelStacks(window=(4, 0))), "window must be an integer of at least 1, got 0"),
        (lambda: network()(torch.zeros(1, W, H)), r"x: wanted \(…, 1, 6, 7\), got \(1, 7, 6\)"),
        (lambda: network()(torch.zeros(1, H, W), torch.zeros(3)), "built for nothing to be given"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, why: str):
    with pytest.raises(ValueError, match="GatedPixelCNN: .*" + why):
        make()
