"""The parts of the rate over all data: by brute force, and where q(z) is a known Gaussian."""

from math import log

import numpy as np
import pytest
import torch
from exact_models import FirstTwo, Linear, LinearBernoulli, Shifted, cut
from torch import Tensor, nn

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import BernoulliHead
from fourfold.evaluation import EvaluationOptions, Undecomposable, decomposition, evaluate
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.priors import ConditionalPrior, StandardNormal

A = torch.tensor([[0.6, 0.2, 0.0], [0.5, -0.3, 0.4]])


def model(scale: float, dtype: torch.dtype = torch.float64) -> VAE:
    """N(Ax, scale²), the standard normal, and a likelihood of no importance."""
    q = Linear(A.to(dtype), torch.zeros(2, dtype=dtype), torch.full((2,), scale, dtype=dtype))
    return VAE(q, StandardNormal(2), LinearBernoulli(A.T.to(dtype), torch.zeros(3, dtype=dtype))).to(dtype).eval()


def data(n: int) -> Tensor:
    return Noise(5, stream="x").normal((n, 3), dtype=torch.float64)


def test_brute_force_on_a_few_data() -> None:
    x, scale = data(7), 0.5
    noise = Noise(1)
    found = decomposition(model(scale), cut(x, 3), noise, samples=7)
    means = (x @ A.double().T).numpy()
    z = np.concatenate(
        [model(scale)(b.x, noise=noise.fork(str(i))).levels[0].z[0].numpy() for i, b in enumerate(cut(x, 3))]
    )
    wanted: dict[str, list[float]] = {"mi": [], "tc": [], "dwkl": []}

    def density(value: float, mean: float, scale: float) -> float:
        return float(np.exp(-0.5 * ((value - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi)))

    for i in range(7):
        own = np.prod([density(z[i, d], means[i, d], scale) for d in range(2)])
        joint = np.mean([np.prod([density(z[i, d], means[j, d], scale) for d in range(2)]) for j in range(7)])
        marginal = np.prod([np.mean([density(z[i, d], means[j, d], scale) for j in range(7)]) for d in range(2)])
        prior = np.prod([density(z[i, d], 0.0, 1.0) for d in range(2)])
        for name, ratio in (("mi", own / joint), ("tc", joint / marginal), ("dwkl", marginal / prior)):
            wanted[name].append(np.log(ratio))
    for name, values in wanted.items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-10, atol=1e-10)
    assert found.posteriors == 7 and found.mi.max() <= log(7)


def test_a_gaussian_aggregate_has_the_closed_form() -> None:
    n, scale = 4000, 0.4
    x = data(n) - data(n).mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T  # of covariance I, as its own mixture sees it
    found = decomposition(model(scale), cut(x, 1000), Noise(0), samples=2000)
    a = A.double()
    c = (a @ a.T + scale**2 * torch.eye(2)).numpy()
    wanted = {
        "mi": 0.5 * np.log(np.linalg.det(c) / scale**4),
        "tc": 0.5 * (np.log(np.diag(c)).sum() - np.log(np.linalg.det(c))),
        "dwkl": 0.5 * (np.diag(c) - 1 - np.log(np.diag(c))).sum(),
    }
    assert wanted["tc"] > 0.05
    for name, value in wanted.items():
        values = getattr(found, name)
        assert len(values) == 2000
        assert abs(values.mean() - value) < 4 * values.std() / 2000**0.5 + 0.01, name


def test_the_parts_sum_to_the_drawn_rate_and_chunks_do_not_matter() -> None:
    x = data(60)
    one, other = (decomposition(model(0.1), cut(x, 25), Noise(2), 40, numbers) for numbers in (1, 1 << 22))
    for name in ("mi", "tc", "dwkl"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-12)
    whole = decomposition(model(0.1), cut(x, 25), Noise(2), samples=1000)  # no more than there are
    assert len(one.mi) == 40 and len(whole.mi) == 60
    drawn = [model(0.1)(b.x, noise=Noise(2).fork(str(i))).log_ratio[0] for i, b in enumerate(cut(x, 25))]
    np.testing.assert_allclose(whole.mi + whole.tc + whole.dwkl, torch.cat(drawn).numpy(), rtol=1e-10, atol=1e-10)
    assert set(one.mi.round(9)) <= set(whole.mi.round(9))  # some of the data, each once
    assert len(set(one.mi.round(9))) == 40


def test_data_that_can_be_told_apart_have_all_the_information_there_is() -> None:
    found = decomposition(model(1e-4), cut(data(50), 50), Noise(0))
    np.testing.assert_allclose(found.mi, log(50), rtol=1e-9)


def test_single_precision_is_summed_in_double() -> None:
    x = data(300)
    exact = decomposition(model(0.3), cut(x, 100), Noise(0))
    single = decomposition(model(0.3, torch.float32), cut(x.float(), 100), Noise(0))
    assert single.mi.dtype == np.float64
    assert abs(exact.mi.mean() - single.mi.mean()) < 0.1  # other draws, same quantity


def test_rows_have_their_protocol_and_are_left_out_unless_asked_for() -> None:
    x = data(40).sigmoid().round()
    ready = model(0.4)
    rows = {
        row.metric: row
        for row in evaluate(ready, lambda: cut(x, 20), Noise(0), options=EvaluationOptions(decomposition=30)).rows
    }
    for name in ("mi", "tc", "dwkl"):
        row = rows[name]
        assert row.n == 30 and row.unit == "nats" and row.standard_error is not None
        assert row.estimator.startswith("30 draws of z against all 40 posteriors")
    assert rows["mi"].estimator.endswith(f"at most {log(40):.2f}")
    total = rows["mi"].value + rows["tc"].value + rows["dwkl"].value
    assert total == pytest.approx(rows["rate"].value, abs=0.5)
    plain = evaluate(ready, lambda: cut(x, 20), Noise(0))
    assert not {"mi", "tc", "dwkl"} & {row.metric for row in plain.rows}
    with pytest.raises(ValueError, match="decomposition"):
        EvaluationOptions(decomposition=-1)


def test_models_without_the_densities_are_noted_with_the_reason() -> None:
    x, p = torch.ones(6, 3), LinearBernoulli(A.T, torch.zeros(3))
    point = VAE(FirstTwo(), StandardNormal(2), p).eval()
    asked = EvaluationOptions(decomposition=5)
    notes = evaluate(point, lambda: cut(x, 3), Noise(0), options=asked).notes
    assert any(note.startswith("mi, tc, dwkl: Point has no density of a single latent") for note in notes)
    direct = Direct(ConditionalPrior(NetworkConditional(nn.Linear(2, 3), BernoulliHead(3), 2)), Condition((2,))).eval()
    given = cut(x, 3, c=torch.zeros(6, 2))
    notes = evaluate(direct, lambda: given, Noise(0), options=asked).notes
    assert any("this model has 0" in note for note in notes)
    q = Linear(torch.ones(1, 3), torch.zeros(1), torch.ones(1))
    conditional = VAE(q, Shifted(), LinearBernoulli(torch.ones(3, 1), torch.zeros(3)), Condition((3,))).eval()
    with pytest.raises(Undecomposable, match="not one product over the latents for all data"):
        decomposition(conditional, cut(x, 3, c=x), Noise(0))


def test_no_data_and_training_mode_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no data"):
        decomposition(model(0.4), [], Noise(0))
    with pytest.raises(ValueError, match="training mode"):
        decomposition(model(0.4).train(), cut(data(3), 3), Noise(0))
