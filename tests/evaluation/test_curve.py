"""The curve of importance sampling: one stream of weights, every K."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, cut
from torch import nn

from fourfold.conditional import NetworkConditional
from fourfold.distributions import BernoulliHead
from fourfold.evaluation import Evidence, EvidenceOptions, Sampling, evidence, importance_curve, log_weights
from fourfold.evaluation.ais import Annealing, Pilot
from fourfold.evaluation.evidence import _verdict, trust
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.priors import StandardNormal

SMALL = Annealing(temperatures=20, chains=4, leapfrog=3, start="encoder", pilot=Pilot(5, 2, 2, 8))
double = pytest.mark.usefixtures("double")


@double
@pytest.mark.parametrize("rows", [40, 700, 100_000])
def test_every_k_has_the_mean_over_its_groups(rows: int) -> None:
    exact, budget = Exact.make(5, 3), 130
    model, batches = exact.model(blur=1.5), cut(exact.data(30), 20)
    found = importance_curve(model, batches, Noise(1), (10, 1, 130, 7), rows)
    assert found.samples == (1, 7, 10, 130) and found.groups == (130, 18, 13, 1)
    parts = [
        torch.cat(list(log_weights(model, batch, Noise(1).fork(str(i)), Sampling(budget))))
        for i, batch in enumerate(batches)
    ]
    weights = torch.cat(parts, 1).numpy()
    for k, groups in zip(found.samples, found.groups, strict=True):
        each = np.log(np.exp(weights[: groups * k].reshape(groups, k, 30)).mean(1))
        np.testing.assert_allclose(found.at(k), each.mean(0), rtol=1e-10)
    assert found.estimator(1) == "130 draws, Monte Carlo KL"
    assert found.estimator(7) == "importance sampling, K = 7, z ~ q(z|x), mean of 18 groups"
    assert found.estimator(130) == "importance sampling, K = 130, z ~ q(z|x)"


@double
@pytest.mark.parametrize("levels", [1, 2])
def test_it_rises_to_the_truth(levels: int) -> None:
    if levels == 1:
        exact = Exact.make(5, 3)
        model, x = exact.model(blur=1.5, shift=0.3), exact.data(100)
        truth = exact.log_evidence(x).numpy()
    else:
        model, x = Chain(blur=1.6), Noise(3).normal((100, 1)) * 2
        truth = (-0.5 * (x.square() / 3 + np.log(6 * np.pi))).sum(1).numpy()
    found = importance_curve(model, [Batch(x)], Noise(1), (1, 10, 100, 1000, 10_000))
    below = truth - found.bounds
    means, errors = below.mean(1), below.std(1, ddof=1) / 10
    assert means[0] > 0.1 and (np.diff(means) < 0).all()
    assert abs(means[-1]) < 3 * errors[-1] + 1e-3 and means[-1] < 0.02
    if levels == 1:  # KL(q ‖ posterior) of the blurred and shifted q
        spread = 1 / (1 + exact.w.square().sum(0) / exact.sigma**2)
        gap = 0.5 * (1.5**2 - 1 + 0.3**2 / spread).sum() - 3 * np.log(1.5)
        assert abs(means[0] - float(gap)) < 4 * errors[0] + 1e-6


@double
def test_an_exact_posterior_has_a_flat_curve() -> None:
    exact = Exact.make(5, 3)
    x = exact.data(10)
    found = importance_curve(exact.model(), [Batch(x)], Noise(1), (1, 10, 100))
    np.testing.assert_allclose(found.bounds, np.tile(exact.log_evidence(x).numpy(), (3, 1)), rtol=1e-10)


def test_what_has_no_curve(unchecked: None) -> None:
    with pytest.raises(ValueError, match="no data"):
        importance_curve(Chain(), [], Noise(0))
    with pytest.raises(ValueError, match="no latents"):
        importance_curve(Direct(StandardNormal(3)).eval(), [Batch(torch.ones(2, 3))], Noise(0))
    with pytest.raises(ValueError, match="samples must be an integer of at least 1, got 0"):
        importance_curve(Chain(), [Batch(torch.ones(2, 1))], Noise(0), (0, 1))
    with pytest.raises(ValueError, match="names no K"):
        importance_curve(Chain(), [Batch(torch.ones(2, 1))], Noise(0), ())


class TestEvidence:
    def found(self, model: VAE | Chain, x: torch.Tensor, options: EvidenceOptions) -> Evidence:
        return evidence(model, lambda: cut(x, 40), Noise(3), options=options, protocol={"dataset": "made"})

    @double
    def test_rows_stand_in_order_around_the_truth(self) -> None:
        exact = Exact.make(5, 3)
        model, x = exact.model(blur=1.6), exact.data(60)
        found = self.found(model, x, EvidenceOptions((1, 10, 100), SMALL, 30))
        rows = {(row.metric, row.estimator.partition(", z")[0]): row for row in found.rows}
        metrics = [row.metric for row in found.rows]
        simulated = ["bdmc_lower", "bdmc_upper", "bdmc_gap", "bdmc_elbo"]
        assert metrics == ["elbo", "nll_is", "nll_is", "nll_ais", "bound_gap", "is_gap", *simulated]
        truth = exact.log_evidence(x).mean().item()
        elbo = rows["elbo", "100 draws, Monte Carlo KL"].value
        best = -rows["nll_is", "importance sampling, K = 100"].value
        assert elbo < -rows["nll_is", "importance sampling, K = 10"].value < best < truth + 0.05
        values = {row.metric: row for row in found.rows}
        assert abs(-values["nll_ais"].value - truth) < 0.1
        assert values["bound_gap"].value == pytest.approx(-values["nll_ais"].value - elbo)
        assert values["is_gap"].value == pytest.approx(-values["nll_ais"].value - best)
        assert values["bound_gap"].standard_error < 0.3 * values["elbo"].standard_error  # paired
        assert values["bdmc_gap"].value == pytest.approx(values["bdmc_upper"].value - values["bdmc_lower"].value)
        assert values["bdmc_gap"].n == 30 and values["bdmc_gap"].protocol["data_part"] == "simulated"
        assert (
            values["nll_ais"].protocol["dataset"] == "made"
            and 0.5 < values["nll_ais"].protocol["annealing"]["acceptance"] < 0.8
        )
        for row, numbers in zip(found.rows, found.numbers, strict=True):
            assert numbers.shape == (row.n,) and numbers.mean() == pytest.approx(row.value)
        said = trust(found)
        assert said is not None and "AIS is to be trusted on data like those" in said

    def test_too_few_temperatures_are_not_trusted(self) -> None:
        exact = Exact.make(20, 20)
        rough = Annealing(temperatures=2, chains=2, leapfrog=1, pilot=Pilot(2, 2, 2, 8))
        said = trust(self.found(exact.model(), exact.data(30), EvidenceOptions((1, 10), rough, 30)))
        assert said is not None and "AIS is too low here" in said

    @pytest.mark.parametrize(
        ("gap", "error", "said"),
        [
            (0.3, 0.1, "less than one nat: AIS is to be trusted"),
            (0.7, 0.2, "not certain"),
            (1.3, 0.2, "not certain"),
            (1.7, 0.2, "too low"),
            (0.3, None, "simulate more"),
            (float("nan"), None, "nothing can be said"),
            (float("inf"), None, "nothing can be said"),
        ],
    )
    def test_the_verdict_is_of_two_errors(self, gap: float, error: float | None, said: str) -> None:
        assert said in _verdict(gap, error)

    def test_without_annealing_or_simulated_data(self) -> None:
        found = self.found(
            Chain(), torch.randn(20, 1, generator=torch.Generator().manual_seed(0)), EvidenceOptions(annealing=None)
        )
        assert [row.metric for row in found.rows] == ["elbo", "nll_is"] and trust(found) is None
        found = self.found(Chain(), torch.ones(5, 1), EvidenceOptions((1, 5), SMALL, 0))
        assert [row.metric for row in found.rows][-1] == "is_gap" and found.sandwich is None and trust(found) is None

    def test_a_model_that_is_known_exactly(self) -> None:
        found = evidence(Direct(StandardNormal(3)).eval(), lambda: [Batch(torch.zeros(4, 3))], Noise(0))
        (row,) = found.rows
        assert row.value == pytest.approx(1.5 * np.log(2 * np.pi)) and row.estimator == "exact, no latents"
        assert found.notes == ("AIS, BDMC: this model has no latents, its log-likelihood is exact",)

    def test_a_point_can_be_annealed_from_the_prior(self) -> None:
        model = VAE(FirstTwo(), StandardNormal(2), NetworkConditional(nn.Linear(2, 6), BernoulliHead(6), 2)).eval()
        x = torch.ones(4, 6)
        prior = Annealing(temperatures=5, chains=2, leapfrog=2, pilot=Pilot(2, 2, 2, 2))
        found = self.found(model, x, EvidenceOptions(annealing=prior, simulated=2))
        assert [row.metric for row in found.rows] == ["nll_ais", "bdmc_lower", "bdmc_upper", "bdmc_gap"]
        assert found.notes == ("ELBO, IS: Point has no density, so there is no rate and no bound on log p(x)",)
        with pytest.raises(ValueError, match="Start from the prior"):
            self.found(model, x, EvidenceOptions(annealing=SMALL))

    def test_grey_values_have_no_evidence(self) -> None:
        model = VAE(FirstTwo(), StandardNormal(2), NetworkConditional(nn.Linear(2, 6), BernoulliHead(6), 2)).eval()
        with pytest.raises(ValueError, match="grey values in a Bernoulli have no likelihood"):
            self.found(model, torch.full((4, 6), 0.5), EvidenceOptions())

    def test_a_curve_needs_its_ends(self, unchecked: None) -> None:
        for samples in ((1,), (10, 100), (0, 1)):
            with pytest.raises(ValueError, match="EvidenceOptions: samples"):
                EvidenceOptions(samples)


# Peak memory of a process that estimates the NLL of some images with K draws; started anew for each K.
PROGRAM = """
import sys, torch
from fourfold import Noise
from fourfold.conditional import NetworkConditional
from fourfold.distributions import BernoulliHead, GaussianHead
from fourfold.evaluation import Sampling, nll_importance
from fourfold.evaluation.batches import Part
from fourfold.models import VAE
from fourfold.priors import StandardNormal

torch.set_num_threads(1)
q = NetworkConditional(torch.nn.Linear(784, 100), GaussianHead(50), 784)
model = VAE(q, StandardNormal(50), NetworkConditional(torch.nn.Linear(50, 784), BernoulliHead(784), 50)).eval()
x = (Noise(0).uniform((100, 784)) < 0.2).float()
nll_importance(model, [Part(x, None, None)], Noise(1), Sampling(int(sys.argv[1])))
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_does_not_grow_with_k() -> None:
    peaks = {}
    for samples in (50, 500, 5000):
        command = [sys.executable, "-c", PROGRAM, str(samples)]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert ran.returncode == 0, ran.stderr
        peaks[samples] = int(ran.stdout)
    assert max(peaks.values()) < 1.1 * min(peaks.values()), peaks
