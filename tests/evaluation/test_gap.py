"""The gap taken apart: closed forms in linear-Gaussian models, honest noise, refusals."""

from dataclasses import replace
from functools import partial
from math import log

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, Linear, LinearBernoulli, cut
from torch import Tensor, nn

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import FullGaussianHead, GaussianHead, Head, MixtureHead, PointHead
from fourfold.evaluation import Annealing, Ascent, GapOptions, Gaps, Pilot, elbo, inference_gaps
from fourfold.models import VAE, Direct, Refinement, SemiAmortised
from fourfold.networks import gated
from fourfold.noise import Noise
from fourfold.posteriors import FromPrior, iaf
from fourfold.priors import StandardNormal

FAST = GapOptions(Ascent(steps=150, draws=8, lr=0.04, flow_lr=0.03), samples=500)
N = 40


class Encoder(nn.Module):
    """m(x) + shift and log(blur · s), for the exact posterior N(m(x), Σ) and the best diagonal scales s."""

    def __init__(self, weight: Tensor, bias: Tensor, log_scale: Tensor, raw: int | None = None) -> None:
        super().__init__()
        self.weight, self.bias, self.log_scale = (nn.Parameter(one.clone()) for one in (weight, bias, log_scale))
        self.more = (raw or 2 * len(bias)) - 2 * len(bias)

    def forward(self, x: Tensor) -> Tensor:
        loc = x @ self.weight.T + self.bias
        return torch.cat([loc, self.log_scale.expand_as(loc), x.new_zeros(len(x), self.more)], -1)


class Correlated:
    """z ~ N(0, I), x | z ~ N(Wz + b, σ²): the exact posterior is correlated, so no diagonal q is exact."""

    def __init__(self, latent: int = 3) -> None:
        self.w, self.b, self.sigma = Noise(1).normal((5, latent)), Noise(2).normal((5,)), 0.7
        self.precision = torch.eye(latent) + self.w.T @ self.w / self.sigma**2
        self.weight = torch.linalg.solve(self.precision, self.w.T) / self.sigma**2
        self.best_log_scale = -0.5 * self.precision.diagonal().log()

    def model(self, shift: float = 0.0, blur: float = 1.0, head: Head | None = None) -> VAE:
        latent = len(self.precision)
        head = head or GaussianHead(latent)
        bias, scale = -self.weight @ self.b + shift, self.best_log_scale + log(blur)
        encoder = Encoder(self.weight, bias, scale, head.raw_shape[0])
        likelihood = Linear(self.w, self.b, torch.full_like(self.b, self.sigma))
        return VAE(NetworkConditional(encoder, head, 5), StandardNormal(latent), likelihood).eval()

    @property
    def approximation(self) -> float:
        """KL of the best diagonal Gaussian from the posterior: ½ (Σ log Λ_ii − log |Λ|)."""
        return 0.5 * (self.precision.diagonal().log().sum() - self.precision.logdet()).item()

    def amortisation(self, shift: float, blur: float) -> float:
        """What shifting and blurring add to that: ½ (shiftᵀ Λ shift + D (blur² − 1)) − D log blur."""
        latent = len(self.precision)
        return 0.5 * (shift**2 * self.precision.sum().item() + latent * (blur**2 - 1)) - latent * log(blur)

    def data(self, n: int = N) -> Tensor:
        z, e = Noise(3).normal((n, len(self.precision))), Noise(4).normal((n, 5))
        return z @ self.w.T + self.b + self.sigma * e

    def log_evidence(self, x: Tensor) -> Tensor:
        return Exact(self.w, self.b, self.sigma).log_evidence(x)


def means(found: Gaps) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in found.numbers.items()}


@pytest.mark.parametrize(("shift", "blur"), [(0.4, 1.0), (0.0, 1.8), (0.3, 0.5)])
def test_the_parts_of_a_bad_posterior_are_their_closed_forms(double: None, shift: float, blur: float) -> None:
    case = Correlated()
    found = inference_gaps(case.model(shift, blur), [Batch(case.data())], Noise(0), FAST)
    got = means(found)
    approximation, amortisation = case.approximation, case.amortisation(shift, blur)
    assert approximation > 0.3 and amortisation > 0.4
    assert got["approximation_gap"] == pytest.approx(approximation, abs=0.03)
    assert got["amortisation_gap"] == pytest.approx(amortisation, abs=0.12)
    assert got["bound_gap"] == pytest.approx(approximation + amortisation, abs=0.12)
    assert got["flow_gain"] == pytest.approx(approximation, abs=0.03)  # a flow contains the exact posterior
    assert 0 <= got["flow_gap"] < 0.03
    error = found.log_p - case.log_evidence(case.data()).numpy()
    assert abs(error).max() < 0.3 and abs(error.mean()) < 0.02
    assert found.evidence_from.endswith("z ~ best flow")
    assert found.stayed == {"the best member": 0, "the best flow": 0} and not found.notes
    assert found.family == "diagonal Gaussian"


