"""Recipes with importance-weighted bounds and refined posteriors, as they train."""

from math import log
from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec, Order
from fourfold.models import VAE, SemiAmortised
from fourfold.noise import Noise
from fourfold.objectives import CIWAE, IWAE, MIWAE
from fourfold.runs.prepare import prepare
from fourfold.training import Training

DIGITS = ff.data.digits()
SPEC = DataSpec((1, 6, 6), 256, 10)


@pytest.mark.parametrize("estimator", ["autograd", "dreg"])
def test_piwae_gives_each_part_the_gradient_of_its_own_bound(double: None, tmp_path: Path, estimator: str) -> None:
    """Three steps against a loop by hand: two optimisers, disjoint parameters, bounds written out."""
    recipe = ff.recipes.piwae(outer=3, inner=2, latent=3, hidden=(16,), estimator=estimator)
    run = ff.fit(recipe, DIGITS, epochs=0.2, precision="64", out=tmp_path / "r", quiet=True)
    assert run.outcome.step == 3
    step = prepare(recipe, DIGITS, Training(precision="64")).step.double()
    model, order, x = step.model, Order(len(DIGITS.train), 100, 0), torch.from_numpy(DIGITS.train.x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decoder, encoder = list(model.likelihood.parameters()), list(model.posterior.parameters())
    assert {id(p) for p in decoder + encoder} == {id(p) for p in model.parameters()}
    optimisers = torch.optim.Adam(decoder), torch.optim.Adam(encoder)
    for t in range(3):
        noise = Noise(0, stream="train")
        sources = noise.at(t), noise.fork("encoder").at(t)
        for i, (optimiser, own, source) in enumerate(zip(optimisers, (decoder, encoder), sources, strict=True)):
            batch = step.view(x[order.indices(t)], None, source)
            trace = model(batch.x, draws=6, noise=source)
            shape = (3, 2, -1) if i else (1, 6, -1)
            log_weight = trace.log_weight.reshape(shape)
            if i and estimator == "dreg":
                (level,) = trace.levels
                fixed = level.q.detached().log_prob(level.z)
                path = (trace.log_likelihood + level.log_p - fixed).reshape(shape)
                loss = -(log_weight.detach().softmax(1).square() * path).sum(1).mean()
            else:
                loss = -(log_weight.logsumexp(1) - log(log_weight.shape[1])).mean()
            for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                parameter.grad = gradient
            optimiser.step()
    found = run.model.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
        assert not torch.equal(value, before[name])


def test_piwae_validates_the_decoders_bound(tmp_path: Path) -> None:
    recipe = ff.recipes.piwae(outer=2, inner=2, latent=2, hidden=(8,))
    run = ff.fit(recipe, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    row = run.metrics[-1]
    assert row["validation/objective [nats]"] == pytest.approx(row["validation/iwae raw [nats]"])
    assert row["validation/iwae raw [nats]"] > row["validation/elbo [nats]"]
    assert "train/encoder/miwae raw [nats]" in row and "validation/encoder/miwae raw [nats]" not in row


def test_recipes_ask_for_what_they_say() -> None:
    made = {name: getattr(ff.recipes, name)().build(SPEC).objective for name in ("iwae", "miwae", "ciwae", "piwae")}
    assert {name: objective.draws for name, objective in made.items()} == {
        "iwae": 50,
        "miwae": 64,
        "ciwae": 64,
        "piwae": 64,
    }
    assert isinstance(made["miwae"], MIWAE) and (made["miwae"].outer, made["miwae"].inner) == (8, 8)
    assert isinstance(made["ciwae"], CIWAE) and made["ciwae"].beta.item() == pytest.approx(0.05)
    assert isinstance(made["piwae"], IWAE)
    dreg = ff.recipes.iwae(estimator="dreg", draws=5).build(SPEC).objective
    assert isinstance(dreg, IWAE) and dreg.estimator.name == "dreg" and dreg.draws == 5


@pytest.mark.parametrize("name", ["iwae", "miwae", "ciwae", "piwae"])
def test_no_recipe_takes_a_biased_gradient(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: estimator: sticking the landing is biased.*Take dreg; or, in Py"):
        ff.recipes.TABLE[name](estimator="stl").build(SPEC)
    ff.recipes.iwae(estimator="stl", draws=1).build(SPEC)


def test_a_refined_posterior_is_better_than_the_encoders_own(tmp_path: Path) -> None:
    recipe = ff.recipes.semi_amortised_vae(latent=4, hidden=(16,), steps=3)
    run = ff.fit(recipe, DIGITS, epochs=3, out=tmp_path / "r", quiet=True)
    model = run.model
    assert isinstance(model, SemiAmortised) and model.refinement.steps == 3
    refined = run.evaluate(importance_samples=5).per_datum
    plain = VAE(model.posterior, model.prior, model.likelihood)
    x = (torch.from_numpy(DIGITS.train.x[:500]) > 127).float()
    with torch.inference_mode():
        gain = model(x, draws=20, noise=Noise(0)).log_weight - plain(x, draws=20, noise=Noise(0)).log_weight
    assert gain.mean() > 0.02 and gain.mean(0).mean() > 4 * gain.mean(0).std() / 500**0.5
    assert (refined["elbo"] < 0).all()
    again = ff.load(tmp_path / "r")
    assert isinstance(again, SemiAmortised) and again.refinement == model.refinement
