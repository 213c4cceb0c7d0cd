"""Evaluation of models with a flow posterior: log q as it was at the draw, and means from draws."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from exact_models import cut
from torch import Tensor, nn
from torch.testing import assert_close
from zuko.transforms import AutoregressiveTransform

from fourfold.conditional import NetworkConditional
from fourfold.distributions import FlowHead, PushForward
from fourfold.evaluation import EvaluationOptions, Sampling, elbo, evaluate, nll_importance, posterior_means
from fourfold.evaluation.units import mean_draws
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE
from fourfold.networks import Dense, gated
from fourfold.noise import Noise
from fourfold.posteriors import gaussian, iaf
from fourfold.priors import StandardNormal

D, X = 3, 6
NETWORK = partial(Dense, hidden=(16,))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def data(n: int = 40) -> Tensor:
    return Noise(1, stream="x").uniform((n, X)).round()


def flow_model(context: int = 4) -> VAE:
    q = iaf(NETWORK, (X,), D, flow=partial(gated, hidden=(16,)), context=context)
    return VAE(q, StandardNormal(D), bernoulli(NETWORK, (D,), (X,))).eval()


def test_nothing_is_ever_inverted(monkeypatch, double):
    """With an inverse that cannot run, everything runs, and says what it did before."""
    model, batches = flow_model(), cut(data(), 16)
    sampling = Sampling(200)
    nll = nll_importance(model, batches, Noise(0), sampling)
    options = EvaluationOptions(draws=3, importance_samples=200)
    before = evaluate(model, lambda: batches, Noise(0), options=options)
    monkeypatch.setattr(AutoregressiveTransform, "_inverse", None)
    assert np.array_equal(nll_importance(model, batches, Noise(0), sampling), nll)
    bound = elbo(model, batches, Noise(0), 3)
    assert bound.estimator == "3 draws, Monte Carlo KL" and bound.closed == (False,)
    after = evaluate(model, lambda: batches, Noise(0), options=options)
    assert [row.value for row in after.rows] == [row.value for row in before.rows]
    assert after.kl_per_latent == (None,)
    assert nll.mean() < -bound.elbo.mean()


def test_the_importance_sampled_likelihood_is_that_of_another_proposal(double):
    """log p(x) does not depend on the proposal: a flow's and the prior's agree on the same model."""
    model, batches = flow_model(), cut(data(12), 12)
    with torch.no_grad():
        last = model.posterior.network.layers[-1]
        last.weight *= 0.3
        last.bias[D : 2 * D] += 0.8  # as wide as a proposal must be
    by_flow = nll_importance(model, batches, Noise(0), Sampling(4000))
    by_prior = nll_importance(model, batches, Noise(0), Sampling(4000, "prior"))
    np.testing.assert_allclose(by_flow, by_prior, atol=0.08)
    assert np.abs(by_flow - by_prior).mean() < 0.03


def test_means_of_a_flow_are_averages_of_draws_and_the_row_says_so(double):
    model, x = flow_model(), data(30)
    (means,) = posterior_means(model, cut(x, 7), Noise(0))
    with torch.no_grad():
        exact = model.posterior(x).sample(Noise(9), 20_000).mean(0)
        spread = model.posterior(x).sample(Noise(9), 2000).std(0)
    assert (np.abs(means - exact.numpy()) < 5 * spread.numpy() / 10).all()
    assert mean_draws(model, cut(x, 7)) == (100,)
    found = evaluate(model, lambda: cut(x, 7), Noise(0))
    (row,) = (row for row in found.rows if row.metric == "active_units")
    assert row.estimator == f"Var_x E_q[z] > 0.01, of {D} latents, E_q[z] from 100 draws"
    assert found.active[0].draws == 100


def test_a_posterior_with_a_mean_is_asked_for_it(double):
    model = VAE(gaussian(NETWORK, (X,), D), StandardNormal(D), bernoulli(NETWORK, (D,), (X,))).eval()
    assert mean_draws(model, cut(data(), 7)) == (None,)
    (means,) = posterior_means(model, cut(data(), 7), Noise(0))
    with torch.no_grad():
        assert_close(torch.from_numpy(means), model.posterior(data()).mean)
    (row,) = (row for row in evaluate(model, lambda: cut(data(), 7), Noise(0)).rows if row.metric == "active_units")
    assert row.estimator == f"Var_x E_q[z] > 0.01, of {D} latents"


def test_a_latent_that_does_not_depend_on_the_datum_has_no_variance_whatever_the_number_of_draws(double):
    """100 draws of N(0, 1) have a mean of variance 0.01, the threshold itself: shared noise makes it one for all."""
    encoder = nn.Linear(X, 2 * D)
    nn.init.zeros_(encoder.weight)
    nn.init.zeros_(encoder.bias)
    q = NetworkConditional(encoder, FlowHead(D, gated(D, hidden=(16,))), (X,))
    model = VAE(q, StandardNormal(D), bernoulli(NETWORK, (D,), (X,))).eval()
    assert isinstance(model.posterior(data()), PushForward)
    (means,) = posterior_means(model, cut(data(), 7), Noise(0))
    assert means.var(0).max() < 1e-20
    (units,) = evaluate(model, lambda: cut(data(), 7), Noise(0)).active
    assert units.count == 0
