"""The median heuristic, whose convention has a name."""

__all__ = ["CONVENTIONS", "drawn", "l1", "median_bandwidth", "median_distance"]

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice
from ..noise import Noise, NoiseSource
from .kernels import squared_distances

#: What the median distance is made of, as a Gaussian kernel exp(−d²/2σ²) has it.
CONVENTIONS = {"sigma=median": 1.0, "2sigma^2=median^2": sqrt(0.5)}

_MOST = 1000


def median_distance(x: Float[Tensor, "n d"], noise: NoiseSource | None = None, order: int = 2) -> float:
    """The median distance between two different points of x; of more than 1,000 points, of 1,000 drawn ones.

    Args:
        x: the points; for a two-sample test the pooled ones, which no permutation changes.
        noise: what the 1,000 are drawn with.
        order: 2 for Euclidean distances (``RBF``, ``IMQ``), 1 for sums of absolute differences (``Laplace``).

    Raises:
        ValueError: fewer than two points, or half of the distances are zero.

    Example:
        >>> median_distance(torch.tensor([[0.0], [1.0], [5.0]]))
        4.0
    """
    if len(x) < 2:
        raise ValueError(f"median_distance: x must have at least 2 points, got {len(x)}.")
    few = drawn(x, _MOST, noise)
    above = torch.triu_indices(len(few), len(few), 1, device=x.device)
    every = squared_distances(few, few).sqrt() if choice(order, (1, 2), "median_distance: order") == 2 else l1(few)
    found = every[above[0], above[1]].sort().values
    median = float(found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2
    if median <= 0:
        raise ValueError(
            "median_distance: half of the points coincide, so the median distance is 0. Give a bandwidth by hand."
        )
    return median


def median_bandwidth(
    x: Float[Tensor, "n d"], convention: str = "sigma=median", noise: NoiseSource | None = None
) -> float:
    """σ of ``RBF`` from the median distance: there are two conventions, a factor of 2 apart in the exponent.

    ``"sigma=median"``: k = exp(−d² / 2 median²) (Gretton et al. 2012; hyppo).
    ``"2sigma^2=median^2"``: k = exp(−d² / median²), σ smaller by √2 (alibi-detect).

    Args:
        x: the points.
        convention: one of the two.
        noise: what 1,000 of more points are drawn with.

    Raises:
        ValueError: another convention, or as ``median_distance``.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [5.0]])
        >>> median_bandwidth(x), round(median_bandwidth(x, "2sigma^2=median^2"), 4)
        (4.0, 2.8284)
    """
    choice(convention, CONVENTIONS, "median_bandwidth: convention")
    return median_distance(x, noise) * CONVENTIONS[convention]


def l1(x: Tensor) -> Tensor:
    """Sums of absolute differences, ``(n, n)``."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.cdist(wide, wide, p=1.0)


def drawn(x: Tensor, most: int, noise: NoiseSource | None) -> Tensor:
    """All points, or so many of them, drawn."""
    if len(x) <= most:
        return x
    order = (noise or Noise(0)).uniform((len(x),), dtype=torch.float32).to(x.device).argsort()
    return x[order[:most]]
