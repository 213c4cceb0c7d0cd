"""HSIC and dHSIC against matrices written out, their nulls, and mutual information in closed form."""

import importlib.util
from math import log

import pytest
import torch
from torch import Tensor

from fourfold.noise import Noise
from fourfold.statistics import (
    RBF,
    Laplace,
    dhsic,
    dhsic_test,
    discrete_information,
    gaussian_information,
    hsic,
    hsic_test,
    median_bandwidth,
)


def pair(i: int, n: int = 100) -> tuple[Tensor, Tensor]:
    return Noise(i, stream="x").normal((n, 1)), Noise(i, stream="y").normal((n, 1))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("tile", [4, 100])
def test_it_is_its_formula(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourfold.statistics.gram.TILE", tile)
    n, x, y = 9, Noise(0).normal((9, 2)), Noise(1).normal((9, 3))
    kernels = (RBF(1.0), Laplace(2.0))
    k, ell = kernels[0](x, x), kernels[1](y, y)
    centre, one = torch.eye(n) - 1 / n, torch.ones(n)
    assert float(hsic(x, y, kernels, "biased")) == pytest.approx(float((k @ centre @ ell @ centre).trace() / n**2))
    a, b = k - k.diagonal().diag(), ell - ell.diagonal().diag()
    song = (a @ b).trace() + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ a @ b @ one
    assert float(hsic(x, y, kernels, "unbiased")) == pytest.approx(float(song / (n * (n - 3))))


@pytest.mark.usefixtures("double")
def test_three_variables_are_the_formula_of_pfister() -> None:
    variables = [Noise(i).normal((8, 1)) for i in range(3)]
    grams = [RBF(1.0)(v, v) for v in variables]
    product, means = grams[0] * grams[1] * grams[2], torch.stack([g.mean(1) for g in grams])
    wanted = product.mean() + torch.stack([g.mean() for g in grams]).prod() - 2 * means.prod(0).mean()
    assert float(dhsic(variables, [RBF(1.0)] * 3)) == pytest.approx(float(wanted))
    assert dhsic_test(variables, [RBF(1.0)] * 3, permutations=5).statistic == pytest.approx(float(wanted))
    two = variables[:2]
    assert float(dhsic(two)) == pytest.approx(float(hsic(*two, estimator="biased")))


def test_the_unbiased_one_is_zero_on_average() -> None:
    found = torch.stack([hsic(*pair(i)) for i in range(200)])
    assert abs(float(found.mean())) < 4 * float(found.std()) / 200**0.5
    assert float(torch.stack([hsic(*pair(i), estimator="biased") for i in range(20)]).mean()) > 0.0015


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_p_is_uniform_for_independent_gaussians(method: str) -> None:
    from scipy.stats import kstest

    found = [hsic_test(*pair(i), method=method, permutations=99, noise=Noise(i)).p_value for i in range(200)]
    assert kstest(found, "uniform").pvalue > 0.01
    assert sum(p <= 0.05 for p in found) / 200 <= 0.09


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_a_square_is_found(method: str) -> None:
    """y = x² at n = 200: uncorrelated and dependent; with noise, too."""
    x, noise = pair(0, 200)
    assert hsic_test(x, x**2, method=method).p_value <= 0.01
    assert hsic_test(x, x**2 + 0.5 * noise, method=method).p_value <= 0.01


def test_each_variable_has_its_own_bandwidth() -> None:
    """Units do not matter."""
    x, y = pair(1, 80)
    small = hsic_test(x, 1000 * y.sin(), permutations=50)
    assert small.statistic == pytest.approx(hsic_test(x, y.sin(), permutations=50).statistic, rel=1e-4)
    assert float(hsic(x, y)) == pytest.approx(float(hsic(x, y, [RBF(median_bandwidth(v)) for v in (x, y)])))


def test_three_coins_of_which_any_two_are_independent() -> None:
    """x, y fair signs and z = xy: no pair depends, the three do."""
    x, y = (pair(2, 300)[i].sign() for i in range(2))
    kernels = [RBF(1.0)] * 3
    assert not hsic_test(x, x * y, kernels[:2]).rejects() and not hsic_test(y, x * y, kernels[:2]).rejects()
    found = dhsic_test([x, y, x * y], kernels, permutations=200)
    assert found.p_value == 1 / 201 and "3 variables" in found.name and found.rejects()


@pytest.mark.skipif(importlib.util.find_spec("hyppo") is None, reason="hyppo is not installed: an optional cross-check")
def test_hyppo_agrees() -> None:
    from hyppo.independence import Hsic  # pyright: ignore

    x, y = pair(3, 60)
    gamma = 0.7
    theirs = Hsic(gamma=gamma, bias=True).statistic(x.numpy(), (x + y).numpy())
    kernel = RBF((2 * gamma) ** -0.5)
    ours, own, other = (float(hsic(a, b, [kernel] * 2, "biased")) for a, b in ((x, x + y), (x, x), (x + y, x + y)))
    assert ours / (own * other) ** 0.5 == pytest.approx(theirs, rel=1e-4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda x, y: hsic(x, y[:-1]), "one length"),
        (lambda x, y: hsic(x[:3], y[:3]), "at least 6"),
        (lambda x, y: hsic(x, y, [RBF(1.0)]), "one for each"),
        (lambda x, y: hsic(x, y / 0), "not finite"),
        (lambda x, y: dhsic_test([x]), "two or more"),
        (lambda x, y: hsic_test(x.repeat(200, 1), y.repeat(200, 1)), "gamma"),
        (lambda x, y: hsic_test(x, y, method="exact"), "method"),
    ],
)
def test_what_cannot_be_tested_is_refused(act, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        act(*pair(0))


@pytest.mark.usefixtures("double")
def test_gaussian_information_is_a_difference_of_entropies() -> None:
    a = Noise(0).normal((5, 5))
    sigma = a @ a.T + torch.eye(5)

    def entropy(part: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(torch.zeros(len(part)), part).entropy()

    wanted = entropy(sigma[:2, :2]) + entropy(sigma[2:, 2:]) - entropy(sigma)
    assert float(gaussian_information(sigma, 2)) == pytest.approx(float(wanted))
    assert float(gaussian_information(torch.eye(3), 1)) == pytest.approx(0)
    for bad in (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([[1.0, 0.5], [0.0, 1.0]])):
        with pytest.raises(ValueError, match="positive definite"):
            gaussian_information(bad, 1)
    with pytest.raises(ValueError, match="0 < first < d"):
        gaussian_information(torch.eye(2), 2)


def test_discrete_information_of_a_table() -> None:
    """Against scikit-learn; of an independent table zero; its bias is (a − 1)(b − 1)/2N."""
    from sklearn.metrics import mutual_info_score

    table = torch.tensor([[10, 2, 0], [3, 8, 7]])
    pairs = [(i, j) for i in range(2) for j in range(3) for _ in range(int(table[i, j]))]
    assert float(discrete_information(table)) == pytest.approx(mutual_info_score(*zip(*pairs, strict=True)))
    p, q = torch.tensor([0.2, 0.8]), torch.tensor([0.1, 0.3, 0.6])
    assert float(discrete_information(torch.outer(p, q))) == pytest.approx(0, abs=1e-7)
    assert float(discrete_information(torch.eye(4))) == pytest.approx(log(4))
    drawn = [(Noise(i).uniform((500, 2)) * torch.tensor([3.0, 4.0])).long() @ torch.tensor([4, 1]) for i in range(300)]
    found = torch.stack([discrete_information(torch.bincount(one, minlength=12).reshape(3, 4)) for one in drawn])
    assert float(found.mean()) == pytest.approx(2 * 3 / 1000, rel=0.1)
    for bad in (torch.zeros(2, 2), torch.tensor([[1.0, -1.0]]), torch.ones(3)):
        with pytest.raises(ValueError, match="table"):
            discrete_information(bad)
