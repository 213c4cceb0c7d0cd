"""The kernel Stein discrepancy: against autograd, against its closed form, level and power; relative fits."""

from collections.abc import Callable
from math import erfc, exp, pi, sqrt

import pytest
import torch
from torch import Tensor

from fourfold.noise import Noise
from fourfold.statistics import (
    RBF,
    Comparison,
    ksd2,
    ksd_test,
    mmd2,
    relative_ksd,
    relative_likelihood,
    relative_mmd,
)
from fourfold.statistics import gram as gram_module
from fourfold.statistics import ksd as ksd_module


def standard(x: Tensor) -> Tensor:
    """∇ log N(x; 0, I)."""
    return -x


def towards(mean: float) -> Callable[[Tensor], Tensor]:
    """∇ log N(x; mean, I)."""
    return lambda x: mean - x


def by_autograd(x: Tensor, score: Tensor, c: float, unbiased: bool) -> float:
    """u_p with the derivatives of the kernel from autograd, pair by pair."""
    total, n, d = 0.0, *x.shape
    for i in range(n):
        for j in range(n):
            if i == j and unbiased:
                continue
            a, b = x[i].clone().requires_grad_(), x[j].clone().requires_grad_()
            k = (c**2 + (a - b).square().sum()) ** -0.5
            of_a, of_b = torch.autograd.grad(k, (a, b), create_graph=True)
            trace = sum(torch.autograd.grad(of_a[r], b, retain_graph=True)[0][r] for r in range(d))
            total += float((score[i] @ score[j] * k + score[i] @ of_b + score[j] @ of_a + trace).detach())
    return total / (n * (n - 1 if unbiased else n))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("tile", [3, 100])
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_it_is_what_autograd_says(estimator: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourfold.statistics.gram.TILE", tile)
    x, score = Noise(0).normal((7, 3)) + 5, Noise(1).normal((7, 3))
    wanted = by_autograd(x, score, 1.7, estimator == "unbiased")
    assert float(ksd2(x, score, estimator, c=1.7)) == pytest.approx(wanted, rel=1e-9)
    assert float(ksd2(x, lambda _: score, estimator, c=1.7)) == pytest.approx(wanted, rel=1e-9)
    assert tile == gram_module.TILE


def closed(shift: float) -> float:
    """In two dimensions, N(shift · 1, I) from N(0, I): d shift² · E (1 + r²)^(−1/2), with r² exponential of mean 4."""
    return 2 * shift**2 * sqrt(pi) / 2 * exp(0.25) * erfc(0.5)


@pytest.mark.parametrize(("shift", "reference"), [(0.0, -0.002), (0.1, 0.016), (0.3, 0.115), (1.0, 1.201)])
def test_shifted_gaussians(shift: float, reference: float) -> None:
    """The closed form in the mean over samples of 1,000; the reference's one sample within their spread."""
    found = torch.stack([ksd2(Noise(i).normal((1000, 2)) + shift, standard) for i in range(20)])
    assert abs(float(found.mean()) - closed(shift)) < 4 * float(found.std()) / sqrt(20)
    assert abs(reference - closed(shift)) < 3.5 * float(found.std())


@pytest.mark.parametrize(
    ("shift", "low", "high"), [(0.0, 0.05, 1.0), (0.1, 0.0, 0.05), (0.3, 0.0, 0.001), (1, 0, 0.001)]
)
def test_its_p_values(shift: float, low: float, high: float) -> None:
    found = ksd_test(Noise(5).normal((1000, 2)) + shift, standard)
    assert low <= found.p_value <= high
    assert (found.n, found.m, found.permutations) == (1000, None, 1000)


def test_its_level_roughly() -> None:
    """Over 150 samples that do come from the density; a scale of 2 is found at once."""
    found = [ksd_test(Noise(i).normal((100, 2)), standard, draws=200, noise=Noise(i, stream="p")) for i in range(150)]
    assert sum(one.rejects() for one in found) / 150 <= 0.1
    assert ksd_test(2 * Noise(0).normal((200, 5)), standard, draws=200).p_value == 1 / 201


@pytest.mark.slow
@pytest.mark.nightly
def test_its_level() -> None:
    runs = range(1000)
    found = [ksd_test(Noise(i).normal((200, 2)), standard, draws=300, noise=Noise(i, stream="p")) for i in runs]
    rate = sum(one.rejects() for one in found) / 1000
    print(f"ksd_test: rejected {rate:.3f} of 1,000 nulls at nominal .05 (n = 200, d = 2)")
    assert 0.03 <= rate <= 0.07


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "score", "words"),
    [
        (torch.zeros(1, 2), standard, "two points"),
        (torch.zeros(4), standard, "two points"),
        (torch.zeros(4, 2), torch.zeros(4), "shape of x"),
        (torch.zeros(4, 2), lambda x: x / 0, "not finite"),
    ],
)
def test_what_has_no_discrepancy_is_refused(x: Tensor, score: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ksd_test(x, score)  # pyright: ignore


# Which fits better? ---------------------------------------------------------------------------------------------------


def three(i: int, first: float, second: float, n: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    real, one, two = (Noise(i, stream=name).normal((n, 2)) for name in "abc")
    return real, one + first, two + second


def test_the_relative_mmd_is_a_difference_of_two(double: None) -> None:
    real, one, two = three(0, 0.3, 1.0, n=30)
    kernel = RBF(1.0)
    found = relative_mmd(real, one[:20], two, kernel)
    wanted = mmd2(real, one[:20], kernel, "unbiased") - mmd2(real, two, kernel, "unbiased")
    assert found.difference == pytest.approx(float(wanted))


@pytest.mark.parametrize("sizes", [(200, 200, 200), (300, 80, 150)])
def test_its_standard_error_is_the_spread_of_the_difference(sizes: tuple[int, int, int]) -> None:
    found = []
    for i in range(150):
        real, one, two = three(i, 0.5, -0.5, n=300)
        found.append(relative_mmd(real[: sizes[0]], one[: sizes[1]], two[: sizes[2]], RBF(1.5)))
    differences = torch.tensor([one.difference for one in found])
    errors = torch.tensor([one.standard_error for one in found])
    assert float(errors.mean() / differences.std()) == pytest.approx(1, abs=0.2)
    assert sum(one.p_value <= 0.05 for one in found) / 150 <= 0.1
    assert abs(float(differences.mean())) < 4 * float(differences.std()) / sqrt(150)


def test_the_nearer_sample_wins() -> None:
    found = relative_mmd(*three(1, 1.0, 0.3))
    assert found.difference > 0 and found.p_value < 0.001 and found.p_second < 0.001
    assert "the second fits better" in str(found) and found.finding(200, 200).rejects()
    other = relative_mmd(*three(1, 0.3, 1.0))
    assert other.difference < 0 and other.p_value < 0.001 and other.p_second > 0.999
    assert "the first fits better" in str(other)


def test_the_relative_ksd(double: None) -> None:
    x = Noise(0).normal((300, 2))
    found = relative_ksd(x, towards(0.5), towards(1.0))
    wanted = ksd2(x, towards(0.5)) - ksd2(x, towards(1.0))
    assert found.difference == pytest.approx(float(wanted)) and found.p_value < 0.001 and found.p_second > 0.999
    z = torch.tensor([relative_ksd(Noise(i).normal((300, 2)), towards(0.5), towards(-0.5)).z for i in range(100)])
    assert abs(float(z.mean())) < 0.4 and float(z.std()) == pytest.approx(1, abs=0.2)


def test_one_gaussian_or_two(double: None) -> None:
    """Fitted on one half, judged on the other: two bumps are two Gaussians, and one bump is no evidence for two."""
    from sklearn.mixture import GaussianMixture

    def compared(x: Tensor) -> Comparison:
        train, test = x[::2].numpy(), x[1::2].numpy()
        fits = [GaussianMixture(k, random_state=0).fit(train) for k in (1, 2)]
        return relative_likelihood(*(torch.from_numpy(fit.score_samples(test)) for fit in fits))

    one = Noise(0).normal((1000, 1))
    two = one + 2.5 * torch.tensor([-1.0, -1.0, 1.0, 1.0]).repeat(250)[:, None]
    assert compared(two).p_second < 1e-6 and "the second fits better" in str(compared(two))
    assert compared(one).p_second > 0.05


def test_a_paired_difference_by_hand() -> None:
    found = relative_likelihood(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-2.0, -2.0, -5.0]))
    assert (found.difference, found.standard_error) == (pytest.approx(-1), pytest.approx(1 / sqrt(3)))
    assert found.z == pytest.approx(-sqrt(3)) and found.p_value == pytest.approx(2 * (1 - found.p_second))
    assert Comparison("", 0.0, 0.0, 2).p_value == 1 and Comparison("", -1.0, 0.0, 2).p_value == 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (torch.zeros(3), torch.zeros(4), "same data"),
        (torch.zeros(1), torch.zeros(1), "at least 2"),
        (torch.zeros(3), torch.tensor([0.0, 0.0, -torch.inf]), "not finite"),
    ],
)
def test_likelihoods_of_other_data_are_refused(first: Tensor, second: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        relative_likelihood(first, second)


def test_sums_over_many_tiles_are_in_single_precision_under_autocast(monkeypatch):
    for module in (gram_module, ksd_module):
        monkeypatch.setattr(module, "TILE", 16)
    x = Noise(0).normal((70, 3), dtype=torch.float32)
    labels = gram_module.labellings(40, 30, 5, Noise(2), x.device)
    found = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            sums = gram_module.split_sums(gram_module.gram(x, RBF(1.0), own=False), labels)
            found.append((ksd2(x, -x), *sums))
    assert all(under.equal(exact) for under, exact in zip(*found, strict=True))
