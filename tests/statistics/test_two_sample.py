"""Two-sample tests: permutations against brute force, level and power."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from fourfold.noise import Noise, Recorder
from fourfold.statistics import RBF, Finding, Kernel, Laplace, median_bandwidth, mmd2, mmd_agg_test, mmd_test
from fourfold.statistics import gram as gram_module
from fourfold.statistics.gram import labellings, signs
from fourfold.statistics.result import p_value
from fourfold.statistics.twosample import split_mmd2

nightly = [pytest.mark.slow, pytest.mark.nightly]
Test = Callable[[Tensor, Tensor, Noise], Finding]


def gaussians(i: int, n: int, d: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    return Noise(i, stream="x").normal((n, d)), Noise(i, stream="y").normal((n, d)) + shift


def default(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    return mmd_test(x, y, permutations=300, noise=noise)


def halved(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    kernel = RBF(median_bandwidth(torch.cat((x, y)), "2sigma^2=median^2"))
    return mmd_test(x, y, kernel, permutations=300, noise=noise)


def biased(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    return mmd_test(x, y, estimator="biased", permutations=300, noise=noise)


def linear(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    return mmd_test(x, y, estimator="linear", noise=noise)


def agg(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    return mmd_agg_test(x, y, simulations=200, noise=noise)


def agg_of_four(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    kernels = [Laplace(1.0), Laplace(4.0), RBF(0.5), RBF(2.0)]
    return mmd_agg_test(x, y, kernels, simulations=100, noise=noise)


def agg_uneven(x: Tensor, y: Tensor, noise: Noise) -> Finding:
    return agg(x, y[:-1], noise)


def rejected(test: Test, runs: int, n: int, d: int, shift: float = 0.0) -> float:
    return sum(test(*gaussians(i, n, d, shift), Noise(i, stream="p")).rejects() for i in range(runs)) / runs


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("tile", [3, 100])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_every_split_is_its_own_mmd(tile: int, estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 35 ways to split 3 + 4 points, from one pooled Gram matrix: as if each were computed alone."""
    monkeypatch.setattr(gram_module, "TILE", tile)
    pooled, kernel, ways = Noise(0).normal((7, 2)), RBF(1.0), list(combinations(range(7), 3))
    labels = torch.zeros(7, len(ways), dtype=torch.bool)
    for i, chosen in enumerate(ways):
        labels[list(chosen), i] = True
    found = split_mmd2(pooled, kernel, labels, own=estimator == "biased")
    wanted = [mmd2(pooled[way], pooled[~way], kernel, estimator) for way in labels.T]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_no_more_than_a_tile_is_ever_held(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Kernel):
        """Counts the values that are asked for at once, and all of them."""

        most, every = 0, 0

        def __call__(self, x: Tensor, y: Tensor) -> Tensor:
            size = len(x) * len(y)
            self.most, self.every = max(self.most, size), self.every + size
            return RBF(1.0)(x, y)

        def pairs(self, x: Tensor, y: Tensor) -> Tensor:
            raise AssertionError

    monkeypatch.setattr(gram_module, "TILE", 16)
    x, y = gaussians(0, 50, 2)
    tested = Watched()
    found = mmd_test(x, y, tested, permutations=30)
    assert tested.most == 16**2 and tested.every < 0.7 * 100**2  # once, and only above the diagonal
    summed = Watched()
    value = mmd2(x, y, summed, "unbiased", 16)
    assert summed.most == 16**2
    assert found.statistic == pytest.approx(float(value), rel=1e-4)


def test_permutations_keep_the_sizes_and_begin_with_the_data() -> None:
    labels = labellings(3, 5, 400, Noise(0), torch.device("cpu"))
    assert labels[:, 0].tolist() == [True] * 3 + [False] * 5
    assert (labels.sum(0) == 3).all()
    assert labels[:, 1:].double().mean(1).sub(3 / 8).abs().max() < 0.1
    assert len({tuple(column) for column in labels.T.tolist()}) == 56
    coins = signs(4, 1000, Noise(0), torch.device("cpu"))
    assert (coins[:, 0] == 1).all() and set(coins.flatten().tolist()) == {-1, 1}
    assert coins.double().mean(1).abs().max() < 0.15


def test_a_p_value_counts_ties_and_itself() -> None:
    simulated = torch.tensor([0.1, 0.2, 0.3, 0.3 * (1 - 1e-12)], dtype=torch.float64)
    assert p_value(simulated[2], simulated) == 3 / 5
    assert p_value(torch.tensor(9.0, dtype=torch.float64), simulated) == 1 / 5
    assert p_value(torch.tensor(0.0, dtype=torch.float64), simulated) == 1


