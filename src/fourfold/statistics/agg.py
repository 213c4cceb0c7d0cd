"""The two-sample test over many bandwidths at once: no scale has to be guessed, and none of the data is spent on it."""

__all__ = ["bandwidths", "mmd_agg_test"]

from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import positive_int
from ..noise import Noise, NoiseSource
from .bandwidth import drawn, l1
from .gram import TILE, labellings, quadratic_forms, signs
from .kernels import RBF, Kernel, Laplace, squared_distances
from .mmd import comparable
from .result import Finding, p_value
from .twosample import split_mmd2

_MOST = 500


@torch.no_grad()
def mmd_agg_test(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernels: Sequence[Kernel] | None = None,
    *,
    simulations: int = 2000,
    noise: NoiseSource | None = None,
) -> Finding:
    """MMDAgg: the unbiased MMD² of many kernels, each ranked in its own null, the best rank in its null.

    The null is simulated with signs where both samples are of one size (each pair x_i, y_i is swapped or not), with
    permutations otherwise: ``simulations`` times to rank each kernel's statistic, and as often again to rank the
    smallest of these ranks. That is the test of the reference at every level at once, so that it has a p-value; where
    several simulations rank first alike, the largest excess in standard deviations decides.

    Args:
        x: n points.
        y: m points.
        kernels: by default ten ``Laplace`` and ten ``RBF`` from half the smallest to twice the largest distance.
        simulations: of each of the two kinds.
        noise: where they come from; ``Noise(0)`` unless given.

    Raises:
        ValueError: no kernels, dimensions that differ, fewer than two points a side, numbers that are not finite.

    References:
        Schrab, Kim, Albert, Laurent, Guedj and Gretton 2023, JMLR 24, arXiv:2110.15073.
    """
    comparable(x, y, "mmd_agg_test", 2)
    noise, count = noise or Noise(0), positive_int(simulations, "mmd_agg_test: simulations")
    chosen = [*(kernels if kernels is not None else _default(torch.cat((x, y)), noise))]
    if not chosen:
        raise ValueError("mmd_agg_test: kernels is empty. Give at least one, or None for the default ones.")
    if len(x) == len(y):
        flips, way = signs(len(x), 2 * count, noise, x.device), "signs of the pairs"
        found = torch.stack([_swapped(x, y, kernel, flips) for kernel in chosen])
    else:
        labels, way = labellings(len(x), len(y), 2 * count, noise, x.device), "permutations"
        pooled = torch.cat((x, y))
        found = torch.stack([split_mmd2(pooled, kernel, labels, own=False) for kernel in chosen])
    first, rest = found[:, 1 : 1 + count], torch.cat((found[:, :1], found[:, 1 + count :]), 1)
    ranks = _ranks(rest, first)
    smallest = ranks.min(0).values
    excess = ((rest - first.mean(1, keepdim=True)) / first.std(1, keepdim=True).clamp_min(1e-300)).max(0).values
    key = -(smallest + 0.5 / (1 + excess.clamp_min(0)))
    best = chosen[int(ranks[:, 0].argmin())]
    return Finding(
        f"smallest p of {len(chosen)} kernels",
        float(smallest[0] / (1 + count)),
        p_value(key[0], key[1:]),
        len(x),
        len(y),
        "both samples come from one distribution",
        "the samples come from different distributions",
        f"best of {len(chosen)}: {best}",
        f"MMDAgg with {count} + {count} {way}",
        2 * count,
    )


def _ranks(values: Tensor, simulated: Tensor) -> Tensor:
    """1 + the number of simulated values that are at least as large, row by row."""
    slack = 1e-9 * simulated.abs().max(1, keepdim=True).values
    ordered = simulated.sort(1).values
    return 1 + simulated.shape[1] - torch.searchsorted(ordered, (values - slack).contiguous())


def _swapped(x: Tensor, y: Tensor, kernel: Kernel, flips: Tensor) -> Tensor:
    """The unbiased MMD², without k(x_i, y_i), when the pairs of sign −1 are swapped."""

    def entries(rows: slice, columns: slice) -> Tensor:
        tile = kernel(x[rows], x[columns]) + kernel(y[rows], y[columns])
        tile = tile - kernel(x[rows], y[columns]) - kernel(y[rows], x[columns])
        tile = tile.double() if len(x) <= TILE else tile
        return tile.fill_diagonal_(0) if rows == columns else tile

    return quadratic_forms(entries, flips) / (len(x) * (len(x) - 1))


def bandwidths(distances: Float[Tensor, "pairs"], count: int = 10) -> list[float]:
    """From half the smallest to twice the largest distance, in equal ratios.

    A smallest distance below 0.1 is replaced by the 5 % quantile, at least 0.1; the largest is at least 0.3: rules of
    the reference, which think of data on a scale of about 1.
    """
    ordered = distances.sort().values
    low, high = float(ordered[0]), max(float(ordered[-1]), 0.3)
    if low < 0.1:
        low = max(float(ordered[int(0.05 * len(ordered))]), 0.1)
    return torch.logspace(0, 1, count, base=4 * high / low, dtype=torch.float64).mul(low / 2).tolist()


def _default(pooled: Tensor, noise: NoiseSource) -> list[Kernel]:
    """Ten of each kind. Distances are within the pooled sample, which no swap changes; the reference's are across."""
    few = drawn(pooled, 2 * _MOST, noise)
    above = torch.triu_indices(len(few), len(few), 1, device=few.device)
    straight = squared_distances(few, few)[above[0], above[1]].sqrt()
    blocks = l1(few)[above[0], above[1]]
    # The reference's Gaussian is exp(−d²/λ²), without our 2.
    return [*map(Laplace, bandwidths(blocks)), *(RBF(scale / sqrt(2)) for scale in bandwidths(straight))]
