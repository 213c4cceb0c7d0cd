"""Active units, and the evaluation as a whole."""

import json

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, Linear, LinearBernoulli, cut

from fourfold.distributions import DiagonalGaussian
from fourfold.evaluation import (
    Evaluation,
    EvaluationOptions,
    Row,
    active_units,
    elbo,
    evaluate,
    nll_importance,
    posterior_means,
    table,
)
from fourfold.evaluation.batches import first
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.priors import StandardNormal


def values(found: Evaluation) -> dict[str, float]:
    return {row.metric: row.value for row in found.rows}


def autoencoder() -> VAE:
    return VAE(FirstTwo(), StandardNormal(2), LinearBernoulli(torch.ones(3, 2), torch.zeros(3))).eval()


def test_active_units_of_a_toy():
    means = Noise(0).normal((500, 2, 2)).numpy() * np.array([[1.0, 0.09], [0.12, 0.0]]) + 5
    found = active_units(means)
    assert found.active.tolist() == [[True, False], [True, False]]
    assert found.count == 2 and found.n == 500 and found.threshold == 0.01
    assert np.allclose(found.variances, means.var(axis=0, ddof=1))
    assert active_units(means, threshold=0.05).count == 1


def test_a_variance_needs_two_data():
    with pytest.raises(ValueError, match="active_units: a variance over the data needs at least 2 of them, got 1"):
        active_units(np.zeros((1, 4)))


def test_posterior_means():
    case = Exact.make()
    x = case.data(25)
    (means,) = posterior_means(case.model(), cut(x, 10), Noise(0))
    wanted = case.model().posterior(x).mean.numpy()
    assert np.allclose(means, wanted)
    (some,) = posterior_means(case.model(), cut(x, 10), Noise(0), data=13)
    assert np.allclose(some, wanted[:13])
    top, bottom = posterior_means(Chain(), cut(Noise(0).normal((9, 1)), 4), Noise(1))
    assert top.shape == bottom.shape == (9, 1)


def test_the_first_data_of_batches():
    x, c, mask = torch.arange(10.0)[:, None], torch.arange(10), torch.ones(1)
    kept = list(first(cut(x, 4, c, mask), 6))
    assert torch.cat([part.x for part in kept]).equal(x[:6])
    assert torch.cat([part.c for part in kept]).equal(c[:6])
    assert all(part.mask is mask for part in kept)
    assert [len(part.x) for part in first(cut(x, 4), 8)] == [4, 4]
    assert [len(part.x) for part in first(cut(x, 4), None)] == [4, 4, 2]
    (own,) = first([Batch(x, mask=x)], 3)
    assert own.mask is not None and own.mask.equal(x[:3]) and own.c is None


def test_everything_at_once(double):
    case = Exact.make()
    x = case.data(120)
    told: list[tuple[int, int | None]] = []
    found = evaluate(
        case.model(blur=1.3),
        lambda: cut(x, 50),
        Noise(0),
        options=EvaluationOptions(
            draws=3, importance_samples=500, prior_samples=400, importance_data=70, latent_data=60
        ),
        protocol={"data": "toy", "seed": 0},
        progress=lambda done, total: told.append((done, total)),
    )
    shown = values(found)
    assert list(shown) == ["elbo", "rate", "distortion", "nll_is", "nll_mc", "active_units"]
    assert shown["elbo"] == pytest.approx(-shown["distortion"] - shown["rate"])
    assert {k: len(v) for k, v in found.per_datum.items()} == {
        "elbo": 120, "rate": 120, "distortion": 120, "nll_is": 70, "nll_mc": 70,
    }  # fmt: skip
    truth = -case.log_evidence(x).numpy()
    assert np.abs(found.per_datum["nll_is"] - truth[:70]).mean() < 0.1
    assert shown["nll_is"] == pytest.approx(truth[:70].mean(), abs=0.05)
    assert -shown["elbo"] > truth.mean()
    assert {row.metric: row.n for row in found.rows}["active_units"] == len(found.means[0]) == 60
    assert [unit.count for unit in found.active] == [2] and shown["active_units"] == 2
    by_metric = {row.metric: row for row in found.rows}
    assert by_metric["nll_is"].estimator == "importance sampling, K = 500, z ~ q(z|x)"
    assert by_metric["nll_mc"].estimator == "Monte Carlo, S = 400, z ~ p(z)"
    assert by_metric["elbo"].estimator == "3 draws, analytic KL"
    spread = found.per_datum["elbo"].std(ddof=1) / 120**0.5
    assert by_metric["elbo"].standard_error == pytest.approx(spread)
    assert all(row.protocol == {"data": "toy", "seed": 0, "measure": "density"} for row in found.rows)
    assert told == [(50, 140), (70, 140), (120, 140), (140, 140)]
    assert [Row.from_dict(json.loads(json.dumps(row.to_dict()))) for row in found.rows] == list(found.rows)
    assert len(table(found.rows).splitlines()) == 6


