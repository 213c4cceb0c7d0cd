"""InfoVAE: its identities, its MMD² against a second implementation, and what it refuses."""

from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import fourfold as ff
from fourfold.conditional import NetworkConditional
from fourfold.data import Split
from fourfold.distributions import Bernoulli, DiagonalGaussian, GaussianHead, Point
from fourfold.noise import Noise, Recorder, Replay
from fourfold.objectives import ELBO, KERNELS, InfoVAE, Linear, Reconstruction
from fourfold.priors import ConditionalPrior, StandardNormal
from fourfold.statistics import RBF
from fourfold.trace import Level, Trace

EXACT = {"rtol": 1e-10, "atol": 1e-10}
B, D = 6, 3
DIGITS = ff.data.digits()


def made(q: DiagonalGaussian | Point, p: DiagonalGaussian | None = None, draws: int = 1) -> Trace:
    """A pass with this posterior and prior, and a likelihood that is all in z."""
    p = p or StandardNormal(q.event_shape)()
    z = q.sample(Noise(0, stream="z"), draws)
    x = torch.ones(z.shape[1], 4)
    p_x = Bernoulli(z.flatten(2).sum(2, keepdim=True).expand(*z.shape[:2], 4), 1)
    return Trace(x, p_x, p_x.log_prob(x), (Level(z, q, p),))


def posterior(n: int = B, event: tuple[int, ...] = (D,)) -> DiagonalGaussian:
    loc, log_scale = Noise(1).normal((n, *event)), 0.3 * Noise(2).normal((n, *event))
    return DiagonalGaussian(loc.requires_grad_(), log_scale.requires_grad_(), len(event))


def by_hand(x: np.ndarray, y: np.ndarray, kernel: str, estimator: str) -> float:
    """MMD² pair by pair, as it stands in Gretton et al. 2012."""
    d, n = x.shape[1], len(x)
    scales = (0.1, 0.2, 0.5, 1, 2, 5, 10) if kernel == "imq_scales" else (1,)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        squared = float(((a - b) ** 2).sum())
        return exp(-squared / d**2) if kernel == "rbf" else sum(2 * d * c / (2 * d * c + squared) for c in scales)

    cross = sum(k(a, b) for a in x for b in y) / n**2
    keep = estimator == "biased"
    pairs = n**2 if keep else n * (n - 1)
    within = sum(k(s[i], s[j]) / pairs for s in (x, y) for i in range(n) for j in range(n) if keep or i != j)
    return within - 2 * cross


# Identities.


@pytest.mark.parametrize(("alpha", "lambda_"), [(0.0, 1.0), (0.3, 0.7), (1.0, 0.0), (-3.0, 4.0)])
def test_without_the_penalty_it_is_the_elbo_or_a_beta_vae(double: None, alpha: float, lambda_: float) -> None:
    trace = made(posterior(), draws=2)
    terms, wanted = InfoVAE(alpha, lambda_)(trace, Noise(3)), ELBO(beta=1 - alpha)(trace)
    assert_close(terms.total, wanted.total, **EXACT)
    q = trace.levels[0].q
    assert isinstance(q, DiagonalGaussian)
    gradients = [torch.autograd.grad(t.total.sum(), (q.loc, q.log_scale), retain_graph=True) for t in (terms, wanted)]
    assert_close(*gradients, **EXACT)


def test_the_mmd_vae_pays_no_rate(double: None) -> None:
    trace = made(posterior())
    terms = InfoVAE(alpha=1.0, lambda_=50.0)(trace, Noise(3))
    raw = {name: part.value for name, part in terms.parts.items()}
    assert set(raw) == {"log_likelihood", "rate", "mmd"}
    assert_close(raw["rate"], ELBO()(trace).parts["rate"].value)  # reported
    assert_close(terms.total, raw["log_likelihood"] - 50 * raw["mmd"], **EXACT)
    q = trace.levels[0].q
    assert isinstance(q, DiagonalGaussian)
    whole = torch.autograd.grad(terms.total.mean(), (q.loc, q.log_scale), retain_graph=True)
    paid = torch.autograd.grad((raw["log_likelihood"] - 50 * raw["mmd"]).mean(), (q.loc, q.log_scale))
    assert_close(whole, paid, **EXACT)


def test_the_weights_are_those_of_the_paper(double: None) -> None:
    terms = InfoVAE(alpha=0.2, lambda_=100.0)(made(posterior()), Noise(3))
    weights = {name: float(part.weight) for name, part in terms.parts.items()}
    assert weights == pytest.approx({"log_likelihood": 1, "rate": -0.8, "mmd": -99.2})
    assert {name: part.unit for name, part in terms.parts.items()} == {
        "log_likelihood": "nats",
        "rate": "nats",
        "mmd": "unitless",
    }
    scheduled = InfoVAE(alpha=0.5, lambda_=Linear(1.0, 11.0, 10))
    scheduled.advance(5)
    assert float(scheduled(made(posterior()), Noise(3)).parts["mmd"].weight) == -5.5


