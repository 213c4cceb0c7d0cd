"""The scikit-learn estimator: scikit-learn's own checks, exact cases of its bound, units, and life in a pipeline."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fourfold as ff
from fourfold.distributions import GreyBernoulliWarning
from fourfold.noise import Noise
from fourfold.runs import VariationalAutoencoder, estimator
from fourfold.training import Outcome

X = load_iris().data
D = X.shape[1]


def quick(**arguments):
    return VariationalAutoencoder(**{"hidden": (16,), "epochs": 20, "random_state": 0, **arguments})


@pytest.mark.usefixtures("unchecked")
@parametrize_with_checks([VariationalAutoencoder(epochs=2, hidden=(8,))])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_the_checks_pass_whole_in_a_fresh_python_with_nothing_skipped():
    program = """
import sys, fourfold.runs
assert "sklearn" not in sys.modules, "fourfold.runs imports scikit-learn before it is needed"
import fourfold
from sklearn.utils.estimator_checks import check_estimator
check_estimator(fourfold.VariationalAutoencoder(epochs=1, hidden=(4,)))  # a skipped check warns, and fails
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=300, env=environment
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def linear(model: VariationalAutoencoder) -> tuple[np.ndarray, np.ndarray, float]:
    """b, W and σ of a model with a linear decoder: x = b + W z + σ ε."""
    latent = model.latent
    b = model.inverse_transform(np.zeros((1, latent)))
    W = (model.inverse_transform(np.eye(latent)) - b).T
    p_x = model.model_.generate(1, None, lambda i, p: p.mean).p_x
    return b[0], W, float(p_x.scale[0, 0].detach())


def test_the_bound_of_a_linear_decoder_is_exact_and_below_its_density():
    model = quick(hidden=(), epochs=60).fit(X)
    b, W, sigma = linear(model)
    with torch.no_grad():
        q = model.model_.posterior(torch.from_numpy(X))
    mu, s = q.mean.numpy(), q.scale.numpy()
    error = np.square(X - b - mu @ W.T).sum(1) + np.square(s) @ np.square(W).sum(0)
    rate = 0.5 * (mu**2 + s**2 - 1 - 2 * np.log(s)).sum(1)
    bound = -0.5 * D * np.log(2 * np.pi * sigma**2) - error / (2 * sigma**2) - rate
    scores = model.score_samples(X)
    np.testing.assert_allclose(scores, bound, rtol=1e-10)
    density = multivariate_normal(b, W @ W.T + sigma**2 * np.eye(D)).logpdf(X)
    assert (scores <= density).all()
    assert model.score(X) == pytest.approx(scores.mean())


def test_the_bound_is_below_the_density_that_made_the_data():
    rng = np.random.default_rng(0)
    W = np.array([[1.0, 0.5, -1.0, 0.3, 0.0], [0.0, 1.0, 0.6, -0.5, 0.8]])
    train, test = (rng.normal(size=(1000, 2)) @ W + 0.5 * rng.normal(size=(1000, 5)) for _ in range(2))
    true = multivariate_normal(np.zeros(5), W.T @ W + 0.25 * np.eye(5)).logpdf(test)
    model = quick(epochs=30, lr=1e-2).fit(train)
    gap = true - model.score_samples(test)
    assert 0 < gap.mean() < 0.4
    assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap))


def test_the_bound_of_a_bent_decoder_is_what_many_draws_say():
    model = quick(epochs=100, lr=3e-3).fit(X)
    batch = ff.data.Batch(torch.from_numpy(X))
    many = ff.evaluation.elbo(model.model_, [batch], Noise(1), draws=4000).elbo
    assert many is not None
    assert abs(model.score(X) - many.mean()) < 0.03
    assert np.abs(model.score_samples(X) - many).max() < 0.3


def test_transform_is_the_posterior_mean():
    model = quick().fit(X)
    with torch.no_grad():
        mean = model.model_.posterior(torch.from_numpy(X)).mean.numpy()
    np.testing.assert_allclose(model.transform(X), mean, rtol=1e-12)
    z32 = model.transform(X.astype(np.float32))
    assert z32.dtype == np.float32 and np.abs(z32 - mean).max() < 1e-5
    assert model.inverse_transform(z32).dtype == np.float32
    many = np.tile(X, (40, 1))  # more than go through the networks at once
    np.testing.assert_allclose(model.transform(many)[-len(X) :], mean, rtol=1e-12)
    np.testing.assert_allclose(model.score_samples(many)[-len(X) :], model.score_samples(X), rtol=1e-12)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_element"])
