"""Kernels against their formulas, written out."""

from math import exp

import pytest
import torch
from torch import Tensor

from fourfold.noise import Noise
from fourfold.statistics import (
    IMQ,
    RBF,
    Kernel,
    Laplace,
    Polynomial,
    Sum,
    median_bandwidth,
    median_distance,
    multi_scale,
)

KERNELS = [RBF(1.3), Laplace(0.7), IMQ(4.0), Polynomial(), Polynomial(2, 0.5, 0.0), Sum((RBF(1.0), Laplace(2.0)))]
EACH = pytest.mark.parametrize("kernel", [*KERNELS, multi_scale(IMQ, 2.0)], ids=str)

pytestmark = pytest.mark.usefixtures("double")


def points(n: int, d: int, key: int = 0) -> Tensor:
    return Noise(key).normal((n, d), dtype=torch.float64)


def by_hand(kernel: Kernel, a: Tensor, b: Tensor) -> float:
    squared, blocks, product = float((a - b).square().sum()), float((a - b).abs().sum()), float(a @ b)
    if isinstance(kernel, RBF):
        return exp(-squared / (2 * float(kernel.bandwidth) ** 2))
    if isinstance(kernel, Laplace):
        return exp(-blocks / float(kernel.bandwidth))
    if isinstance(kernel, IMQ):
        return float(kernel.scale) / (float(kernel.scale) + squared)
    if isinstance(kernel, Polynomial):
        return (product * (kernel.gamma or 1 / len(a)) + kernel.coef) ** kernel.degree
    assert isinstance(kernel, Sum)
    return sum(by_hand(one, a, b) for one in kernel.kernels)


@EACH
def test_a_kernel_is_its_formula(kernel: Kernel) -> None:
    x, y = points(4, 3), points(5, 3, 1)
    wanted = torch.tensor([[by_hand(kernel, a, b) for b in y] for a in x])
    torch.testing.assert_close(kernel(x, y), wanted)
    torch.testing.assert_close(kernel.pairs(x, y[:4]), wanted.diagonal())


@EACH
def test_a_kernel_is_positive_and_symmetric_and_has_gradients(kernel: Kernel) -> None:
    x = points(20, 3).requires_grad_()
    gram = kernel(x, x)
    torch.testing.assert_close(gram, gram.T)
    assert torch.linalg.eigvalsh(gram.detach()).min() > -1e-9
    assert torch.isfinite(torch.autograd.grad(gram.sum(), x)[0]).all()
    assert torch.autograd.gradcheck(kernel, (points(3, 2).requires_grad_(), points(2, 2, 5).requires_grad_()))


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    x = points(30, 4)
    near = RBF(1.0)(x.float(), x.float())
    far = RBF(1.0)((x + 1024).float(), (x + 1024).float())
    torch.testing.assert_close(far, near, rtol=0, atol=2e-3)  # float32 holds 1024 + x to 6e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_raised(dtype: torch.dtype) -> None:
    assert RBF(1.0)(points(3, 2).to(dtype), points(3, 2).to(dtype)).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RBF(0.0), "RBF: bandwidth"),
        (lambda: Laplace(-1.0), "Laplace: bandwidth"),
        (lambda: IMQ(float("nan")), "IMQ: scale"),
        (lambda: Polynomial(0), "Polynomial: degree"),
        (lambda: Polynomial(3, 0.0), "Polynomial: gamma"),
        (lambda: Sum(()), "at least one"),
        (lambda: median_bandwidth(torch.zeros(5, 2)), "coincide"),
        (lambda: median_bandwidth(torch.eye(3), "median"), "sigma=median"),
        (lambda: median_distance(torch.zeros(1, 2)), "at least 2"),
    ],
)
def test_what_is_no_kernel_is_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_the_two_median_heuristics_are_a_factor_of_two_apart_in_the_exponent() -> None:
    x = points(101, 3)
    distances = torch.pdist(x)
    assert median_distance(x) == pytest.approx(float(distances.quantile(0.5)))
    sigma, smaller = median_bandwidth(x), median_bandwidth(x, "2sigma^2=median^2")
    assert 1 / (2 * smaller**2) == pytest.approx(2 / (2 * sigma**2))
    assert 2 * smaller**2 == pytest.approx(median_distance(x) ** 2)
    assert median_distance(x, order=1) == pytest.approx(float(torch.pdist(x, p=1).quantile(0.5)))


def test_the_median_of_many_points_is_of_drawn_ones() -> None:
    x = points(4000, 2)
    found = [median_distance(x, Noise(seed)) for seed in range(3)]
    assert len(set(found)) == 3 and found == pytest.approx([float(torch.pdist(x).median())] * 3, rel=0.05)


def test_kernels_say_what_they_are() -> None:
    assert str(Sum((RBF(1 / 3), Polynomial()))) == "Sum(RBF(0.3333), Polynomial(3, None, 1))"


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_kernels_are_in_single_precision_under_autocast(kernel):
    x, y = (points(n, 3).float() + 1 for n in (6, 4))
    with torch.autocast("cpu", torch.bfloat16):
        under = kernel(x, y), kernel.pairs(x[:4], y), kernel(x.bfloat16(), y.bfloat16())
    assert all(value.dtype == torch.float32 for value in under)
    torch.testing.assert_close(under[0], kernel(x, y), rtol=0, atol=0)
    torch.testing.assert_close(under[1], kernel.pairs(x[:4], y), rtol=0, atol=0)