# The value of MMD².


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", [None, *KERNELS])
def test_mmd_is_what_it_is_pair_by_pair(double: None, kernel: str | None, estimator: str) -> None:
    trace, source = made(posterior(), draws=2), Recorder(Noise(3))
    objective = InfoVAE(0.0, 2.0, KERNELS[kernel](D) if kernel else None, estimator)
    found = objective(trace, source).parts["mmd"].value
    (fresh,), (request,) = source.tensors, source.requests
    assert request.shape == (2, B, D) and request.shape[request.batch] == B  # one prior draw for each draw of q
    sets = zip(trace.levels[0].z.detach().numpy(), fresh.numpy(), strict=True)
    wanted = np.mean([by_hand(z, p, kernel or "imq", estimator) for z, p in sets])
    assert_close(found, torch.full((B,), float(wanted)), **EXACT)
    assert_close(objective(trace, Replay([fresh])).parts["mmd"].value, found, rtol=0, atol=0)


def test_the_prior_is_drawn_afresh_and_as_it_is(double: None) -> None:
    q = DiagonalGaussian(torch.full((400, D), 3.0), torch.zeros(400, D))
    objective = InfoVAE(alpha=1.0, lambda_=1.0)

    def mmd(trace: Trace, step: int = 0) -> float:
        return objective(trace, Noise(3).at(step)).parts["mmd"].value[0].item()

    own = made(q, DiagonalGaussian(torch.full((D,), 3.0), torch.zeros(D)))
    assert mmd(made(q)) > 0.5 and abs(mmd(own)) < 0.01
    assert mmd(own, 0) == mmd(own, 0) != mmd(own, 1)
    assert objective(own).parts["mmd"].value[0] != objective(own).parts["mmd"].value[0]  # fresh entropy


def test_draws_of_q_are_compared_and_not_its_means() -> None:
    q = DiagonalGaussian(torch.zeros(500, D), torch.zeros(500, D))  # each datum's posterior is the prior
    assert InfoVAE()(made(q), Noise(3)).parts["mmd"].value[0].abs() < 0.01
    at_means = Trace(torch.ones(500, 4), *_of(made(q)), (Level(q.mean[None], q, StandardNormal(D)()),))
    assert InfoVAE()(at_means, Noise(3)).parts["mmd"].value[0] > 0.1


def _of(trace: Trace) -> tuple[Bernoulli, Tensor]:
    assert isinstance(trace.p_x, Bernoulli)
    return trace.p_x, trace.log_likelihood


def test_the_closed_form_for_two_gaussians(double: None) -> None:
    """X ~ N(m, I), Y ~ N(0, I): 2 (σ²/(σ²+2))^(d/2) (1 − exp(−‖m‖²/2(σ²+2)))."""
    n, d, variance, shift = 3000, 10, 5.0, 0.5
    q = DiagonalGaussian(torch.full((n, d), shift), torch.zeros(n, d))
    wanted = 2 * (variance / (variance + 2)) ** (d / 2) * (1 - exp(-d * shift**2 / (2 * (variance + 2))))
    assert wanted == pytest.approx(0.06081, abs=5e-6)
    found = InfoVAE(1.0, 1.0, RBF(variance**0.5))(made(q), Noise(3)).parts["mmd"].value[0]
    assert found.item() == pytest.approx(wanted, rel=0.06)


def test_the_penalty_draws_the_latents_to_the_prior(double: None) -> None:
    loc = torch.full((D,), 2.0, requires_grad=True)  # one for all data
    optimiser = torch.optim.Adam([loc], lr=0.1)
    for step in range(60):
        trace = made(DiagonalGaussian(loc.expand(200, D), torch.zeros(200, D)))
        optimiser.zero_grad()
        InfoVAE(1.0, 1.0)(trace, Noise(3).at(step)).parts["mmd"].value.mean().backward()
        optimiser.step()
    assert loc.abs().max() < 0.2