@pytest.mark.parametrize(("scale", "shift"), [(1e-9, 0.0), (1.0, 50.0), (1e6, -1e6), (1e25, 0.0)])
def test_another_unit_changes_nothing_but_the_units_of_the_density(likelihood, scale, shift):
    plain = quick(likelihood=likelihood).fit(X)
    other = quick(likelihood=likelihood).fit(scale * X + shift)
    np.testing.assert_allclose(other.transform(scale * X + shift), plain.transform(X), atol=1e-3)
    found = other.score_samples(scale * X + shift) + D * np.log(scale)
    np.testing.assert_allclose(found, plain.score_samples(X), atol=1e-3)


@pytest.mark.parametrize("data", [np.ones((20, 3)), np.zeros((20, 3)), np.full((20, 3), 0.1), np.full((20, 3), 1e8)])
def test_constant_data_do_no_harm(data):
    model = quick().fit(data)
    assert np.isfinite(model.score_samples(data)).all()
    assert np.isfinite(model.transform(data)).all()


def test_a_fixed_scale_is_in_the_units_of_the_data():
    model = quick(likelihood="gaussian_fixed").fit(1000 * X)
    assert linear(model)[2] == 1.0


def test_on_standardised_data_it_is_the_recipe(tmp_path):
    data = StandardScaler().fit_transform(X).astype(np.float32)
    model = quick(epochs=4).fit(data)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    recipe = ff.recipes.vae(latent=2, hidden=(16,), likelihood="gaussian")
    run = ff.fit(recipe, ff.data.from_arrays(data, split="all"), epochs=4, seed=seed, out=tmp_path / "run", quiet=True)
    z = run.model.encode(torch.from_numpy(data))[0].numpy()
    np.testing.assert_allclose(model.transform(data), z, atol=1e-4)
    assert model.n_iter_ == run.outcome.step == 6


def test_life_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), quick())
    z = pipeline.fit_transform(X)
    assert z.shape == (150, 2)
    assert list(pipeline.get_feature_names_out()) == ["variationalautoencoder0", "variationalautoencoder1"]
    assert pipeline.inverse_transform(z).shape == X.shape
    assert np.abs(pipeline.inverse_transform(np.zeros((1, 2))) - X.mean(0)).max() < 2
    again = clone(pipeline).fit(X)
    np.testing.assert_array_equal(again.transform(X), z)
    assert pipeline.score(X) == again.score(X)


def test_life_in_a_grid_search():
    search = GridSearchCV(quick(), {"latent": [1, 2], "hidden": [(), (8,)]}, cv=2, error_score="raise")
    search.fit(np.random.default_rng(0).permutation(X))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert search.best_estimator_.n_features_in_ == D


def test_samples_are_of_the_density():
    model = quick(hidden=(), epochs=100).fit(X)
    b, W, sigma = linear(model)
    drawn = model.sample(40_000, random_state=1)
    np.testing.assert_allclose(drawn.mean(0), b, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), W @ W.T + sigma**2 * np.eye(D), atol=0.05)
    np.testing.assert_array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))
    assert (model.sample(3) != model.sample(3)).all()


def test_random_states():
    first, second, other = (quick(epochs=2, random_state=seed).fit(X).transform(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    fresh = [quick(epochs=2, random_state=None).fit(X).transform(X) for _ in range(2)]
    assert not np.allclose(*fresh)
    state = np.random.RandomState(0)
    moving = [quick(epochs=2, random_state=state).fit(X).transform(X) for _ in range(2)]
    assert not np.allclose(*moving)
    np.testing.assert_array_equal(moving[0], first)


@pytest.mark.parametrize("random_state", [0, None])
def test_no_global_random_state_is_touched(random_state):
    of_torch, of_numpy = torch.random.get_rng_state(), np.random.get_state()
    model = quick(epochs=2, random_state=random_state).fit(X)
    model.score(model.sample(3))
    assert torch.random.get_rng_state().equal(of_torch)
    for before, after in zip(of_numpy, np.random.get_state(), strict=True):
        assert np.array_equal(before, after)


def test_beta_weighs_the_rate_in_training_only():
    def rate(model: VariationalAutoencoder) -> float:
        batch = ff.data.Batch(torch.from_numpy(X))
        return float(np.mean(ff.evaluation.elbo(model.model_, [batch], Noise(0)).rate))

    plain, dear = (quick(epochs=100, lr=1e-2, beta=beta).fit(X) for beta in (1.0, 1000.0))
    assert rate(dear) < 0.05 < 0.5 < rate(plain)
    assert dear.score(X) < plain.score(X)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "categorical", "discretised_logistic"])
