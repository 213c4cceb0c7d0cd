"""Recipes: what each one promises, on small images."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec, Quadrants, Split, View, Vocabulary
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.recipes import TABLE, find

GREY = DataSpec((1, 6, 6), 256, 10, n=7)
WORDS = Vocabulary(("<pad>", "<eos>", "<unk>", "a", "b"), 5)
SENTENCES = {name: DataSpec((4,), None, None, n=7, vocabulary=WORDS) for name in ("rnn_lm", "sentence_vae")}
RAW = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 1, 6, 6), dtype=np.uint8))
LABELS = torch.arange(7)


@pytest.mark.parametrize("name", TABLE)
def test_every_recipe_gives_finite_terms_and_gradients(name: str) -> None:
    made = TABLE[name]().build(SENTENCES.get(name, GREY))
    view, raw = View(256, binarize="dynamic", condition=made.condition), RAW
    if name in SENTENCES:
        view, raw = View(None, words=5), torch.tensor([[3, 4, 1, 0]], dtype=torch.int32).expand(7, 4)
    batch = view(raw, LABELS, Noise(0))
    trace = made.model(batch.x, batch.c, draws=made.objective.draws, noise=Noise(1), mask=batch.mask)
    total = made.objective(trace).total
    assert total.shape == (7,) and total.isfinite().all()
    (-total.mean()).backward()
    without = [n for n, p in made.model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("name", TABLE)
def test_every_recipe_says_what_it_is(name: str) -> None:
    one = TABLE[name]
    assert find(name) is one and one.summary.endswith(".") and one.equation and one.source
    assert one.good_for and one.not_for and one.published
    assert set(one.choices) == {"posterior", "prior", "likelihood", "objective"} and all(one.choices.values())
    assert all(parameter["help"] for parameter in one.parameters)


def test_every_recipe_is_offered_by_its_name() -> None:
    assert set(TABLE) <= set(ff.recipes.__all__)
    assert all(getattr(ff.recipes, name) is one for name, one in TABLE.items())


def test_a_seed_gives_the_same_weights_and_another_gives_others() -> None:
    first, again, other = (ff.recipes.vae().build(GREY, seed).model for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_bernoulli_likelihood_starts_at_the_mean_of_the_data() -> None:
    mean = np.random.default_rng(1).random((1, 6, 6)).astype(np.float32)
    model = ff.recipes.vae().build(DataSpec((1, 6, 6), 256, None, mean)).model
    made = model.decode(torch.zeros(1, 20))  # with z = 0 and zero biases only the last bias speaks
    np.testing.assert_allclose(made[0], mean, atol=2e-3)


def test_beta_weighs_the_rate_and_a_schedule_takes_its_place() -> None:
    objective = ff.recipes.beta_vae(beta=3.0).build(GREY).objective
    assert isinstance(objective, ELBO) and objective.beta.item() == 3
    scheduled = ff.recipes.beta_vae(beta_schedule="linear:0:2:10").build(GREY).objective
    assert isinstance(scheduled, ELBO) and scheduled.beta.item() == 0
    scheduled.advance(5)
    assert scheduled.beta.item() == 1


@pytest.mark.parametrize("observed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["cvae", "gsnn", "baseline"])
def test_structured_prediction_scores_the_unobserved_pixels_only(observed: int, kind: str) -> None:
    made = ff.recipes.structured_cvae(observed=observed, kind=kind, latent=3, hidden=(8,)).build(GREY)
    assert made.condition == Quadrants(observed)
    batch = View(256, binarize="threshold", condition=made.condition)(RAW, None, Noise(0))
    assert batch.mask is not None
    trace = made.model(batch.x, batch.c, draws=2, noise=Noise(1), mask=batch.mask)
    mean = trace.p_x.mean
    by_pixel = batch.x * mean.log() + (1 - batch.x) * (-mean).log1p()
    torch.testing.assert_close(trace.log_likelihood, (by_pixel * batch.mask).flatten(2).sum(-1), rtol=1e-4, atol=1e-4)
    # Observed pixels are conditioned on, never scored: changing what the likelihood is asked of them changes nothing.
    other = torch.where(batch.mask.bool(), batch.x, 1 - batch.x)
    assert torch.equal(trace.p_x.log_prob(other, batch.mask), trace.log_likelihood)


def test_the_three_kinds_of_structured_prediction() -> None:
    cvae, gsnn, baseline = (
        ff.recipes.structured_cvae(kind=kind, latent=3, hidden=(8,)).build(GREY).model
        for kind in ("cvae", "gsnn", "baseline")
    )
    assert isinstance(cvae, VAE) and isinstance(gsnn, VAE) and isinstance(baseline, Direct)
    batch = View(256, binarize="threshold", condition=Quadrants(1))(RAW, None, Noise(0))
    trace = gsnn(batch.x, batch.c, noise=Noise(1), mask=batch.mask)
    rate = ELBO()(trace).parts["rate"].value
    assert torch.equal(rate, torch.zeros(7))  # z is drawn from the prior itself
    assert ELBO()(cvae(batch.x, batch.c, noise=Noise(1), mask=batch.mask)).parts["rate"].value.min() > 0
    assert baseline(batch.x, batch.c, mask=batch.mask).levels == ()
    # The prior sees the observed part, and only it.
    torch.testing.assert_close(
        cvae.prior(batch.c).mean,
        cvae.prior(
            View(256, binarize="threshold", condition=Quadrants(1))(
                torch.where(Quadrants(1).mask((1, 6, 6)).bool(), 255 - RAW, RAW), None, Noise(0)
            ).c
        ).mean,
    )


def test_cvae_samples_the_label_it_is_asked_for(tmp_path: Path) -> None:
    """Two classes, one dark and one bright: the label alone decides the brightness."""
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    x = (random.random((400, 1, 4, 4)) < np.where(labels, 0.9, 0.1)[:, None, None, None]).astype(np.uint8)
    data = ff.data.from_arrays(x, labels)
    run = ff.fit(ff.recipes.cvae(latent=2, hidden=(16,)), data, epochs=30, lr=1e-2, out=tmp_path / "r", quiet=True)
    dark, bright = (run.model.sample(50, torch.full((50,), c), Noise(0)).mean().item() for c in (0, 1))
    assert dark < 0.2 and bright > 0.8


def test_conditional_likelihood_by_monte_carlo_and_by_importance(tmp_path: Path) -> None:
    """GSNN's posterior is its prior: with the same budget, both estimates are of one kind."""
    data = ff.data.digits()
    run = ff.fit(
        ff.recipes.structured_cvae(kind="gsnn", latent=2, hidden=(16,)), data, epochs=2, out=tmp_path / "r", quiet=True
    )
    found = run.evaluate(importance_samples=400, prior_samples=400).per_datum
    assert found["nll_is"].mean() == pytest.approx(found["nll_mc"].mean(), abs=0.05)
    assert (found["nll_is"] <= -found["elbo"] + 3).all() and found["nll_is"].mean() < -found["elbo"].mean() + 1e-3
    baseline = ff.fit(
        ff.recipes.structured_cvae(kind="baseline", hidden=(16,)), data, epochs=1, out=tmp_path / "b", quiet=True
    )
    exact = baseline.evaluate(importance_samples=3).per_datum
    np.testing.assert_allclose(exact["nll_is"], -exact["elbo"], rtol=1e-6)


