"""Are variables independent? The Hilbert-Schmidt independence criterion, of two variables or of several."""

__all__ = ["dhsic", "dhsic_test", "hsic", "hsic_test"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, positive_int
from ..noise import Noise, NoiseSource
from .bandwidth import median_bandwidth
from .gram import gram, tiles
from .kernels import RBF, Kernel
from .result import Finding, p_value

_NULL, _OTHERWISE = "the variables are independent", "the variables depend on each other"
_HELD = 10_000

_Kernels = Sequence[Kernel] | None


@torch.no_grad()
def hsic(
    x: Float[Tensor, "n a"], y: Float[Tensor, "n b"], kernels: _Kernels = None, estimator: str = "unbiased"
) -> Float[Tensor, ""]:
    r"""The Hilbert-Schmidt independence criterion of n pairs, in float64.

    .. math:: \mathrm{HSIC}_b = \frac{1}{n^2} \mathrm{tr}(K H L H), \qquad
        \mathrm{HSIC}_u = \frac{1}{n(n-3)} \Big[\mathrm{tr}\, \tilde K \tilde L
        + \frac{1^\top \tilde K 1 \; 1^\top \tilde L 1}{(n-1)(n-2)} - \frac{2}{n-2} 1^\top \tilde K \tilde L 1\Big]

    H centres, and a tilde means a diagonal of zeros. Older texts divide the biased one by (n − 1)².

    Args:
        x: the first variable.
        y: the second variable, row by row with x.
        kernels: one for each variable; by default ``RBF`` with σ the median distance of that variable itself.
        estimator: ``"unbiased"`` (may be negative) or ``"biased"``.

    Raises:
        ValueError: another estimator, lengths that differ, fewer than six rows, numbers that are not finite.

    References:
        Gretton et al. 2005 (biased); Song, Smola, Gretton, Bedo and Borgwardt 2012, JMLR 13 (unbiased).
    """
    choice(estimator, ("unbiased", "biased"), "hsic: estimator")
    chosen, n, own = _ready([x, y], kernels, "hsic"), len(x), estimator == "biased"
    sums, rows = _sums([gram(v, k, own=own) for v, k in zip((x, y), chosen, strict=True)], n, x.device)
    every, across = rows[0].sum() * rows[1].sum(), (rows[0] * rows[1]).sum()
    if own:
        return (sums - 2 * across / n + every / n**2) / n**2
    return (sums + every / ((n - 1) * (n - 2)) - 2 * across / (n - 2)) / (n * (n - 3))


def hsic_test(
    x: Float[Tensor, "n a"],
    y: Float[Tensor, "n b"],
    kernels: _Kernels = None,
    *,
    method: str = "permutation",
    permutations: int = 500,
    noise: NoiseSource | None = None,
) -> Finding:
    """Tests whether two variables are independent, with the biased HSIC.

    Args:
        x: the first variable.
        y: the second variable, row by row with x.
        kernels: as in ``hsic``.
        method: ``"permutation"`` of the rows of y (exact, for up to 10,000 rows), or ``"gamma"``: two moments of the
            null, fast and for any number of rows, but an approximation.
        permutations: how many.
        noise: where they come from; ``Noise(0)`` unless given.

    Raises:
        ValueError: another method, too many rows to permute, or as ``hsic``.

    References:
        Gretton et al. 2008, "A kernel statistical test of independence".

    Example:
        >>> x = Noise(0).normal((200, 1))
        >>> hsic_test(x, x**2).rejects(), hsic_test(x, Noise(1).normal((200, 1))).rejects()
        (True, False)
    """
    choice(method, ("permutation", "gamma"), "hsic_test: method")
    if method == "permutation":
        return dhsic_test([x, y], kernels, permutations=permutations, noise=noise)
    chosen = _ready([x, y], kernels, "hsic_test")
    value, p = _gamma(x, y, chosen)
    return Finding("HSIC (biased)", value, p, len(x), None, _NULL, _OTHERWISE, _named(chosen), "gamma approximation")


@torch.no_grad()
def dhsic(variables: Sequence[Float[Tensor, "n _"]], kernels: _Kernels = None) -> Float[Tensor, ""]:
    r"""The joint criterion of d variables: zero only if all are independent at once, not just in pairs. Biased.

    .. math:: \frac1{n^2}\sum_{ij}\prod_v K^v_{ij} + \prod_v \frac1{n^2}\sum_{ij} K^v_{ij}
        - \frac2n \sum_i \prod_v \frac1n \sum_j K^v_{ij}

    Args:
        variables: two or more, row by row with each other; for two it is the biased ``hsic``.
        kernels: one for each variable, as in ``hsic``.

    References:
        Pfister, Bühlmann, Schölkopf and Peters 2018, arXiv:1603.00285.
    """
    chosen, n = _ready(variables, kernels, "dhsic"), len(variables[0])
    entries = [gram(v, k, own=True) for v, k in zip(variables, chosen, strict=True)]
    return _joint(*_sums(entries, n, variables[0].device), n)


@torch.no_grad()
def dhsic_test(
    variables: Sequence[Float[Tensor, "n _"]],
    kernels: _Kernels = None,
    *,
    permutations: int = 500,
    noise: NoiseSource | None = None,
) -> Finding:
    """Tests whether several variables are jointly independent: are the latents a factorial code?

    All but the first are permuted, each in its own way. One n × n matrix a variable is held.

    Args:
        variables: two or more, row by row with each other: ``z.split(1, 1)`` for the latents of codes ``(n, d)``.
        kernels: one for each variable, as in ``hsic``.
        permutations: how many.
        noise: where they come from; ``Noise(0)`` unless given.

    Raises:
        ValueError: fewer than two variables, lengths that differ, fewer than six rows or more than 10,000, or numbers
            that are not finite.
    """
    chosen, n = _ready(variables, kernels, "dhsic_test"), len(variables[0])
    count, noise = positive_int(permutations, "dhsic_test: permutations"), noise or Noise(0)
    if n > _HELD:
        way = "hsic_test with method='gamma' takes any number" if len(variables) == 2 else "draw fewer"
        raise ValueError(f"dhsic_test: at most {_HELD} rows can be permuted, got {n}: {way}.")
    held = [k(v, v) for v, k in zip(variables, chosen, strict=True)]
    means = [matrix.mean(1, dtype=torch.float64) for matrix in held]
    found = []
    for i in range(1 + count):
        product, across = held[0].clone(), means[0]
        for matrix, mean in zip(held[1:], means[1:], strict=True):
            order = noise.uniform((n,), dtype=torch.float32).to(product.device).argsort() if i else slice(None)
            product *= matrix[order][:, order]
            across = across * mean[order]
        found.append(product.mean(dtype=torch.float64) - 2 * across.mean())
    values = torch.stack(found) + torch.stack([mean.mean() for mean in means]).prod()
    name = "HSIC (biased)" if len(held) == 2 else f"dHSIC of {len(held)} variables"
    method, p = f"{count} permutations", p_value(values[0], values[1:])
    return Finding(name, float(values[0]), p, n, None, _NULL, _OTHERWISE, _named(chosen), method, count)


def _joint(sums: Tensor, rows: list[Tensor], n: int) -> Tensor:
    across = torch.stack([row / n for row in rows]).prod(0).mean()
    return sums / n**2 + torch.stack([row.sum() / n**2 for row in rows]).prod() - 2 * across


def _sums(entries: list, n: int, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """Σ_ij Π_v K_ij, and the row sums of each K, tile by tile."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    rows_of = [torch.zeros(n, dtype=torch.float64, device=device) for _ in entries]
    for rows, columns in tiles(n):
        product = None
        for one, sums in zip(entries, rows_of, strict=True):
            tile = one(rows, columns)
            product = tile if product is None else product * tile
            sums[rows] += tile.sum(1, dtype=torch.float64)
            if rows != columns:
                sums[columns] += tile.sum(0, dtype=torch.float64)
        if product is not None:
            total = total + product.sum(dtype=torch.float64) * (1 if rows == columns else 2)
    return total, rows_of


@torch.no_grad()
def _gamma(x: Tensor, y: Tensor, kernels: Sequence[Kernel]) -> tuple[float, float]:
    """The biased HSIC and its p-value by a gamma distribution with the mean and the variance of the null."""
    n, entries = len(x), [gram(v, k, own=True) for v, k in zip((x, y), kernels, strict=True)]
    sums, rows = _sums(entries, n, x.device)
    value = _joint(sums, rows, n)
    means, wholes = [row / n for row in rows], [row.sum() / n**2 for row in rows]
    squares, diagonals = torch.zeros((), dtype=torch.float64, device=x.device), [0.0, 0.0]
    for at, others in tiles(n):
        centred = []
        for i, one in enumerate(entries):
            tile = one(at, others)
            diagonals[i] += float(tile.diagonal().sum()) if at == others else 0.0
            centred.append(tile - means[i][at, None] - means[i][others] + wholes[i])
        both = (centred[0] * centred[1]).square()
        squares = squares + (both.sum() - both.diagonal().sum() if at == others else 2 * both.sum())
    apart = [(row.sum() - own) / (n * (n - 1)) for row, own in zip(rows, diagonals, strict=True)]
    mean = (diagonals[0] / n - apart[0]) * (diagonals[1] / n - apart[1]) / n
    share = 2 * (n - 4) * (n - 5) / (n * (n - 1) * (n - 2) * (n - 3))
    variance = share * squares / (n * (n - 1))
    p = torch.special.gammaincc(mean**2 / variance, value * mean / variance)
    return float(value), float(p)


def _ready(variables: Sequence[Tensor], kernels: _Kernels, name: str) -> list[Kernel]:
    """The kernels, one a variable; refuses what cannot be compared row by row."""
    shapes = ", ".join(str(tuple(v.shape)) for v in variables)
    if len(variables) < 2 or any(v.ndim != 2 or len(v) != len(variables[0]) for v in variables):
        raise ValueError(f"{name}: wanted two or more variables of one length, each (n, d), got {shapes or 'none'}.")
    if len(variables[0]) < 6:
        raise ValueError(f"{name}: at least 6 rows are needed, got {len(variables[0])}.")
    if not all(torch.isfinite(v).all() for v in variables):
        raise ValueError(f"{name}: there are numbers that are not finite. Leave such rows out.")
    if kernels is None:
        return [RBF(median_bandwidth(v)) for v in variables]
    if len(kernels) != len(variables):
        raise ValueError(f"{name}: {len(kernels)} kernels for {len(variables)} variables. Give one for each.")
    return list(kernels)


def _named(kernels: Sequence[Kernel]) -> str:
    return ", ".join(map(str, kernels))
