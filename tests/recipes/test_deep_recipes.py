"""Very deep hierarchies: the published sizes, the ways in and out of them, and what a run of one can do."""

from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.models import ResidualNormal, TopDown, TopDownBlock
from fourfold.networks.normalisation import norms
from fourfold.noise import Noise
from fourfold.objectives import ELBO, Balanced
from fourfold.runs.gallery import draw_traversal

MNIST, CIFAR = DataSpec((1, 28, 28), 256, 10), DataSpec((3, 32, 32), 256, 10)
MIXTURE = "discretised_logistic_mixture"


def groups(model: TopDown) -> list[tuple[int, int]]:
    """How many groups of latents there are at each scale, from the top."""
    sides = [shape[1] for shape in model.latent_shapes]
    return [(side, sides.count(side)) for side in dict.fromkeys(sides)]


@pytest.mark.parametrize(
    ("layout", "scales", "millions"),
    [
        ("cifar10", [(1, 1), (4, 3), (8, 6), (16, 11), (32, 22)], 39),
        ("imagenet32", [(1, 2), (4, 5), (8, 10), (16, 20), (32, 41)], 119),
    ],
)
def test_the_published_vdvaes_have_their_layers_and_their_parameters(
    layout: str, scales: list[tuple[int, int]], millions: int
) -> None:
    with torch.device("meta"):
        model = ff.recipes.vdvae.function(CIFAR, layout=layout, likelihood=MIXTURE).model
    assert groups(model) == scales
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


@pytest.mark.slow
def test_the_published_nvae_has_its_groups_and_takes_a_step() -> None:
    made = ff.recipes.nvae(layout="mnist").build(MNIST)
    assert groups(made.model) == [(4, 5), (8, 10)]
    assert isinstance(made.objective, Balanced) and made.objective.alpha.tolist() == [1.0] * 5 + [2.0] * 10
    assert sum(p.numel() for p in made.model.parameters()) == pytest.approx(33.36e6, rel=0.001)
    trace = made.model(Noise(0).uniform((2, 1, 28, 28)).round(), noise=Noise(1))
    total = made.objective(trace).total
    total.mean().backward()
    assert total.isfinite().all() and trace.p_x.event_shape == (1, 28, 28)


@pytest.mark.slow
def test_the_published_vdvae_takes_a_step() -> None:
    made = ff.recipes.vdvae(layout="cifar10", likelihood=MIXTURE).build(CIFAR)
    x = (Noise(0).uniform((1, 3, 32, 32)) * 255).round() / 255
    total = made.objective(made.model(x, noise=Noise(1))).total
    total.mean().backward()
    assert total.isfinite().all()


def test_at_the_start_no_vdvae_pays_for_its_prior() -> None:
    model = ff.recipes.vdvae().build(MNIST).model
    trace = model(torch.zeros(2, 1, 28, 28), noise=Noise(0))
    for level in trace.levels:  # p begins at N(0, 1) wherever it is
        assert not level.p.mean.any() and (level.p.scale == 1).all()


@pytest.mark.parametrize("name", ["nvae", "vdvae"])
@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 8, 8), (1, 28, 28)])
@pytest.mark.parametrize("layout", ["tiny", "small"])
def test_images_of_any_size_go_through(name: str, shape: tuple[int, int, int], layout: str) -> None:
    made = getattr(ff.recipes, name)(layout=layout).build(DataSpec(shape, 2, None))
    trace = made.model(Noise(0).uniform((2, *shape)).round(), noise=Noise(1))
    assert trace.p_x.event_shape == shape
    assert made.objective(trace).total.isfinite().all()
    assert made.model.sample(3, noise=Noise(2)).shape == (3, *shape)
    kinds = {type(rung) for rung in made.model.rungs}
    assert kinds == ({ResidualNormal} if name == "nvae" else {TopDownBlock})
    assert bool(norms(made.model)) == (name == "nvae")


def test_what_is_asked_for_is_what_is_made(unchecked: None) -> None:
    assert isinstance(ff.recipes.vdvae().build(MNIST).objective, ELBO)
    penalty = ff.recipes.nvae(smoothness=0.25).build(MNIST).model.penalty
    assert penalty is not None and penalty.weight == 0.25
    with pytest.raises(ValueError, match="vdvae: layout: unknown value 'huge'"):
        ff.recipes.vdvae(layout="huge").build(MNIST)
    with pytest.raises(ValueError, match="recipe nvae needs images"):
        ff.recipes.nvae().build(DataSpec((784,), 256, None))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("nvae", {"optimiser": "adamax", "lr": 1e-2}), ("vdvae", {"lr": 3e-3})])
def test_a_run_learns_and_its_numbers_leave_the_penalty_out(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    data = ff.data.digits()
    common = {"epochs": 8, "ema": 0.9, "skip_grad": 1e4, "quiet": True, "out": tmp_path}
    run = ff.fit(getattr(ff.recipes, name)(), data, **common, **options)
    found = run.evaluate(importance_samples=10).per_datum
    last = run.metrics[-1]
    assert found["elbo"].mean() == pytest.approx(last["validation/elbo [nats]"], abs=1.0)
    # independent pixels at the training data's means cost 27.15 nats
    assert -27.15 < found["elbo"].mean() <= -found["nll_is"].mean()
    assert len(run.encode(data.test)) == 5
    assert draw_traversal(run).exists()
