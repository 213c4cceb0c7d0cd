"""Bottlenecks, cells, and the way between images and maps."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.networks.blocks import Bottleneck, Enlarged, FromImage, Halved, ToImage, padded
from fourfold.networks.cells import EncoderCell, GenerativeCell, SqueezeExcite, weight_normed
from fourfold.noise import Noise


def reached(network: nn.Module, channels: int, side: int) -> torch.Tensor:
    """Which pixels of what comes in one pixel of what goes out depends on."""
    x = Noise(0).normal((1, channels, side, side)).requires_grad_()
    out = network.eval()(x)
    out[..., out.shape[-2] // 2, out.shape[-1] // 2].sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(0) > 0


@pytest.mark.parametrize(("wide", "span"), [(True, 5), (False, 1)])
def test_a_bottleneck_sees_two_3x3_convolutions_or_a_pixel(wide: bool, span: int) -> None:
    seen = reached(Bottleneck((4, 3, 4), wide), 4, 9)
    assert seen.any(0).sum() == seen.any(1).sum() == span


def test_a_bottleneck_adds_to_what_comes_in_and_begins_as_its_factor_says() -> None:
    x = Noise(1).normal((2, 4, 5, 5))
    assert_close(Bottleneck((4, 3, 4), factor=0.0)(x), x)
    assert not Bottleneck((4, 3, 6), residual=False, factor=0.0)(x).any()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = Bottleneck((4, 3, 4))(x) - x
        torch.manual_seed(0)
        assert_close(Bottleneck((4, 3, 4), factor=0.5)(x) - x, 0.5 * one)
    with pytest.raises(ValueError, match="a residual block keeps its channels"):
        Bottleneck((4, 3, 6))


def test_halved_and_enlarged() -> None:
    x = Noise(2).normal((2, 4, 6, 6))
    assert_close(Halved(nn.Identity())(x)[0, 0, 1, 2], x[0, 0, 2:4, 4:6].mean())
    assert_close(Halved(nn.Identity(), whole=True)(x)[..., 0, 0], x.mean((2, 3)))
    enlarge = Enlarged((4, 12, 12))
    assert_close(enlarge(x)[:, :, 5, 8], x[:, :, 2, 4])
    with torch.no_grad():
        enlarge.bias.normal_(generator=torch.Generator().manual_seed(0))
    assert_close(enlarge(x) - enlarge.bias, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert_close(enlarge()[0], enlarge.bias)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("image", [(1, 28, 28), (3, 9, 10)])
def test_there_and_back_a_pixel_stays_where_it_was(image: tuple[int, int, int], patch: int) -> None:
    side = padded(image, 1, patch)
    assert all(n % 2 == 0 and n * patch >= s for n, s in zip(side, image[1:], strict=True))
    there = FromImage(image, (image[0] * patch**2, *side), patch=patch)
    back = ToImage((image[0] * patch**2, *side), image, patch=patch)
    with torch.no_grad():
        for layer in (there.layer, back.layer):
            nn.init.dirac_(layer.weight)
    x = Noise(3).uniform((2, *image))
    assert_close(back(there(x)), 2 * x - 1)


def test_squeeze_and_excitation_scales_channels_alike_everywhere() -> None:
    layer, x = SqueezeExcite(32), Noise(4).normal((2, 32, 3, 3))
    factors = layer(x) / x
    assert_close(factors, factors[..., :1, :1].expand_as(x))
    assert layer.layers[0].out_features == 4 and SqueezeExcite(128).layers[0].out_features == 8


def test_the_cells_add_a_tenth_to_what_comes_in() -> None:
    x = Noise(5).normal((3, 8, 6, 6))
    for cell in (EncoderCell((8, 8)), GenerativeCell((8, 8))):
        assert_close(cell(x) - x, 0.1 * cell.branch(x))
    assert EncoderCell((8, 16), halve=True)(x).shape == (3, 16, 3, 3)
    assert GenerativeCell((8, 4), double=True)(x).shape == (3, 4, 12, 12)


def test_a_halving_cell_adds_all_four_pixels_of_a_square() -> None:
    seen = reached(EncoderCell((4, 4), halve=True).skip, 4, 6)
    assert seen.nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_a_generative_cell_convolves_each_wide_channel_alone() -> None:
    cell = GenerativeCell((4, 4), expand=3)
    depthwise = [layer for layer in cell.branch if isinstance(layer, nn.Conv2d) and layer.groups > 1]
    assert [(layer.groups, layer.kernel_size) for layer in depthwise] == [(12, (5, 5))]
    # squeeze and excitation sees the whole map: without it, one pixel sees 5 × 5
    seen = reached(cell.branch[:-1], 4, 9)
    assert seen.any(0).sum() == seen.any(1).sum() == 5


def test_a_weight_normed_convolution_is_a_direction_times_a_length() -> None:
    layer = weight_normed(3, 2, 3)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.parametrizations.weight.original1.mul_(7)
    assert_close(layer.weight, before)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2)
    assert_close(layer.weight, 2 * before)
