"""The squared maximum mean discrepancy against closed forms and double loops, and other people's bugs."""

from math import exp

import pytest
import torch
from torch import Tensor

from fourfold.noise import Noise
from fourfold.statistics import IMQ, KID, RBF, Kernel, Laplace, Polynomial, features, kid, mmd2, multi_scale, witness

D = 10


def closed(variance: float, shift: float) -> float:
    """MMD² of N(0, I) and N(shift · 1, I) in ten dimensions with k = exp(−d²/2σ²)."""
    return 2 * (variance / (variance + 2)) ** (D / 2) * (1 - exp(-D * shift**2 / (2 * (variance + 2))))


def loops(x: Tensor, y: Tensor, kernel: Kernel, unbiased: bool) -> float:
    def mean(a: Tensor, b: Tensor, own: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if own or i != j]
        return sum(float(kernel(a[i, None], b[j, None])) for i, j in pairs) / len(pairs)

    return mean(x, x, not unbiased) + mean(y, y, not unbiased) - 2 * mean(x, y, True)


@pytest.fixture
def samples(double: None) -> tuple[Tensor, Tensor]:
    return Noise(0).normal((7, 3)), Noise(1).normal((9, 3)) + 0.5


@pytest.mark.parametrize(
    ("variance", "shift", "value"),
    [(1, 0.5, 0.00280), (5, 0.5, 0.06081), (20, 0.5, 0.06859), (1, 1, 0.00668), (5, 1, 0.18982), (20, 1, 0.25246)],
)
def test_two_gaussians(variance: float, shift: float, value: float, double: None) -> None:
    assert closed(variance, shift) == pytest.approx(value, abs=6e-6)
    kernel, many = RBF(variance**0.5), range(20)
    pairs = [(Noise(i, stream="x").normal((500, D)), Noise(i, stream="y").normal((500, D)) + shift) for i in many]
    for estimator in ("unbiased", "linear"):
        found = torch.stack([mmd2(x, y, kernel, estimator) for x, y in pairs])
        assert float((found.mean() - value).abs()) < 4 * float(found.std()) / 20**0.5
    biased = torch.stack([mmd2(x, y, kernel) for x, y in pairs]).mean()
    # too large by (1 − mean k)/n on each side
    assert float(biased) == pytest.approx(value + 2 * (1 - (variance / (variance + 2)) ** (D / 2)) / 500, rel=0.1)


@pytest.mark.parametrize("kernel", [RBF(1.0), Laplace(1.0), Polynomial(), multi_scale(IMQ, 6.0)], ids=str)
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("tile", [2, 4, 100])
def test_it_is_the_double_loop(kernel: Kernel, estimator: str, tile: int, samples: tuple[Tensor, Tensor]) -> None:
    """Nothing is divided twice, and the cross term keeps its diagonal."""
    x, y = samples
    wanted = loops(x, y, kernel, estimator == "unbiased")
    assert float(mmd2(x, y, kernel, estimator, tile)) == pytest.approx(wanted, rel=1e-9)


def test_the_cross_term_keeps_its_diagonal(double: None) -> None:
    x = 100.0 * torch.arange(5.0)[:, None]  # so far apart that only a point and its copy are alike
    assert float(mmd2(x, x, RBF(1.0), "unbiased")) == pytest.approx(-2 / 5)
    assert float(mmd2(x, x, RBF(1.0), "biased")) == pytest.approx(0, abs=1e-12)


def test_the_unbiased_estimator_is_unbiased(double: None) -> None:
    """Over all ways to draw 3 and 3 of a population with replacement: the mean is the MMD² of the populations."""
    x, y, kernel = Noise(0).normal((3, 1)), Noise(1).normal((3, 1)), RBF(1.0)
    every = torch.cartesian_prod(*[torch.arange(3)] * 2)
    found = torch.stack([mmd2(x[i], y[j], kernel, "unbiased") for i in every for j in every]).mean()
    assert float(found) == pytest.approx(loops(x, y, kernel, unbiased=False), rel=1e-9)


def test_it_has_gradients_and_the_same_value_with_them(samples: tuple[Tensor, Tensor]) -> None:
    x, y = samples
    for estimator in ("biased", "unbiased"):
        plain, given = mmd2(x, y, RBF(1.0), estimator), x.clone().requires_grad_()
        torch.testing.assert_close(mmd2(given, y, RBF(1.0), estimator).detach(), plain)
        assert torch.autograd.gradcheck(lambda x, e=estimator: mmd2(x, y, RBF(1.0), e, 4), given)


def test_in_single_precision_it_stays_single(samples: tuple[Tensor, Tensor]) -> None:
    x, y = samples
    found = mmd2(x.float(), y.float(), RBF(1.0), "unbiased")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), mmd2(x, y, RBF(1.0), "unbiased"), rtol=0, atol=1e-6)


def test_kid_is_the_formula_of_torchmetrics(samples: tuple[Tensor, Tensor]) -> None:
    """k = (x·y/d + 1)³ and the unbiased MMD²; one subset of everything."""
    x, y = samples[0], samples[1][:7]
    m, xx, yy, xy = 7, *((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    value = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (m * (m - 1)) - 2 * xy.sum() / m**2
    found = kid(x, y, subsets=3, size=7)
    assert found.mean == pytest.approx(float(value)) and found.std == pytest.approx(0, abs=1e-12)
    assert (found.subsets, found.size) == (3, 7)
    few = kid(x, y, subsets=50, size=4, noise=Noise(3))
    assert few.std > 0.1 and few == kid(x, y, subsets=50, size=4, noise=Noise(3))
    assert str(KID(0.5, 0.1, 2, 4)) == "KID = 0.5 ± 0.1 (s.d. of 2 subsets of 4)"


def test_features_come_in_batches_and_flat() -> None:
    seen = []

    def encode(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x[:, :, :2]

    images = Noise(0).normal((7, 1, 3, 3))
    torch.testing.assert_close(features(images, encode, batch=3), images[:, :, :2].flatten(1))
    assert seen == [3, 3, 1]
    with pytest.raises(ValueError, match="one of each"):
        features(images, lambda x: x[:1], batch=3)


def test_the_mean_witness_is_the_biased_mmd(samples: tuple[Tensor, Tensor]) -> None:
    x, y = samples
    kernel = RBF(1.0)
    difference = witness(x, x, y, kernel).mean() - witness(y, x, y, kernel).mean()
    torch.testing.assert_close(difference, mmd2(x, y, kernel))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "y", "estimator", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 3), "biased", "one dimension"),
        (torch.zeros(3, 1, 2), torch.zeros(3, 1, 2), "biased", "flatten"),
        (torch.zeros(1, 2), torch.zeros(3, 2), "unbiased", "at least 2"),
        (torch.zeros(4, 2), torch.zeros(3, 2), "linear", "one size"),
        (torch.zeros(3, 2), torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), "biased", "row 1 of the second"),
        (torch.zeros(3, 2), torch.zeros(3, 2), "quadratic", "biased"),
    ],
)
def test_what_cannot_be_compared_is_refused(x: Tensor, y: Tensor, estimator: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mmd2(x, y, RBF(1.0), estimator)
