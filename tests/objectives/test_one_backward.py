"""One draw in the place of K: the mean of its gradient is the whole one, its value the bound."""

from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fourfold as ff
from fourfold.data import DataSpec, View
from fourfold.models import VAE, Masking, Model
from fourfold.noise import Noise, Recorder
from fourfold.objectives import CIWAE, IWAE, MIWAE, importance
from fourfold.objectives.alone import drawn_by_weight, noise_of
from fourfold.training import Step

SPEC = DataSpec((4,), 2, None)
X = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0]], dtype=torch.uint8)
MODELS = {
    "flat": ff.recipes.vae(latent=2, hidden=(3,)),
    "flow": ff.recipes.iaf_vae(latent=2, hidden=(3,)),
    "refined": ff.recipes.semi_amortised_vae(steps=1, latent=2, hidden=(3,)),
    "two levels": ff.recipes.hvae(latents=(1, 2), hidden=(3, 3), batch_norm=False),
    "ladder": ff.recipes.lvae(latents=(1, 2), hidden=(3, 3), batch_norm=False),
}


def build(name: str) -> Model:
    with torch.random.fork_rng():
        model = MODELS[name].build(SPEC, seed=3).model.double()
    if name == "flat":  # the same dropped elements for every draw, and for its second pass
        assert isinstance(model, VAE)
        model.corruption = Masking(0.3)
    return model


def gradient(model: Model, objective: IWAE | MIWAE, noise: Noise) -> tuple[Tensor, Tensor]:
    """What a training step differentiates, and the numbers it tells."""
    loss, numbers = Step(View(2), model, objective)(X, None, noise)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(model.parameters(), found, strict=True)]
    ), numbers


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("outer", "inner"), [(1, 3), (2, 2)], ids=["iwae3", "miwae22"])
def test_all_choices_together_are_the_whole_gradient(
    double: None, monkeypatch: pytest.MonkeyPatch, name: str, outer: int, inner: int
) -> None:
    """Every choice of a draw for each datum and group, weighed by its chance: the gradient of all draws."""
    model, noise = build(name).train(), partial(Noise, 0)
    make = partial(IWAE, inner) if outer == 1 else partial(MIWAE, outer, inner)
    whole, told = gradient(model, make(), noise())
    shares: list[Tensor] = []

    def listened(log_weight: Tensor, source: Noise) -> Tensor:
        shares.append(log_weight.softmax(1))
        return chosen

    monkeypatch.setattr(importance, "drawn_by_weight", listened)
    total, chances = torch.zeros_like(whole), 0.0
    for picks in product(range(inner), repeat=outer * len(X)):
        index = torch.tensor(picks).reshape(outer, len(X))
        chosen = index + inner * torch.arange(outer)[:, None]
        found, numbers = gradient(model, make(estimator="one-backward"), noise())
        chance = shares[-1].gather(1, index[:, None]).prod().item()
        total, chances = total + chance * found, chances + chance
        assert_close(numbers, told, rtol=1e-12, atol=1e-12)
    assert chances == pytest.approx(1, abs=1e-12)
    assert_close(total, whole, rtol=1e-10, atol=1e-10)
    assert (found - whole).abs().max() > 1e-3  # each alone is another


def test_a_draw_is_chosen_as_often_as_it_weighs() -> None:
    log_weight = torch.tensor([[0.1, 0.0, 0.6, 0.3], [0.25, 0.25, 0.5, 0.0]]).log()[:, :, None].expand(2, 4, 50_000)
    index = drawn_by_weight(log_weight, Noise(0))
    assert index.shape == (2, 50_000)
    for i in range(2):
        counts = torch.bincount(index[i] - 4 * i, minlength=4) / 50_000
        assert_close(counts, log_weight[i, :, 0].exp(), atol=0.01, rtol=0)
        assert (counts[log_weight[i, :, 0].exp() == 0] == 0).all()


