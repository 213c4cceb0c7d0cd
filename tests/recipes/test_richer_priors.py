"""Recipes with a prior of their own: what each one promises."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.models import VAE
from fourfold.plan import Plan
from fourfold.priors import AR1, GaussianMixture, VampPrior


def prior_of(recipe: Plan, data: DataSpec) -> object:
    model = recipe.build(data).model
    assert isinstance(model, VAE)
    return model.prior


def test_every_datum_pays_the_committed_rate(tmp_path: Path) -> None:
    recipe = ff.recipes.delta_vae(rate=6.0, steps=5, channels=3, hidden=(16,))
    run = ff.fit(recipe, ff.data.digits(), epochs=3, out=tmp_path / "r", quiet=True)
    assert isinstance(run.model, VAE) and isinstance(run.model.prior, AR1)
    assert run.model.prior.rate == pytest.approx(6.0) and run.model.latent_shapes == ((15,),)
    found = run.evaluate(importance_samples=10).per_datum
    assert found["rate"].min() > 6.0
    np.testing.assert_allclose(found["elbo"], -found["distortion"] - found["rate"], rtol=1e-5)
    said = run.report().read_text()
    assert "the prior commits the posterior to δ = 6.00" in said and "most KL beyond what is committed" in said


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"steps": 0}, {"rate": -1.0}])
def test_delta_vae_names_the_argument_that_is_wrong(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"delta_vae: {next(iter(wrong))} must be"):
        ff.recipes.delta_vae(**wrong).build(DataSpec((7,), None, None))


def test_pseudo_inputs_begin_at_the_mean_of_grey_data_and_are_free_for_real_data() -> None:
    mean = np.random.default_rng(0).random((1, 4, 4), np.float32)
    prior = prior_of(ff.recipes.vamp_vae(components=9), DataSpec((1, 4, 4), 256, None, mean))
    assert isinstance(prior, VampPrior) and prior.bounds == (0.0, 1.0) and len(prior.free) == 9
    np.testing.assert_allclose(prior.pseudo_inputs[0].detach(), mean.clip(0.05, 0.95), atol=0.04)
    real = prior_of(ff.recipes.vamp_vae(components=9), DataSpec((7,), None, None))
    assert isinstance(real, VampPrior) and real.bounds is None and real.pseudo_inputs.min() < -0.5
    grouped = prior_of(ff.recipes.gmm_vae(components=4, latent=3), DataSpec((7,), None, None))
    assert isinstance(grouped, GaussianMixture) and grouped.loc.shape == (4, 3)


@pytest.mark.parametrize("name", ["gmm_vae", "vamp_vae"])
def test_a_run_is_found_again_with_its_prior(name: str, tmp_path: Path) -> None:
    recipe = getattr(ff.recipes, name)(components=5, latent=3, hidden=(16,))
    run = ff.fit(recipe, ff.data.digits(), epochs=2, out=tmp_path / "r", quiet=True)
    again = ff.load(tmp_path / "r")
    for (key, one), other in zip(run.model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    x = torch.from_numpy(ff.data.digits().train.x[:50]).float() / 255
    wanted, found = (model(x, noise=ff.Noise(0)).log_weight for model in (run.model, again))
    assert torch.equal(wanted, found)