def test_labels_missing_and_vectors_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="recipe cvae needs labels"):
        ff.recipes.cvae().build(DataSpec((1, 6, 6), 256, None))
    for name in ("conv_vae", "structured_cvae"):
        with pytest.raises(ValueError, match=f"recipe {name} needs images"):
            TABLE[name]().build(DataSpec((36,), 256, None))


def test_one_row_of_real_data_goes_through(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((1, 5)).astype(np.float32)
    data = ff.data.DataSet("one", Split(rows), None, None, levels=None, classes=None)
    run = ff.fit(ff.recipes.vae(latent=2), data, epochs=2, out=tmp_path / "r", quiet=True)
    assert run.outcome.step == 2 and run.folder.record()["training"]["batch_size"] == 1


def test_pictures_of_structured_prediction_show_what_was_observed(tmp_path: Path) -> None:
    from fourfold.runs.gallery import samples

    recipe = ff.recipes.structured_cvae(observed=2, latent=2, hidden=(8,))
    run = ff.fit(recipe, ff.data.digits(), epochs=1, out=tmp_path / "r", quiet=True)
    made, _ = samples(run, 5)
    batch = next(run.batches(Split(run.split("test").x[:5]), size=5)())
    assert batch.mask is not None
    seen = (batch.mask == 0).expand_as(batch.x).numpy()
    np.testing.assert_array_equal(made[seen], batch.x.numpy()[seen])
    assert not np.isin(made[~seen], (0.0, 1.0)).all()  # the rest is the model's: means, not pixels


@ff.recipe
def nested(data: DataSpec) -> ff.Recipe:
    """A recipe made of another."""
    return ff.recipes.vae(latent=2, hidden=(4,)).build(data)


def test_a_recipe_may_build_another_with_the_seed_of_its_own() -> None:
    one, same, other = (nested().build(GREY, seed).model.state_dict() for seed in (1, 1, 2))
    plain = ff.recipes.vae(latent=2, hidden=(4,)).build(GREY, 1).model.state_dict()
    assert all(torch.equal(one[name], same[name]) and torch.equal(one[name], plain[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