def test_data_of_other_kinds(likelihood):
    bits = np.where(X.mean(0) < X, 1.0, 0.0)
    model = quick(likelihood=likelihood).fit(bits)
    assert np.isfinite(model.score_samples(bits)).all()
    drawn = model.sample(50, random_state=0)
    assert drawn.dtype == np.float64 and drawn.min() >= 0 and drawn.max() <= 1
    if likelihood == "bernoulli":
        assert set(np.unique(drawn)) == {0.0, 1.0}
        assert model.score_samples(bits).max() < 0


def test_grey_values_in_a_bernoulli_are_spoken_of():
    with pytest.warns(GreyBernoulliWarning, match="continuous_bernoulli"):
        quick(likelihood="bernoulli").fit(X / X.max())


def test_a_row_out_of_all_reach_has_an_infinite_score_and_no_warning():
    scores = quick().fit(X).score_samples(np.array([X[0], np.full(D, 1e200)]))
    assert np.isfinite(scores[0]) and scores[1] == -np.inf


def test_an_interrupt_is_passed_on(monkeypatch):
    monkeypatch.setattr(estimator, "train", lambda job, fabric: Outcome(step=3, interrupted=True))
    model = quick()
    with pytest.raises(KeyboardInterrupt, match="step 3"):
        model.fit(X)
    assert not hasattr(model, "model_")


def test_training_says_nothing_unless_asked(capfd):
    quick(epochs=2).fit(X)
    assert capfd.readouterr() == ("", "")
    quick(epochs=2, verbose=True).fit(X)
    assert "epoch" in capfd.readouterr().err


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latent": 0}, "VariationalAutoencoder: latent must be an integer of at least 1, got 0"),
        ({"latent": (2, 2)}, "latent must be an integer"),
        ({"hidden": (0,)}, "hidden must be positive"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
        ({"likelihood": "gausian"}, "Did you mean 'gaussian'"),
        ({"likelihood": "bernoulli"}, "wanted values from 0 to 1"),
        ({"beta": -1}, "beta must be a finite number of at least 0"),
        ({"epochs": -1}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"lr": 0}, "lr must be"),
        ({"random_state": "seven"}, "cannot be used to seed"),
        ({"accelerator": "abacus"}, "accelerator"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words.replace("(", r"\(")):
        quick(**arguments).fit(X)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (X[:1], "1 sample"),
        (X[:0], "0 sample"),
        (np.where(X > 6, np.nan, X), "NaN"),
        (X * 1e300, "float32, and 7.9e\\+300 does not fit"),
        (X[0], "Expected 2D array"),
    ],
)
def test_wrong_data(data, words):
    with pytest.raises(ValueError, match=words):
        quick().fit(data)


def test_wrong_calls():
    with pytest.raises(NotFittedError):
        quick().sample()
    with pytest.raises(NotFittedError):
        quick().inverse_transform(np.zeros((1, 2)))
    model = quick(epochs=1).fit(X)
    with pytest.raises(ValueError, match=r"wanted codes of shape \(N, 2\).*got shape \(1, 3\)"):
        model.inverse_transform(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 1"):
        model.sample(0)


@pytest.mark.usefixtures("unchecked")
def test_hidden_layers_as_people_write_them():
    for hidden in (8, [8], (8,)):
        assert quick(hidden=hidden, epochs=1).fit(X).transform(X).shape == (150, 2)


def test_threads_do_not_disturb_one_another():
    def codes(seed: int) -> np.ndarray:
        return quick(epochs=2, hidden=(300, 300), random_state=seed).fit(X).transform(X)

    alone = [codes(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(codes, range(8))), alone)
