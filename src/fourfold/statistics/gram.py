"""Sums over a Gram matrix that is never held: it is made tile by tile, and each tile serves all permutations."""

__all__ = ["TILE", "Entries", "gram", "labellings", "quadratic_forms", "signs", "split_sums", "tiles"]

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..noise import NoiseSource
from .kernels import Kernel

#: Rows and columns of a tile: 16 MB in float32.
TILE = 2048

#: ``entries(rows, columns)``: a tile of a symmetric matrix.
Entries = Callable[[slice, slice], Tensor]


def tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """The tiles on and above the diagonal of an n × n matrix."""
    starts = range(0, n, TILE)
    for i in starts:
        for j in starts:
            if j >= i:
                yield slice(i, min(i + TILE, n)), slice(j, min(j + TILE, n))


def gram(x: Tensor, kernel: Kernel, *, own: bool) -> Entries:
    """The tiles of k(x_i, x_j); without ``own``, the diagonal is zero. One tile alone comes in float64."""

    def entries(rows: slice, columns: slice) -> Tensor:
        values = kernel(x[rows], x[columns])
        values = values.double() if len(x) <= TILE else values
        return values.fill_diagonal_(0) if rows == columns and not own else values

    return entries


def quadratic_forms(entries: Entries, vectors: Tensor) -> Tensor:
    """vᵀ G v for each column v of ``vectors``, ``(n, B)``; in float64."""
    total = torch.zeros(vectors.shape[1], dtype=torch.float64, device=vectors.device)
    for rows, columns in tiles(len(vectors)):
        tile = entries(rows, columns)
        v, w = vectors[rows].to(tile.dtype), vectors[columns].to(tile.dtype)
        with torch.autocast(tile.device.type, enabled=False):
            total += (v * (tile @ w)).sum(0).double() * (1 if rows == columns else 2)
    return total


def split_sums(entries: Entries, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the points that are labelled 1, of those labelled 0, and between them: the sums of G, each ``(B,)``.

    Args:
        entries: the matrix.
        labels: booleans ``(n, B)``, one way to split the points a column.
    """
    shape = {"dtype": torch.float64, "device": labels.device}
    ones, mixed, every = torch.zeros(labels.shape[1], **shape), torch.zeros(labels.shape[1], **shape), 0.0
    for rows, columns in tiles(len(labels)):
        tile = entries(rows, columns)
        a, b = labels[rows].to(tile.dtype), labels[columns].to(tile.dtype)
        twice = 1 if rows == columns else 2
        with torch.autocast(tile.device.type, enabled=False):
            ones += (a * (tile @ b)).sum(0).double() * twice
            mixed += (tile.sum(0) @ b).double()
            if twice == 2:
                mixed += (tile.sum(1) @ a).double()
        every += float(tile.sum(dtype=torch.float64)) * twice
    return ones, every - 2 * mixed + ones, mixed - ones


def labellings(first: int, second: int, count: int, noise: NoiseSource, device: torch.device) -> Tensor:
    """Booleans ``(first + second, 1 + count)``: the given split, then random ones with as many points on each side."""
    n = first + second
    labels = torch.zeros(n, 1 + count, dtype=torch.bool, device=device)
    labels[:first, 0] = True
    at_once = max(1, TILE**2 // n)
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        chosen = noise.uniform((size, n), dtype=torch.float32).to(device).argsort(1)[:, :first].T
        labels[:, 1 + start : 1 + start + size].scatter_(0, chosen, True)
    return labels


def signs(n: int, count: int, noise: NoiseSource, device: torch.device) -> Tensor:
    """±1, as ``(n, 1 + count)`` bytes: the first column is 1 throughout, the others are fair coins."""
    drawn = torch.ones(n, 1 + count, dtype=torch.int8, device=device)
    at_once = max(1, TILE**2 // n)
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        coins = noise.uniform((size, n), dtype=torch.float32).to(device).T < 0.5
        drawn[:, 1 + start : 1 + start + size].masked_fill_(coins, -1)
    return drawn
