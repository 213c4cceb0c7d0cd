"""Which of two models fits better? Both may be wrong: the question is which is less so."""

__all__ = ["Comparison", "relative_ksd", "relative_likelihood", "relative_mmd"]

from dataclasses import dataclass
from math import erfc, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from .bandwidth import median_bandwidth
from .gram import TILE, Entries, tiles
from .kernels import RBF, Kernel
from .ksd import Score, stein_tiles
from .mmd import comparable
from .result import Finding


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference of two misfits, first minus second: below 0 the first fits better.

    Attributes:
        name: what is subtracted.
        difference: misfit of the first − misfit of the second.
        standard_error: of the difference.
        n: reference data.
        kernel: the kernel, if there is one.

    Example:
        >>> print(Comparison("−log p, nats", 0.3, 0.1, 100))
        −log p, nats: first − second = 0.3 ± 0.1 (s.e., n = 100): the second fits better (p = 0.0027, two-sided)
    """

    name: str
    difference: float
    standard_error: float
    n: int
    kernel: str = ""

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        if self.standard_error > 0:
            return self.difference / self.standard_error
        return 0.0 if self.difference == 0 else float("inf") * (1 if self.difference > 0 else -1)

    @property
    def p_value(self) -> float:
        """Two-sided: of both fitting equally well."""
        return erfc(abs(self.z) / sqrt(2))

    @property
    def p_second(self) -> float:
        """One-sided, as in Bounliphone et al.: of the first fitting at least as well; small if the second is better."""
        return 0.5 * erfc(self.z / sqrt(2))

    def finding(self, n: int, m: int) -> Finding:
        """As a finding, of the two-sided test."""
        better = "the second" if self.difference > 0 else "the first"
        null, otherwise = "both fit equally well", f"{better} fits better"
        method = f"normal, z = {self.z:.2f}"
        return Finding(self.name, self.difference, self.p_value, n, m, null, otherwise, self.kernel, method)

    def __str__(self) -> str:
        better = "the second fits better" if self.difference > 0 else "the first fits better"
        said = better if self.p_value <= 0.05 else "no evidence that one fits better"
        size = f"{self.difference:.4g} ± {self.standard_error:.2g} (s.e., n = {self.n})"
        return f"{self.name}: first − second = {size}: {said} (p = {self.p_value:.2g}, two-sided)"


@torch.no_grad()
def relative_mmd(
    reference: Float[Tensor, "n d"],
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    kernel: Kernel | None = None,
) -> Comparison:
    """Which of two samples is nearer to the reference, by the unbiased MMD².

    The difference is a U-statistic whose terms within the reference cancel; its standard error is that of its
    projections. Normal for large samples and unless both models are right: if they are, the p-value means little.

    Args:
        reference: n real data.
        first: draws of the first model.
        second: draws of the second model.
        kernel: by default ``RBF`` with σ the median distance within the reference.

    Raises:
        ValueError: dimensions that differ, fewer than two points, numbers that are not finite.

    References:
        Bounliphone, Belilovsky, Blaschko, Antonoglou and Gretton 2015, arXiv:1511.04581.

    Example:
        >>> from fourfold.noise import Noise
        >>> real, near, far = (Noise(i).normal((300, 2)) + shift for i, shift in enumerate([0.0, 0.5, 1.0]))
        >>> found = relative_mmd(real, near, far)
        >>> found.difference < 0, found.p_value < 0.001
        (True, True)
    """
    comparable(reference, first, "relative_mmd", 2)
    comparable(reference, second, "relative_mmd", 2)
    kernel = kernel or RBF(median_bandwidth(reference))
    of_reference, variance, value = torch.zeros(len(reference), dtype=torch.float64, device=reference.device), 0.0, 0.0
    for sample, sign in ((first, 1), (second, -1)):
        within = _means(sample, None, kernel)
        across, back = _means(sample, reference, kernel), _means(reference, sample, kernel)
        value += sign * float(within.mean() - 2 * across.mean())
        variance += float((2 * (within - across)).var()) / len(sample)
        of_reference -= 2 * sign * back
    error = sqrt(variance + float(of_reference.var()) / len(reference))
    return Comparison("MMD² to the reference", value, error, len(reference), str(kernel))


def _means(x: Tensor, y: Tensor | None, kernel: Kernel) -> Tensor:
    """The mean of k(x_i, y) over y, or over the other points of x; float64, ``(n,)``."""
    parts = []
    for start in range(0, len(x), TILE):
        rows = x[start : start + TILE]
        total = torch.zeros(len(rows), dtype=torch.float64, device=x.device)
        for i, columns in enumerate((x if y is None else y).split(TILE)):
            tile = kernel(rows, columns)
            total += (tile.fill_diagonal_(0) if y is None and i * TILE == start else tile).sum(1, dtype=torch.float64)
        parts.append(total / (len(x) - 1 if y is None else len(y)))
    return torch.cat(parts)


@torch.no_grad()
def relative_ksd(x: Float[Tensor, "n d"], first: Score, second: Score, c: float = 1.0) -> Comparison:
    """Which of two densities fits a sample better, by the kernel Stein discrepancy: only scores are needed.

    Args:
        x: n independent data.
        first: score of the first density at x, or a function for it.
        second: score of the second density.
        c: of the kernel.

    Raises:
        ValueError: as ``ksd2``.

    References:
        Kanagawa, Jitkrittum, Mackey, Fukumizu and Gretton 2019, arXiv:1907.00586.
    """
    means = _row_means(stein_tiles(x, first, c, own=False), x) - _row_means(stein_tiles(x, second, c, own=False), x)
    error = 2 * float(means.std()) / sqrt(len(x))
    return Comparison("KSD²", float(means.mean()), error, len(x), f"IMQ (c² + r²)^(−1/2) with c = {c:g}")


def _row_means(entries: Entries, x: Tensor) -> Tensor:
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for rows, columns in tiles(len(x)):
        tile = entries(rows, columns)
        total[rows] += tile.sum(1, dtype=torch.float64)
        if rows != columns:
            total[columns] += tile.sum(0, dtype=torch.float64)
    return total / (len(x) - 1)


def relative_likelihood(first: Float[Tensor, "n"], second: Float[Tensor, "n"]) -> Comparison:
    """Which of two models gives held-out data more probability: is it one Gaussian or two?

    A paired z-test of log p of each datum (the statistic of Vuong 1989). The data must not have trained either model:
    on training data the larger model always wins, and for nested models the difference is not normal there.

    Args:
        first: log p(x_i) of the first model, in nats.
        second: log p(x_i) of the second model, of the same data in the same order.

    Raises:
        ValueError: lengths that differ, fewer than two data, numbers that are not finite.

    References:
        Vuong 1989, Econometrica 57.

    Example:
        >>> from fourfold.noise import Noise
        >>> x = Noise(0).normal((1000,)) + torch.tensor([-2.0, 2.0]).repeat(500)
        >>> normal = torch.distributions.Normal
        >>> one = normal(0.0, 5**0.5).log_prob(x)
        >>> two = torch.logaddexp(normal(-2.0, 1.0).log_prob(x), normal(2.0, 1.0).log_prob(x)) - torch.tensor(2.0).log()
        >>> print(relative_likelihood(one, two))
        −log p, nats: first − second = ... the second fits better (p = ..., two-sided)
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"relative_likelihood: wanted log p of the same data by each model, (n,) with n of at least 2, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    differences = second.double() - first.double()
    if not torch.isfinite(differences).all():
        raise ValueError("relative_likelihood: there are numbers that are not finite.")
    error = float(differences.std()) / sqrt(len(differences))
    return Comparison("−log p, nats", float(differences.mean()), error, len(first))