def test_each_estimator_has_its_own_noise_whatever_else_is_asked(double):
    case = Exact.make()
    batches = cut(case.data(20), 7)
    alone = evaluate(case.model(1.3), lambda: batches, Noise(0))
    more = evaluate(case.model(1.3), lambda: batches, Noise(0), options=EvaluationOptions(importance_samples=5))
    assert np.array_equal(alone.per_datum["elbo"], more.per_datum["elbo"])
    assert set(more.per_datum) - set(alone.per_datum) == {"nll_is"}


def test_bits_per_dim_of_masses_and_of_dequantised_densities_only(double):
    x = (Noise(0).uniform((40, 3)) < 0.5).double()
    masses = VAE(Linear(torch.ones(2, 3), torch.zeros(2), torch.ones(2)), *autoencoder_rooms()).eval()
    found = evaluate(masses, lambda: cut(x, 16), Noise(0), options=EvaluationOptions(importance_samples=20))
    shown = values(found)
    assert shown["bits_per_dim"] == pytest.approx(-shown["elbo"] / (3 * np.log(2)))
    assert shown["bits_per_dim_is"] == pytest.approx(shown["nll_is"] / (3 * np.log(2)))
    by_metric = {row.metric: row for row in found.rows}
    error, same = by_metric["bits_per_dim"].standard_error, by_metric["elbo"].standard_error
    assert error is not None and same is not None and error == pytest.approx(same / (3 * np.log(2)))
    assert by_metric["elbo"].protocol["measure"] == "mass"
    case = Exact.make()
    data = cut(case.data(30), 10)
    assert "bits_per_dim" not in values(evaluate(case.model(), lambda: data, Noise(0)))
    found = evaluate(case.model(), lambda: data, Noise(0), options=EvaluationOptions(dequantised=True))
    shown = values(found)
    assert shown["bits_per_dim"] == pytest.approx(-shown["elbo"] / (5 * np.log(2)) + 8)


def autoencoder_rooms():
    model = autoencoder()
    return model.prior, LinearBernoulli(torch.ones(3, 2), torch.zeros(3))


def test_bits_per_dim_count_what_is_modelled(double):
    x = (Noise(0).uniform((4, 3)) < 0.5).double()
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 0]])
    model = VAE(Linear(torch.zeros(2, 3), torch.zeros(2), torch.ones(2)), *autoencoder_rooms()).eval()
    found = evaluate(model, lambda: [Batch(x, mask=mask)], Noise(0))
    assert values(found)["bits_per_dim"] == pytest.approx(-found.per_datum["elbo"].sum() / (8 * np.log(2)))


def test_an_autoencoder_is_told_what_it_lacks():
    x = (Noise(0).uniform((10, 3)) < 0.5).float()
    found = evaluate(autoencoder(), lambda: cut(x, 4), Noise(0), options=EvaluationOptions(importance_samples=50))
    assert list(values(found)) == ["distortion", "reconstruction_mse"]
    wanted = (x - autoencoder().reconstruct(x)).square().mean()
    assert values(found)["reconstruction_mse"] == pytest.approx(wanted.item(), rel=1e-5)
    (note,) = found.notes
    assert "Point has no density" in note
    assert found.active == () and found.means[0].shape == (10, 2)


def test_a_model_without_latents():
    class Fixed(StandardNormal):
        def forward(self, c=None):
            return DiagonalGaussian(torch.zeros(4), torch.zeros(4))

    data = cut(Noise(0).normal((9, 4)), 4)
    options = EvaluationOptions(importance_samples=50, prior_samples=50)
    found = evaluate(Direct(Fixed(4)).eval(), lambda: data, Noise(0), options=options)
    shown = values(found)
    assert shown["nll_is"] == shown["nll_mc"] == pytest.approx(-shown["elbo"])
    assert shown["rate"] == 0 and "active_units" not in shown and found.means == ()
    assert {row.estimator for row in found.rows if row.metric != "distortion"} == {"exact, no latents"}


