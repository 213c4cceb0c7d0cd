"""The variational ladder: levels that see x alone, meet only on the way to x, and lie at different depths."""

from typing import Any

import pytest
import torch
from torch import nn

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian
from fourfold.models import TopDown
from fourfold.noise import Noise

GREY = DataSpec((1, 9, 6), 256, None)
SMALL = {"latents": (2, 1, 3), "hidden": 12, "channels": 4}
NETWORKS = pytest.mark.parametrize("network", ["dense", "convolutional"])


def ladder(**flags: object) -> Any:
    model = ff.recipes.variational_ladder(**{**SMALL, **flags}).build(GREY).model
    assert isinstance(model, TopDown)
    return model


def layers(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) for part in module.modules())


@NETWORKS
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 5), (1, 1, 9), (3, 64, 64)])
def test_any_size_of_image(network: str, shape: tuple[int, int, int]) -> None:
    model = ff.recipes.variational_ladder(network=network, **SMALL).build(DataSpec(shape, 256, None)).model
    assert model.latent_shapes == ((3,), (1,), (2,))  # from the top; the flag goes from the bottom
    assert model.sample(2, noise=Noise(0)).shape == (2, *shape)


def test_vectors_and_real_data_are_for_dense_networks() -> None:
    spec = DataSpec((7,), None, None)
    model = ff.recipes.variational_ladder(network="dense", **SMALL).build(spec).model
    assert model(torch.randn(3, 7), noise=Noise(0)).log_weight.isfinite().all()
    with pytest.raises(ValueError, match="unless network is dense"):
        ff.recipes.variational_ladder(**SMALL).build(spec)


@NETWORKS
def test_every_level_sees_x_alone_and_its_rate_is_of_the_flat_prior(network: str) -> None:
    model, x = ladder(network=network), torch.rand(4, 1, 9, 6).round()
    first, second = (model(x, draws=2, noise=Noise(seed)).levels for seed in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert one.kl is not None and other.kl is not None and isinstance(one.q, DiagonalGaussian)
        torch.testing.assert_close(one.kl.expand(2, 4), other.kl.expand(2, 4))  # whatever was drawn above
        mean, scale = one.q.mean, one.q.scale
        by_hand = 0.5 * (mean.square() + scale.square() - 1).sum(-1) - scale.log().sum(-1)
        torch.testing.assert_close(one.kl.expand(2, 4), by_hand.expand(2, 4))


@NETWORKS
def test_the_higher_the_level_the_deeper_the_way(network: str) -> None:
    model = ladder(network=network)
    ups = [layers(part) for part in model.upward.networks]
    assert ups == [1, 1, 1] and [layers(rung.join.below) for rung in model.rungs] == [1, 1, 1]
    # From z of each level to x: its own lift and join, and the joins of all levels below; and the same way up.
    seen: list[int] = []
    for i, part in enumerate(model.upward.networks):
        part.register_full_backward_hook(lambda *given, i=i: seen.append(i))
    x = torch.rand(2, 1, 9, 6, requires_grad=True)
    for level in model(x, noise=Noise(0)).levels:
        seen.append(-1)
        level.q.mean.sum().backward(retain_graph=True)
    assert seen == [-1, 2, 1, 0, -1, 1, 0, -1, 0]


@pytest.mark.parametrize("merge", ["add", "concatenate"])
def test_the_state_is_the_formula(merge: str, double: None) -> None:
    """z̃_l = f_l(z̃_{l+1}, v_l(z_l)) of dense layers, by hand."""
    model = ladder(network="dense", merge=merge)
    z = [torch.randn(5, *shape) for shape in model.latent_shapes]
    joins = [rung.join for rung in model.rungs]
    state = joins[0].below(joins[0].lift(z[0]))
    for join, part in zip(joins[1:], z[1:], strict=True):
        lifted = join.lift(part)
        state = join.below(state + 0.1 * lifted if merge == "add" else torch.cat((state, lifted), 1))
    torch.testing.assert_close(model.decode(tuple(z)), model.likelihood(state).mean)


def test_arguments_are_checked_by_name() -> None:
    for flags, match in (
        ({"latents": ()}, "latents: wanted a size for each level"),
        ({"latents": (2, 0)}, "variational_ladder: latents"),
        ({"network": "residual"}, "network"),
        ({"merge": "multiply"}, "variational_ladder: merge"),
        ({"activation": "step"}, "activation"),
    ):
        with pytest.raises(ValueError, match=match):
            ladder(**flags)
