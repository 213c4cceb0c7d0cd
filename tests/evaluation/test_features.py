"""Distances in a feature space: of Gaussians in closed form, and of samples of a model."""

import numpy as np
import pytest
import torch
from exact_models import Exact, cut
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression

from fourfold.evaluation.features import Features, generation, train_features
from fourfold.noise import Noise
from fourfold.statistics import frechet, frechet_limit

PLAIN = Features("x itself", "", lambda x: x.flatten(1))


def shaped(n: int, mean: torch.Tensor, covariance: torch.Tensor, key: int) -> torch.Tensor:
    """n points with exactly this mean and covariance."""
    x = Noise(key).normal((n, len(mean)), dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def spd(key: int) -> torch.Tensor:
    a = Noise(key).normal((4, 4), dtype=torch.float64)
    return a @ a.T + 0.1 * torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize("n", [40, 300])
def test_the_distance_of_gaussians_has_a_closed_form(n: int) -> None:
    one, two, shift = spd(1), spd(2), torch.tensor([1.0, 0.0, -2.0, 0.5], dtype=torch.float64)
    x, y = shaped(n, torch.zeros_like(shift), one, 3), shaped(n, shift, two, 4)
    root = np.real(sqrtm((one @ two).numpy()))
    wanted = float(shift.square().sum() + torch.trace(one + two)) - 2 * np.trace(root)
    assert frechet(x, y) == pytest.approx(wanted, rel=1e-8)
    assert frechet(y, x) == pytest.approx(wanted, rel=1e-8)
    assert frechet(x, x) == pytest.approx(0, abs=1e-8)


def test_fewer_points_than_dimensions_are_no_trouble() -> None:
    x, y = Noise(1).normal((5, 9), dtype=torch.float64), Noise(2).normal((6, 9), dtype=torch.float64)
    root = np.real(sqrtm(np.cov(x.T) @ np.cov(y.T)))
    wanted = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet(x, y) == pytest.approx(wanted, rel=1e-3)


def test_the_limit_takes_off_what_few_points_add() -> None:
    x, y = Noise(1).normal((1000, 20)), Noise(2).normal((1000, 20))
    plain, limit = frechet(x, y), frechet_limit(x, y)
    assert plain > 0.15 and abs(limit) < 0.2 * plain
    y = y + 0.5
    assert frechet_limit(x, y) == pytest.approx(20 * 0.25, abs=0.25)


def test_the_limit_is_of_samples_of_one_size(unchecked: None) -> None:
    with pytest.raises(ValueError, match="one size"):
        frechet_limit(torch.ones(20, 2), torch.ones(30, 2))


def test_a_model_of_its_own_data_is_at_the_floor(double: None) -> None:
    exact = Exact.make()
    data = cut(exact.data(1200), 100)
    right = generation(exact.model(), data, PLAIN, Noise(0), n=600)
    assert right.n == 600 and right.size == 5 and right.kid.size == 300
    assert right.frechet < 3 * right.floor + 0.02 and abs(right.limit) < 0.1
    assert abs(right.kid.mean) < 4 * right.kid_floor.std
    wrong = generation(Exact(0.3 * exact.w, exact.b).model(), data, PLAIN, Noise(0), n=600)
    assert wrong.frechet > 10 * wrong.floor and wrong.kid.mean > 5 * wrong.kid_floor.std
    assert generation(exact.model(), data, PLAIN, Noise(0), n=10_000).n == 600
    with pytest.raises(ValueError, match="64"):
        generation(exact.model(), data[:1], PLAIN, Noise(0), n=20)


@pytest.mark.parametrize("shape", [(1, 9, 10), (30,)])
@pytest.mark.parametrize("labelled", [True, False])
def test_default_features_are_a_function_of_the_seed(shape: tuple[int, ...], labelled: bool) -> None:
    x = Noise(1).uniform((300, *shape))
    labels = (x.flatten(1)[:, :5].sum(1) > 2.5).long() if labelled else None
    state = torch.random.get_rng_state()
    one, two, other = (train_features(x, labels, Noise(s), "toy", steps=150) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.digest == two.digest != other.digest and one.encode(x).equal(two.encode(x))
    kind = f"{'conv' if len(shape) == 3 else 'dense'}-{'classifier' if labelled else 'autoencoder'}"
    assert str(one) == f"features: {kind}, toy, seed 0 ({one.digest})"
    assert one.encode(x.double()).shape == (300, 64)


def test_the_classifier_learns() -> None:
    x = Noise(1).normal((600, 8))
    labels = (x[:, 0] > 0).long()
    found = train_features(x[:300], labels[:300], Noise(0), "toy", steps=200).encode(x).numpy()
    fitted = LogisticRegression(max_iter=1000).fit(found[:300], labels[:300])
    assert fitted.score(found[300:], labels[300:]) > 0.9