def test_an_exact_posterior_has_no_gap(double: None) -> None:
    case = Exact.make()
    variance = 1 / (1 + case.w.square().sum(0) / case.sigma**2)
    weight = variance[:, None] * case.w.T / case.sigma**2
    encoder = Encoder(weight, -weight @ case.b, 0.5 * variance.log())
    q = NetworkConditional(encoder, GaussianHead(2), 5)
    model = VAE(q, StandardNormal(2), case.model().likelihood).eval()
    found = inference_gaps(model, cut(case.data(20), 20), Noise(0), FAST)
    truth = case.log_evidence(case.data(20)).numpy()
    np.testing.assert_allclose(found.elbo, truth, rtol=1e-12)
    np.testing.assert_allclose(found.log_p, truth, atol=5e-3)
    for values in found.parts.values():
        assert abs(values).max() < 5e-3 and abs(values.mean()) < 5e-4


@pytest.mark.parametrize("built", ["float32", "doubled"])
def test_models_in_single_precision_and_doubled_ones(built: str) -> None:
    case = Correlated(2)
    model, x = case.model(shift=0.4), case.data(20)
    if built == "doubled":
        model, x = model.double(), x.double()
        model.likelihood.a, model.likelihood.b = case.w.double(), case.b.double()  # tensors, not parameters
        model.likelihood.scale = model.likelihood.scale.double()
    found = inference_gaps(model, [Batch(x)], Noise(0), FAST)
    assert all(values.dtype == np.float64 for values in found.numbers.values())
    assert means(found)["approximation_gap"] == pytest.approx(case.approximation, abs=0.05)
    assert means(found)["flow_gap"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("head", [FullGaussianHead(3), MixtureHead(3, 2)], ids=["full", "mixture"])
def test_families_with_raw_numbers_of_their_own(double: None, head: Head) -> None:
    case = Correlated()
    model = case.model(head=head)
    found = inference_gaps(model, [Batch(case.data(20))], Noise(0), replace(FAST, flow=False))
    assert found.elbo_flow is None and "flow_gap" not in found.parts
    got = means(found)
    assert got["amortisation_gap"] > 0.3
    if isinstance(head, FullGaussianHead):
        assert abs(got["approximation_gap"]) < 0.01  # it contains the exact posterior
        assert found.family == "full Gaussian"
    else:
        assert 0 < got["approximation_gap"] < case.approximation


def test_a_flow_as_posterior(double: None) -> None:
    case = Correlated()
    encoder = Encoder(case.weight, 0.4 - case.weight @ case.b, case.best_log_scale, 2 * 3 + 4)
    flow = iaf(encoder, (5,), 3, flow=partial(gated, hidden=(16,)), context=4)
    model = VAE(flow, StandardNormal(3), case.model().likelihood).eval()
    found = inference_gaps(model, [Batch(case.data(10))], Noise(0), FAST)
    got = means(found)
    assert found.family == "member of the encoder's flow"
    assert got["amortisation_gap"] > 0.4 and got["approximation_gap"] > 0.1
    assert 0 <= got["flow_gap"] < 0.05
    np.testing.assert_allclose(found.log_p, case.log_evidence(case.data(10)).numpy(), atol=0.15)


def test_a_semi_amortised_model_is_measured_with_its_refined_posterior(double: None) -> None:
    case = Correlated()
    plain = case.model(shift=0.4)
    assert isinstance(plain.posterior, NetworkConditional)
    refined = SemiAmortised(plain.posterior, plain.prior, plain.likelihood, Refinement(steps=20, step_size=0.02)).eval()
    data = cut(case.data(), 20)
    exact = {"exact": case.log_evidence(case.data()).numpy()}
    found = inference_gaps(refined, data, Noise(0), replace(FAST, flow=False), exact)
    bound = elbo(refined, data, Noise(5), 500).elbo
    assert bound is not None
    assert found.elbo.mean() == pytest.approx(bound.mean(), abs=0.1)
    assert 0 <= means(found)["amortisation_gap"] < 0.3 * case.amortisation(0.4, 1.0)
    assert means(found)["approximation_gap"] == pytest.approx(case.approximation, abs=0.05)


class Conditioned(nn.Module):
    """One latent: a · sum(x) + c, and log s."""

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return torch.cat([0.2 * x.sum(-1, keepdim=True) + c, x.new_zeros(len(x), 1)], -1)


def test_conditions_and_masks_are_part_of_the_posterior_that_is_searched(double: None) -> None:
    """One latent: a diagonal Gaussian is exact, given c and given what is seen of x."""
    w, b, scale = torch.tensor([[1.5], [-1.0], [0.5]]), torch.zeros(3), torch.full((3,), 0.7)
    q = NetworkConditional(Conditioned(), GaussianHead(1), 3, (1,))
    model = VAE(q, StandardNormal(1), Linear(w, b, scale), Condition((1,))).eval()
    x, c = Noise(0).normal((30, 3)), Noise(1).normal((30, 1))
    mask = torch.tensor([1.0, 0.0, 1.0])
    found = inference_gaps(model, [Batch(x, c, mask)], Noise(0), replace(FAST, flow=False))
    seen = w[mask == 1, 0]
    precision = 1 + seen.square().sum() / 0.49
    exact = (x[:, mask == 1] @ seen) / 0.49 / precision
    own = 0.2 * x.sum(-1) + c[:, 0]
    kl = 0.5 * (precision * (1 + (own - exact).square()) - 1 - precision.log())
    np.testing.assert_allclose(found.parts["approximation_gap"], 0, atol=0.02)
    error = found.parts["amortisation_gap"] - kl.numpy()
    assert abs(error.mean()) < 0.25 and np.corrcoef(found.parts["amortisation_gap"], kl.numpy())[0, 1] > 0.99


def test_nothing_of_the_model_or_of_torch_changes_and_noise_decides_all(double: None) -> None:
    case = Correlated()
    model, data = case.model(shift=0.4), cut(case.data(12), 7)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    state = torch.random.get_rng_state()
    short = replace(FAST, ascent=Ascent(steps=10), samples=60)
    first = inference_gaps(model, data, Noise(0), short)
    assert torch.random.get_rng_state().equal(state)
    assert all(one.equal(before[name]) for name, one in model.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    again = inference_gaps(model, data, Noise(0), replace(short, rows_per_chunk=64))
    for name, values in first.numbers.items():
        np.testing.assert_allclose(values, again.numbers[name], rtol=1e-10)
    with torch.inference_mode():
        inside = inference_gaps(model, data, Noise(0), short)
    np.testing.assert_array_equal(inside.elbo_best, first.elbo_best)
    other = inference_gaps(model, data, Noise(1), short)
    assert not np.allclose(other.elbo_best, first.elbo_best)


def test_a_search_that_goes_astray_leaves_the_encoders_posterior(double: None) -> None:
    case = Correlated()
    wild = replace(FAST, ascent=Ascent(steps=5, lr=30.0, flow_lr=30.0))
    found = inference_gaps(case.model(shift=0.2), [Batch(case.data(15))], Noise(0), wild)
    assert found.stayed == {"the best member": 15, "the best flow": 15}
    assert not found.parts["amortisation_gap"].any() and not found.parts["flow_gain"].any()


def test_what_decides_is_not_what_is_told(double: None) -> None:
    """From the best there is nothing can be won: differences that are chance have both signs, and mean nothing."""
    case, noisy = Correlated(), replace(FAST, ascent=Ascent(steps=20, lr=0.05), samples=16, flow=False)
    found = inference_gaps(case.model(), [Batch(case.data(80))], Noise(0), noisy).parts["amortisation_gap"]
    moved = found[found != 0]
    assert len(moved) > 8 and (moved < 0).any() and (moved > 0).any()
    assert found.mean() < 3 * found.std() / 80**0.5


def test_a_search_that_was_stopped_early_says_so(double: None) -> None:
    case = Correlated()
    slow = replace(FAST, ascent=Ascent(steps=30, lr=0.01), flow=False)
    found = inference_gaps(case.model(shift=1.0), [Batch(case.data(30))], Noise(0), slow)
    assert len(found.notes) == 1 and "the best member had not come to rest" in found.notes[0]
    assert found.rises["the best member"].mean() > 0.05


def test_rows_have_paired_errors_and_say_how(double: None) -> None:
    case = Correlated()
    short = GapOptions(Ascent(steps=20), samples=50)
    found = inference_gaps(case.model(shift=0.4), cut(case.data(12), 6), Noise(0), short)
    rows = {row.metric: row for row in found.rows({"dataset": "toy"})}
    parts = found.parts
    np.testing.assert_allclose(parts["bound_gap"], parts["amortisation_gap"] + parts["approximation_gap"])
    np.testing.assert_allclose(parts["approximation_gap"], parts["flow_gain"] + parts["flow_gap"])
    row, values = rows["amortisation_gap"], found.elbo_best - found.elbo
    assert row.value == pytest.approx(values.mean())
    assert row.standard_error == pytest.approx(values.std(ddof=1) / 12**0.5)
    assert values.std() < 0.3 * found.elbo_best.std()  # not the error of two means
    assert row.estimator == "best diagonal Gaussian of each datum (20 steps of Adam, 8 draws each), 50 draws"
    assert row.protocol == {"dataset": "toy", "measure": "density"} and row.n == 12
    assert "importance sampling, K = 50" in rows["bound_gap"].estimator


def test_the_highest_estimate_on_average_is_taken_for_all(double: None) -> None:
    case, short = Correlated(), GapOptions(Ascent(steps=2), samples=20, flow=False)
    x = case.data(10)
    given = case.log_evidence(x).numpy() + 5 + 10 * (np.arange(10) % 2)
    model = case.model()
    found = inference_gaps(model, [Batch(x)], Noise(0), short, {"told": given})
    assert found.evidence_from == "told" and len(found.evidence) == 3
    np.testing.assert_array_equal(found.log_p, given)
    low = inference_gaps(model, [Batch(x)], Noise(0), short, {"told": given - 30})
    assert low.evidence_from != "told" and (low.log_p < given).all()


def test_progress_ends_at_its_total(double: None) -> None:
    seen: list[tuple[int, int | None]] = []
    annealing = Annealing(temperatures=3, chains=2, leapfrog=2, pilot=Pilot(rounds=1))
    case, short = Correlated(), GapOptions(Ascent(steps=3), samples=40, annealing=annealing)
    found = inference_gaps(case.model(), cut(case.data(9), 5), Noise(0), short, None, lambda d, t: seen.append((d, t)))
    assert found.evidence[annealing.estimator].shape == (9,)
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done) and done[-1] == totals[0] and len(set(totals)) == 1


def test_a_value_that_is_not_finite_is_told(double: None) -> None:
    case, short = Correlated(), GapOptions(Ascent(steps=2), samples=20, flow=False)
    x = case.data(6)
    x[2] = torch.nan
    found = inference_gaps(case.model(), [Batch(x)], Noise(0), short)
    rows = {row.metric: row for row in found.rows()}
    assert rows["amortisation_gap"].non_finite == 1 and rows["amortisation_gap"].standard_error is None
    assert any("1 of 6 values are not finite" in note for note in found.notes)


def refused() -> dict[str, tuple[object, object, str]]:
    prior, likelihood = StandardNormal(2), LinearBernoulli(torch.ones(3, 2), torch.zeros(3))
    gaussian = NetworkConditional(nn.Linear(3, 4), GaussianHead(2), 3)
    binary = torch.ones(4, 3)
    vae = VAE(gaussian, prior, likelihood).eval()
    vae.support = "binary"
    return {
        "training": (VAE(gaussian, prior, likelihood), binary, "training mode"),
        "direct": (Direct(StandardNormal(3)).eval(), binary, "no latents"),
        "hierarchy": (Chain(), torch.ones(4, 1), "Chain has 2 groups of latents"),
        "point": (
            VAE(NetworkConditional(nn.Linear(3, 2), PointHead(2), 3), prior, likelihood).eval(),
            binary,
            "Point has no density",
        ),
        "own kind": (VAE(FirstTwo(), prior, likelihood).eval(), binary, r"\(FirstTwo\) is no NetworkConditional"),
        "from the prior": (VAE(FromPrior(prior), prior, likelihood).eval(), binary, r"\(FromPrior\) is no Network"),
        "grey": (vae, torch.full((4, 3), 0.4), "grey values in a Bernoulli"),
    }


@pytest.mark.parametrize("name", list(refused()))
def test_what_has_no_gap_to_take_apart_is_refused_with_the_reason(name: str) -> None:
    model, x, message = refused()[name]
    with pytest.raises(ValueError, match=message):
        inference_gaps(model, [Batch(x)], Noise(0), FAST)  # pyright: ignore


def test_wrong_arguments_are_refused_by_name(double: None, unchecked: None) -> None:
    case = Correlated()
    with pytest.raises(ValueError, match="there are no data"):
        inference_gaps(case.model(), [], Noise(0))
    short = GapOptions(Ascent(steps=1), samples=2, flow=False)
    with pytest.raises(ValueError, match=r"evidence 'AIS' must be \(4,\), got \(3,\)"):
        inference_gaps(case.model(), [Batch(case.data(4))], Noise(0), short, {"AIS": np.zeros(3)})
    with pytest.raises(ValueError, match="draws come in pairs"):
        Ascent(draws=3)
    with pytest.raises(ValueError, match="GapOptions: samples"):
        GapOptions(samples=0)
