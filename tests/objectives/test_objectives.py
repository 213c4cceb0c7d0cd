"""Objectives and schedules against written-out values."""

import math

import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian
from fourfold.noise import Noise
from fourfold.objectives import (
    ELBO,
    IWAE,
    Constant,
    Cyclic,
    InfoVAE,
    Linear,
    Logistic,
    Reconstruction,
    Steps,
    parse_schedule,
)
from fourfold.trace import Term, Terms, Trace

MODEL = ff.recipes.vae(latent=3, hidden=(8,)).build(DataSpec((5,), 2, None)).model
X = torch.tensor([[0.0, 1, 1, 0, 1], [1, 1, 0, 0, 0]])


def trace(draws: int = 1) -> Trace:
    return MODEL(X, draws=draws, noise=Noise(0))


def test_the_elbo_is_written_out() -> None:
    one = trace(draws=4)
    level = one.levels[0]
    log_scale = level.q.scale.log()  # type: ignore[attr-defined]
    kl = 0.5 * ((2 * log_scale).exp() + level.q.mean**2 - 1 - 2 * log_scale).sum(-1)
    mean = one.p_x.mean
    likelihood = (X * mean.log() + (1 - X) * (-mean).log1p()).sum(-1).mean(0)
    torch.testing.assert_close(ELBO()(one).total, likelihood - kl)
    torch.testing.assert_close(ELBO(beta=2.5)(one).total, likelihood - 2.5 * kl)


def test_monte_carlo_and_closed_form_agree_in_the_mean() -> None:
    many = trace(draws=40_000)
    closed, estimate = ELBO()(many), ELBO(kl="monte_carlo")(many)
    torch.testing.assert_close(closed.parts["rate"].value, estimate.parts["rate"].value, rtol=0.02, atol=0.02)
    assert not torch.equal(closed.parts["rate"].value, estimate.parts["rate"].value)


def test_the_parts_with_their_weights_make_the_total() -> None:
    terms = ELBO(beta=0.3)(trace())
    by_hand = sum(float(part.weight) * part.value for part in terms.parts.values())
    torch.testing.assert_close(terms.total, by_hand)
    assert set(terms.parts) == {"log_likelihood", "rate"}


def test_penalties_of_a_model_are_subtracted() -> None:
    one = trace()
    fined = Trace(one.x, one.p_x, one.log_likelihood, one.levels, penalties={"commitment": torch.tensor([1.0, 2.0])})
    torch.testing.assert_close(ELBO()(one).total - ELBO()(fined).total, torch.tensor([1.0, 2.0]))


def test_reconstruction_pays_no_rate() -> None:
    terms = Reconstruction()(trace())
    assert terms.parts["rate"].weight == 0  # reported, as the plain ELBO always can be
    torch.testing.assert_close(terms.total, trace().log_likelihood[0])


def test_a_point_posterior_has_no_elbo() -> None:
    point = ff.recipes.autoencoder(latent=3).build(DataSpec((5,), 2, None)).model
    with pytest.raises(ValueError, match=r"Point has no density.*Reconstruction"):
        ELBO()(point(X, noise=Noise(0)))


def test_terms_total_handles_tensors_and_numbers() -> None:
    terms = Terms({"a": Term(torch.tensor([1.0, 2.0]), torch.tensor(3.0)), "b": Term(torch.tensor([1.0, 1.0]), -1.0)})
    assert terms.total.tolist() == [2.0, 5.0]


@pytest.mark.parametrize(
    ("text", "schedule", "step", "value"),
    [
        ("constant:2", Constant(2.0), 7, 2.0),
        ("linear:0:1:10", Linear(0.0, 1.0, 10), 4, 0.4),
        ("linear:0:1:10", Linear(0.0, 1.0, 10), 40, 1.0),
        ("logistic:1:100:0.1", Logistic(1.0, 100, 0.1), 100, 0.5),
        ("cyclic:1:100", Cyclic(1.0, 100), 125, 0.5),
        ("steps:16:0.5:10", Steps(16.0, 0.5, 10), 29, 4.0),
    ],
)
def test_schedules(text: str, schedule: object, step: int, value: float) -> None:
    parsed = parse_schedule(text)
    assert parsed == schedule
    assert parsed(step) == pytest.approx(value)


@pytest.mark.parametrize("text", ["linaer:0:1:5", "linear:0:1", "linear:a:1:5", "linear:0:1:0", "cyclic:1:2.5"])
def test_wrong_schedules_say_how_to_write_them(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        parse_schedule(text)


def test_what_is_only_reported_may_be_infinite() -> None:
    log_weight = torch.tensor([[-float("inf")], [-1.0]])
    found = Trace(log_weight, DiagonalGaussian(log_weight, log_weight), log_weight, ())
    assert IWAE(2)(found).total.item() == pytest.approx(-1 - math.log(2))


def test_a_schedule_that_leaves_its_range_is_refused_when_it_does() -> None:
    objective = ELBO(Linear(1, -1, 10))
    objective.advance(5)
    with pytest.raises(ValueError, match="ELBO: beta at step 6 must be"):
        objective.advance(6)
    info = InfoVAE(0.0, Linear(100, 0, 10))
    with pytest.raises(ValueError, match=r"alpha \+ lambda_ must be at least 1"):
        info.advance(10)