def test_a_hierarchy_has_rows_for_its_levels():
    data = cut(Noise(0).normal((30, 1)), 16)
    shown = values(evaluate(Chain(), lambda: data, Noise(0)))
    assert shown["rate"] == pytest.approx(shown["rate_1"] + shown["rate_2"])
    assert shown["active_units_1"] == shown["active_units_2"] == 1


def test_what_is_not_finite_is_counted_and_never_left_out():
    case = Exact.make()
    x = case.data(20)
    x[3] = torch.inf
    found = evaluate(case.model(), lambda: cut(x, 8), Noise(0), options=EvaluationOptions(importance_samples=10))
    for row in found.rows:
        if row.metric == "active_units":
            assert row.non_finite == 2
        elif row.metric != "rate":
            assert row.non_finite == 1 and not np.isfinite(row.value) and row.standard_error is None
    json.dumps([row.to_dict() for row in found.rows], allow_nan=False)
    with pytest.raises(ValueError, match=r"none of the 2 values of elbo is finite\. Has the training diverged"):
        evaluate(case.model(), lambda: cut(x[[3, 3]], 8), Noise(0))


def test_one_datum_has_no_standard_error():
    case = Exact.make()
    found = evaluate(case.model(), lambda: cut(case.data(1), 8), Noise(0))
    assert all(row.standard_error is None and row.n == 1 for row in found.rows)
    assert found.active == ()


def test_options_are_checked(unchecked):
    for wrong in ({"draws": 0}, {"importance_samples": -1}, {"importance_data": 0}, {"rows_per_chunk": 0}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"EvaluationOptions: {name}"):
            EvaluationOptions(**wrong)


def test_it_agrees_with_its_parts(double):
    case = Exact.make()
    data = cut(case.data(20), 8)
    found = evaluate(case.model(1.2), lambda: data, Noise(3), options=EvaluationOptions(importance_samples=5000))
    direct = nll_importance(case.model(1.2), data, Noise(3).fork("nll_is"))
    assert np.array_equal(found.per_datum["nll_is"], direct)
    bound = elbo(case.model(1.2), data, Noise(3).fork("elbo"))
    assert np.array_equal(found.per_datum["elbo"], bound.elbo)
    kl = bound.kl_per_latent[0]
    assert kl is not None and np.array_equal(found.kl_per_latent[0], kl)


def test_fewer_data_than_were_asked_for_are_remarked_on(double):
    case = Exact.make()
    x = case.data(30)
    asked = {"two_sample": 50, "decomposition": 40, "importance_samples": 2, "importance_data": 1000}

    def remarks(**options: int) -> tuple[str, ...]:
        return evaluate(case.model(), lambda: cut(x, 20), Noise(0), options=EvaluationOptions(**options)).remarks

    assert remarks(**asked) == (
        "two_sample: 50 data were asked for, there are 30: it is of those.",
        "decomposition: 40 data were asked for, there are 30: it is of those.",
        "importance_data: 1,000 data were asked for, there are 30: it is of those.",
    )
    assert remarks(two_sample=30, decomposition=30, importance_samples=2, importance_data=30) == ()
    assert remarks() == ()


def test_an_autoencoder_that_says_the_mean_whatever_it_sees_is_remarked_on():
    x = (Noise(0).uniform((60, 3)) < torch.tensor([0.2, 0.5, 0.9])).float()
    means = x.mean(0)

    def remarks(likelihood: LinearBernoulli) -> tuple[str, ...]:
        return evaluate(VAE(FirstTwo(), StandardNormal(2), likelihood).eval(), lambda: cut(x, 25), Noise(0)).remarks

    (said,) = remarks(LinearBernoulli(torch.zeros(3, 2), means.logit()))
    assert said.startswith("the reconstructions explain 0.0% of the variance of the data")
    assert remarks(LinearBernoulli(6 * torch.eye(3)[:, :2], torch.tensor([-3.0, -3.0, 2.0]))) == ()