def test_the_second_pass_meets_its_draw_again(double: None) -> None:
    model, seen = build("ladder"), Recorder(Noise(4))
    x = X.double()
    every = model(x, draws=5, noise=seen)
    index = torch.tensor([[3, 0], [1, 1]])
    again = model(x, draws=2, noise=noise_of(seen, index, 5))
    assert_close(again.log_weight, every.log_weight.gather(0, index), rtol=1e-12, atol=1e-12)


def test_parts_of_a_batch_choose_as_the_whole_does(double: None) -> None:
    """Two processes: each draws the whole batch's choices and takes its part."""
    model, objective = build("flat"), IWAE(4, "one-backward")
    step, x = Step(View(2), model, objective), torch.cat([X, 1 - X])
    whole = torch.autograd.grad(step(x, None, Noise(1))[0], list(model.parameters()))
    halves = [
        torch.autograd.grad(step(part, None, Noise(1, shard=(i, 2)))[0], list(model.parameters()))
        for i, part in enumerate(x.chunk(2))
    ]
    for wanted, first, second in zip(whole, *halves, strict=True):
        assert_close((first + second) / 2, wanted, rtol=1e-12, atol=1e-12)


def test_nothing_is_kept_of_the_pass_of_all_draws() -> None:
    """The tensors that wait for the backward pass are those of one draw: an eighth of autograd's."""

    def kept(estimator: str) -> int:
        sizes: list[int] = []
        recipe = ff.recipes.iwae(draws=64, latent=2, hidden=(32,), estimator=estimator)
        made = recipe.build(DataSpec((20,), 2, None))
        step = Step(View(2), made.model, made.objective)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            step(torch.ones(8, 20, dtype=torch.uint8), None, Noise(0))
        return sum(sizes)

    assert 8 * kept("one-backward") < kept("autograd")


def test_what_it_cannot_be_taken_for_is_refused(unchecked: None) -> None:
    model = build("flat").float()
    objective = IWAE(3, "one-backward")
    trace = model(X.float(), draws=3, noise=Noise(0))
    with pytest.raises(ValueError, match=r"wanted a second pass.*got one of 3.*training\.Step"):
        objective.surrogate(model, trace, objective(trace))
    with pytest.raises(ValueError, match="CIWAE: one-backward has no part for the ELBO"):
        CIWAE(estimator="one-backward")
    with pytest.raises(NotImplementedError, match="differentiates all"):
        ff.objectives.ELBO().again(model, trace, Recorder(Noise(0)))
    normal = ff.recipes.lvae(latents=(1, 2), hidden=(3, 3)).build(SPEC).model.train()
    with pytest.raises(ValueError, match="batch normalisation makes the second pass"):
        Step(View(2), normal, objective)(X, None, Noise(0))
    model.posterior.network = nn.Sequential(model.posterior.network, nn.Dropout(0.1))
    with pytest.raises(ValueError, match="Dropout makes the second pass"):
        Step(View(2), model.train(), objective)(X, None, Noise(0))
    spectral = ff.recipes.nvae.function(DataSpec((1, 8, 8), 2, None)).model
    if spectral.penalty is not None:
        with pytest.raises(ValueError, match=r"penalties .* belong to all draws"):
            Step(View(2), spectral, objective)(torch.ones(2, 1, 8, 8, dtype=torch.uint8), None, Noise(0))


@pytest.mark.parametrize("recipe", ["iwae", "miwae", "piwae"])
def test_recipes_train_with_it(tmp_path: Path, recipe: str) -> None:
    sizes = {"draws": 8} if recipe == "iwae" else {"outer": 2, "inner": 4}
    plan = ff.recipes.TABLE[recipe](**sizes, estimator="one-backward", latent=3, hidden=(32,))
    run = ff.fit(plan, ff.data.digits(), epochs=8, lr=1e-2, out=tmp_path / "r", quiet=True)
    assert run.metrics[-1]["validation/objective [nats]"] > run.metrics[0]["train/objective [nats]"] + 1.5