def test_channels_are_flattened_and_a_conditional_prior_is_drawn_for_each_datum(double: None) -> None:
    image, source = made(posterior(event=(2, 3, 1))), Recorder(Noise(3))
    found = InfoVAE()(image, source).parts["mmd"].value[0]
    z, fresh = image.levels[0].z[0].detach().flatten(1), source.tensors[0][0].flatten(1)
    assert found.item() == pytest.approx(by_hand(z.numpy(), fresh.numpy(), "imq", "unbiased"), abs=1e-10)
    network = torch.nn.Linear(2, 2 * D)
    prior = ConditionalPrior(NetworkConditional(network, GaussianHead(D), 2))
    c, source = Noise(4).normal((B, 2)), Recorder(Noise(3))
    trace = made(posterior(), prior(c))
    InfoVAE()(trace, source).parts["mmd"].value.mean().backward()
    assert source.requests[0].shape == (1, B, D)
    assert network.weight.grad is not None and (network.weight.grad != 0).any()  # a learned prior is drawn to q


# The Wasserstein autoencoder, and refusals.


def test_a_point_posterior_must_be_meant(double: None) -> None:
    trace = made(Point(Noise(1).normal((B, D))))
    with pytest.raises(ValueError, match=r"posterior is a point.*InfoVAE\(alpha=1, deterministic=True\)"):
        InfoVAE(1.0, 10.0)(trace, Noise(3))
    terms = InfoVAE(1.0, 10.0, deterministic=True)(trace, Noise(3))
    assert set(terms.parts) == {"log_likelihood", "mmd"}
    assert_close(terms.total, Reconstruction()(trace).total - 10 * terms.parts["mmd"].value, **EXACT)
    with pytest.raises(ValueError, match="deterministic=True is for a point posterior"):
        InfoVAE(1.0, 10.0, deterministic=True)(made(posterior()), Noise(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.1}, "alpha must be at most 1"),
        ({"alpha": float("nan")}, "alpha must be at most 1"),
        ({"alpha": 0.5, "deterministic": True}, "deterministic needs alpha=1"),
        ({"alpha": 0.2, "lambda_": 0.5}, r"alpha \+ lambda_ must be at least 1.*alpha=0.2.*lambda_=0.5"),
        ({"alpha": 0.2, "lambda_": Linear(0.0, 9.0, 9)}, r"alpha \+ lambda_ must be at least 1"),
        ({"lambda_": -1.0}, "lambda_ must be a finite number of at least 0"),
        ({"estimator": "unbaised"}, "InfoVAE: estimator: unknown value 'unbaised'. Did you mean 'unbiased'"),
    ],
)
def test_bad_arguments_are_named(unchecked: None, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfoVAE(**arguments)  # type: ignore[arg-type]


def test_one_datum_and_several_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="InfoVAE: the unbiased MMD² compares the rows of a batch, and got a batch of"):
        InfoVAE()(made(posterior(1)), Noise(3))
    wanted = InfoVAE(estimator="biased")(made(posterior(1)), Noise(3)).total
    assert torch.equal(InfoVAE().eval()(made(posterior(1)), Noise(3)).total, wanted) and wanted.isfinite().all()
    trace = made(posterior())
    for levels in ((), trace.levels * 2):
        with pytest.raises(ValueError, match=f"one group of latents, got {len(levels)}"):
            InfoVAE()(Trace(trace.x, trace.p_x, trace.log_likelihood, levels), Noise(3))


def test_one_row_to_validate_with_does_not_stop_training(tmp_path: Path) -> None:
    few = ff.data.DataSet("few", Split(DIGITS.train.x[:8]), Split(DIGITS.train.x[8:9]), None, levels=256, classes=None)
    run = ff.fit(ff.recipes.mmd_vae(latent=2, hidden=(4,)), few, epochs=2, out=tmp_path / "r", quiet=True)
    assert run.outcome.finished and run.metrics[-1]["validation/mmd raw [unitless]"] >= 0


def test_in_training_numbers_have_their_units(tmp_path: Path) -> None:
    plan = ff.recipes.mmd_vae(lam=20.0, latent=4, hidden=(16,))
    row = ff.fit(plan, DIGITS, epochs=1, out=tmp_path / "r", quiet=True).metrics[-1]
    for split in ("train", "validation"):  # the same weights in both
        assert row[f"{split}/mmd weighted [nats]"] == pytest.approx(-20 * row[f"{split}/mmd raw [unitless]"], rel=1e-5)
        assert row[f"{split}/rate raw [nats]"] > 0 and row[f"{split}/rate weighted [nats]"] == 0
        assert f"{split}/mmd raw [nats]" not in row
        found = row[f"{split}/log_likelihood raw [nats]"] + row[f"{split}/mmd weighted [nats]"]
        assert row[f"{split}/objective [nats]"] == pytest.approx(found, rel=1e-5)
    with pytest.raises(ValueError, match="accumulate: InfoVAE is a statistic of the whole batch"):
        ff.fit(plan, DIGITS, accumulate=2, out=tmp_path / "a", quiet=True)
