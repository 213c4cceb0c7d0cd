"""Goodness of fit: does a sample come from a density of which only the score is known?"""

__all__ = ["Score", "ksd2", "ksd_test", "stein_tiles"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, positive, positive_int
from ..noise import Noise, NoiseSource
from .gram import TILE, Entries, quadratic_forms, signs
from .kernels import squared_distances
from .result import Finding, p_value

#: ∇ log p at the points, ``(n, d)``, or a function that gives it.
Score = Tensor | Callable[[Tensor], Tensor]


@torch.no_grad()
def ksd2(x: Float[Tensor, "n d"], score: Score, estimator: str = "unbiased", c: float = 1.0) -> Float[Tensor, ""]:
    r"""The squared kernel Stein discrepancy of a sample from a density p, with the inverse multiquadric kernel.

    .. math:: \mathrm{KSD}^2 = \mathbb{E}\, u_p(x, x'), \qquad
        u_p = s^\top s'\, k + s^\top \nabla_{x'} k + s'^\top \nabla_x k + \mathrm{tr}\, \nabla_x \nabla_{x'} k,
        \qquad k = (c^2 + \|x - x'\|^2)^{-1/2}, \quad s = \nabla \log p

    p need not be normalised, and nothing is drawn from it. The Gaussian kernel is not offered: in ten dimensions it no
    longer sees whether a sample converges. Modes that are far apart and in wrong proportions are hardly seen by any.

    Args:
        x: n points.
        score: ∇ log p at them, or a function for it; for N(0, I) it is ``-x``.
        estimator: ``"unbiased"`` (may be negative) or ``"biased"``.
        c: of the kernel, in the units of the data.

    Raises:
        ValueError: another estimator, fewer than two points, or a score of another shape or not finite.

    References:
        Liu, Lee and Jordan 2016, arXiv:1602.03253; Chwialkowski et al. 2016, arXiv:1602.02964; Gorham and Mackey 2017,
        arXiv:1703.01717.
    """
    choice(estimator, ("unbiased", "biased"), "ksd2: estimator")
    tiles, n = stein_tiles(x, score, c, own=estimator == "biased"), len(x)
    total = quadratic_forms(tiles, torch.ones(n, 1, dtype=torch.int8, device=x.device))[0]
    return total / (n * (n if estimator == "biased" else n - 1))


@torch.no_grad()
def ksd_test(
    x: Float[Tensor, "n d"],
    score: Score,
    *,
    c: float = 1.0,
    draws: int = 1000,
    noise: NoiseSource | None = None,
) -> Finding:
    """Tests whether independent points come from the density with this score, by wild bootstrap.

    Asymptotic: with few points the level is only about right. Draws of a Markov chain are not independent.

    Args:
        x: n points.
        score: ∇ log p at them, or a function for it.
        c: of the kernel.
        draws: how many sign vectors.
        noise: where they come from; ``Noise(0)`` unless given.

    Raises:
        ValueError: as ``ksd2``.

    Example:
        >>> x = Noise(1).normal((300, 2))
        >>> ksd_test(x, lambda x: -x).rejects(), ksd_test(x + 0.5, lambda x: -x).rejects()
        (False, True)
    """
    count, n = positive_int(draws, "ksd_test: draws"), len(x)
    flips = signs(n, count, noise or Noise(0), x.device)
    found = quadratic_forms(stein_tiles(x, score, c, own=False), flips) / (n * (n - 1))
    return Finding(
        "KSD² (unbiased)",
        float(found[0]),
        p_value(found[0], found[1:]),
        n,
        None,
        "the sample comes from the density",
        "the sample does not come from the density",
        f"IMQ (c² + r²)^(−1/2) with c = {c:g}",
        f"wild bootstrap with {count} sign vectors",
        count,
    )


def stein_tiles(x: Tensor, score: Score, c: float, own: bool) -> Entries:
    """The tiles of u_p(x_i, x_j); without ``own``, the diagonal is zero."""
    s = score if isinstance(score, Tensor) else score(x)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"ksd: x must be at least two points, (n, d), got {tuple(x.shape)}.")
    if s.shape != x.shape:
        raise ValueError(f"ksd: the score must have the shape of x, {tuple(x.shape)}, got {tuple(s.shape)}.")
    if not (torch.isfinite(x).all() and torch.isfinite(s).all()):
        raise ValueError("ksd: x or its score has numbers that are not finite. Leave such points out.")
    dtype = torch.float64 if len(x) <= TILE else torch.promote_types(x.dtype, torch.float32)
    x, s, beta, c = (x - x.mean(0)).to(dtype), s.to(dtype), -0.5, positive(c, "ksd: c")
    own_product = (s * x).sum(1)

    def entries(rows: slice, columns: slice) -> Tensor:
        squared = squared_distances(x[rows], x[columns])
        q = squared + c**2
        kernel = q**beta
        # s_i·(x_i − x_j) − s_j·(x_i − x_j)
        with torch.autocast(x.device.type, enabled=False):
            along = own_product[rows, None] - s[rows] @ x[columns].T - x[rows] @ s[columns].T + own_product[columns]
            scores = s[rows] @ s[columns].T
        trace = -2 * beta * x.shape[1] / q - 4 * beta * (beta - 1) * squared / q**2
        tile = kernel * (scores - 2 * beta * along / q + trace)
        return tile.fill_diagonal_(0) if rows == columns and not own else tile

    return entries