def test_the_swapped_statistic_is_that_of_swapped_data(double: None) -> None:
    """Signs: MMDAgg's statistic without the pairs (x_i, y_i), by swapping the data themselves."""
    from fourfold.statistics.agg import _swapped

    x, y, kernel = Noise(0).normal((5, 2)), Noise(1).normal((5, 2)), Laplace(1.0)
    flips = signs(5, 6, Noise(2), torch.device("cpu"))
    for found, flip in zip(_swapped(x, y, kernel, flips), flips.T, strict=True):
        swap = (flip < 0)[:, None]
        a, b = torch.where(swap, y, x), torch.where(swap, x, y)
        both = kernel(a, a) + kernel(b, b) - kernel(a, b) - kernel(b, a)
        wanted = (both.sum() - both.trace()) / 20
        torch.testing.assert_close(found, wanted)


def test_a_finding_says_what_was_done() -> None:
    x, y = gaussians(0, 40, 2, 1.0)
    found = mmd_test(x, y[:30], RBF(1.5), permutations=99)
    assert (found.n, found.m, found.permutations, found.p_value) == (40, 30, 99, 0.01)
    assert found.statistic == pytest.approx(float(mmd2(x, y[:30], RBF(1.5), "unbiased")), rel=1e-5)
    said = str(found)
    assert "RBF(1.5)" in said and "99 permutations" in said and "different distributions" in said
    assert found.rejects(0.01) and not found.rejects(0.005) and found.to_dict()["m"] == 30
    assert "no evidence" in found.verdict(0.001)


@pytest.mark.parametrize("test", [mmd_test, mmd_agg_test])
def test_randomness_is_the_arguments(test: Callable[..., Finding]) -> None:
    x, y = gaussians(3, 50, 2, 0.2)
    state = torch.get_rng_state()
    budget = {"permutations": 50} if test is mmd_test else {"simulations": 50}
    first, again = (test(x, y, noise=Noise(7), **budget) for _ in range(2))
    recorder = Recorder(Noise(8))
    other = test(x, y, noise=recorder, **budget)
    assert first == again and first.statistic == pytest.approx(other.statistic, abs=0.5) and recorder.requests
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(("test", "low", "high"), [(default, 0.01, 0.1), (agg_of_four, 0.01, 0.1)])
def test_the_level_roughly(test: Test, low: float, high: float) -> None:
    assert low <= rejected(test, 150, 50, 2) <= high


@pytest.mark.parametrize("test", [default, halved, agg])
def test_the_power_roughly(test: Test) -> None:
    assert rejected(test, 10, 200, 10, shift=0.2) >= 0.9


def test_a_comb_too_fine_for_the_median_bandwidth() -> None:
    """y is uniform on every other twentieth of [0, 1]: only MMDAgg has kernels that narrow."""
    x, tooth, place = (Noise(0, stream=name).uniform((300, 1)) for name in ("x", "tooth", "place"))
    y = ((10 * tooth).floor() + place / 2) / 10
    assert not mmd_test(x, y).rejects() and mmd_agg_test(x, y, simulations=300).rejects()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda x, y: mmd_test(x, y[:1]), "at least 2"),
        (lambda x, y: mmd_test(x, y, permutations=0), "permutations"),
        (lambda x, y: mmd_test(x, y, estimator="quadratic"), "estimator"),
        (lambda x, y: mmd_test(x, y[:9], estimator="linear"), "one size"),
        (lambda x, y: mmd_test(x / 0, y), "row 0 of the first"),
        (lambda x, y: mmd_agg_test(x, y, []), "kernels is empty"),
    ],
)
def test_bad_arguments_are_refused(act: Callable[[Tensor, Tensor], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        act(*gaussians(0, 10, 2))


@pytest.mark.parametrize("test", [pytest.param(t, marks=nightly) for t in (default, halved, biased, agg, agg_uneven)])
def test_the_level(test: Test) -> None:
    """Over 1,000 nulls, nominal .05; and exactly .05 is 50 ± 7 of them."""
    rate = rejected(test, 1000, 50, 2)
    print(f"{test.__name__}: rejected {rate:.3f} of 1,000 nulls at nominal .05 (n = 50, d = 2)")
    assert 0.03 <= rate <= 0.07


@pytest.mark.slow
@pytest.mark.nightly
def test_the_level_in_ten_dimensions() -> None:
    rate = rejected(halved, 1000, 100, 10)
    print(f"rejected {rate:.3f} of 1,000 nulls at nominal .05 (n = 100, d = 10)")
    assert 0.03 <= rate <= 0.07


@pytest.mark.slow
@pytest.mark.nightly
def test_the_level_of_the_linear_test() -> None:
    rate = rejected(linear, 1000, 400, 2)
    print(f"linear: rejected {rate:.3f} of 1,000 nulls at nominal .05 (n = 400, d = 2)")
    assert 0.03 <= rate <= 0.07


@pytest.mark.parametrize("test", [pytest.param(t, marks=nightly) for t in (default, halved, agg)])
def test_the_power(test: Test) -> None:
    """Shift .2 in each of 10 dimensions, 200 points a side."""
    rate = rejected(test, 200, 200, 10, shift=0.2)
    print(f"{test.__name__}: power {rate:.3f} over 200 draws at shift .2 (n = 200, d = 10)")
    assert rate >= 0.95
