"""Hierarchies as recipes: what they are made of, and that every level is trained."""

from itertools import product
from math import log

import pytest
import torch

import fourfold as ff
from fourfold.conditional import NetworkConditional
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian, GaussianHead
from fourfold.models import BottomUp, Model, TopDown
from fourfold.networks import Convolutional, Dense
from fourfold.networks.normalisation import gathering, norms
from fourfold.noise import Noise
from fourfold.objectives import ELBO, IWAE
from fourfold.plan import Recipe

SPEC = DataSpec((1, 8, 8), 2, None)
SMALL = {"latents": (6, 4, 3), "hidden": (16, 12, 8)}
NAMES = pytest.mark.parametrize("name", ["hvae", "lvae"])


def made(name: str, **arguments: object) -> Recipe:
    return ff.recipes.TABLE[name](**{**SMALL, **arguments}).build(SPEC)


def images(n: int = 40) -> torch.Tensor:
    return Noise(0, stream="x").uniform((n, 1, 8, 8)).round()


def settled(model: Model) -> Model:
    """A model whose normalisations have seen data, as training leaves it."""
    with torch.no_grad(), gathering(model.train()):
        model(images(), noise=Noise(3))
    return model.eval()


@NAMES
@pytest.mark.parametrize("network, batch_norm", [*product(["dense", "convolutional"], [False, True])])
def test_every_level_and_every_weight_is_used(name: str, network: str, batch_norm: bool) -> None:
    recipe = made(name, network=network, batch_norm=batch_norm)
    model = recipe.model
    assert isinstance(model, BottomUp if name == "hvae" else TopDown) and model.latent_shapes == ((3,), (4,), (6,))
    trace = model(images(), noise=Noise(1))
    assert [tuple(level.z.shape) for level in trace.levels] == [(1, 40, 3), (1, 40, 4), (1, 40, 6)]
    terms = recipe.objective(trace)
    assert {"rate_1", "rate_2", "rate_3"} <= set(terms.parts)
    torch.testing.assert_close(sum(terms.parts[f"rate_{i}"].value for i in (1, 2, 3)), terms.parts["rate"].value)
    (-trace.log_weight.mean()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key
    assert bool(norms(model)) == batch_norm
    below = model.likelihood.network
    assert isinstance(below, Convolutional if network == "convolutional" else Dense)


@NAMES
def test_normalised_are_hidden_layers_and_statistics_of_latents_but_not_what_x_is_drawn_from(name: str) -> None:
    model = made(name, batch_norm=True).model
    ends = {
        key: [*part.layers][-1] for key, part in model.named_modules() if isinstance(part, Dense) and len(part.layers)
    }
    normed = {key for key, last in ends.items() if norms(last)}
    assert set(ends) - normed == {"likelihood.network"}
    assert all(len(norms(part)) >= 1 for part in model.children() if any(True for _ in part.parameters()))


@NAMES
def test_no_variance_is_below_its_bound_in_draws_and_densities(name: str) -> None:
    chain = {"scale": "softplus"} if name == "hvae" else {}
    model = settled(made(name, batch_norm=True, **chain).model)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, NetworkConditional) and isinstance(part.head, GaussianHead):
                shift = [*part.network.layers][-1].bias
                shift[len(shift) // 2 :] = -1e3  # a network that wants no variance at all
        trace = model(images(), draws=2, noise=Noise(1))
    below = 0.0 if name == "hvae" else log(2)  # two Gaussians at the bound merge into one of half the variance
    for level, last in zip(trace.levels, (True, False, False), strict=True):
        assert isinstance(level.q, DiagonalGaussian) and isinstance(level.p, DiagonalGaussian)
        least = torch.tensor(-10.0 - (0.0 if last else below))
        torch.testing.assert_close(2 * level.q.log_scale.max(), least)
        torch.testing.assert_close(level.z - level.q.mean, (level.z - level.q.mean).clamp(-0.05, 0.05))
        assert last or 2 * level.p.log_scale.min() >= -10 - 1e-5
    assert trace.log_weight.isfinite().all()


def test_shared_statistics_make_a_posterior_narrower_than_its_prior_and_others_do_not() -> None:
    for share in (True, False):
        model = settled(made("lvae", share=share).model)
        trace = model(images(), draws=3, noise=Noise(1))
        narrower = [bool((level.q.scale <= level.p.scale * (1 + 1e-6)).all()) for level in trace.levels[1:]]
        assert narrower == [share] * 2
    wider = sum(p.numel() for p in made("lvae", share=False).model.parameters())
    assert wider > sum(p.numel() for p in made("lvae").model.parameters())


def test_the_rate_is_warmed_up_unless_told_otherwise() -> None:
    objective = made("lvae").objective
    assert isinstance(objective, ELBO) and objective.beta.item() == pytest.approx(1e-3)
    objective.advance(2000)
    assert objective.beta.item() == 1
    assert made("lvae", beta_schedule="constant:1").objective.beta.item() == 1
    assert made("hvae").objective.beta.item() == 1
    for name in ("hvae", "lvae"):
        several = made(name, draws=5).objective
        assert isinstance(several, IWAE) and several.draws == 5


@NAMES
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: beta_schedule: the bound of several draws has no weight"):
        made(name, draws=2, beta_schedule="linear:0:1:5")
    with pytest.raises(ValueError, match=f"{name}: latents and hidden: wanted as many widths as levels"):
        made(name, hidden=(8,))
    with pytest.raises(ValueError, match=f"{name}: network: unknown value 'residual'"):
        made(name, network="residual")
    with pytest.raises(ValueError, match=f"recipe {name} needs images"):
        ff.recipes.TABLE[name](network="convolutional").build(DataSpec((64,), 2, None))
    with pytest.raises(ValueError, match="activation: only leaky_relu has a number"):
        made(name, activation="relu:0.1")


def test_one_level_is_a_vae() -> None:
    model = made("lvae", latents=(3,), hidden=(8,)).model
    assert model(images(), noise=Noise(0)).log_weight.isfinite().all() and model.latent_shapes == ((3,),)


def test_runs_that_knew_no_scale_have_the_models_they_had() -> None:
    """A record of a former hvae says nothing of scales: it is built with log σ, as it was."""
    plan = ff.recipes.hvae(latents=(3, 2), hidden=(6, 5))
    model = plan.build(ff.data.DataSpec((1, 4, 4), 256, None)).model
    heads = [part for part in model.modules() if isinstance(part, GaussianHead)]
    assert [head.kind for head in heads] == ["element"] * len(heads) and len(heads) == 3
    with pytest.raises(ValueError, match="hvae: scale"):
        ff.recipes.hvae(scale="log").build(ff.data.DataSpec((1, 4, 4), 256, None))
