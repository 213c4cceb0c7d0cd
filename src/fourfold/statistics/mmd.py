"""The maximum mean discrepancy: how far two samples are from being of one distribution, as a kernel sees it."""

__all__ = ["comparable", "linear_terms", "mmd2", "tile_sum"]

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, positive_int
from .kernels import Kernel


def mmd2(
    x: Float[Tensor, "m d"], y: Float[Tensor, "n d"], kernel: Kernel, estimator: str = "biased", tile: int = 2048
) -> Float[Tensor, ""]:
    r"""The squared maximum mean discrepancy of two samples, a 0-d tensor, differentiable.

    .. math:: \mathrm{MMD}^2 = \mathbb{E}\, k(x, x') + \mathbb{E}\, k(y, y') - 2\, \mathbb{E}\, k(x, y)

    ``"biased"`` takes all pairs, is never negative, and is too large by about (1/m + 1/n) · (k(x, x) − mean k);
    ``"unbiased"`` leaves each point's pair with itself out of the first two means (never out of the third, which has
    no such pairs), and may be negative; ``"linear"`` uses each point once, for m = n: cheap and noisy. Nothing is
    divided a second time.

    Args:
        x: m points of d dimensions.
        y: n points of d dimensions.
        kernel: how alike two points are.
        estimator: ``"biased"``, ``"unbiased"`` or ``"linear"``.
        tile: at most tile × tile kernel values are held at once, unless gradients are wanted.

    Raises:
        ValueError: another estimator, dimensions that differ, or too few points.

    References:
        Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, JMLR 13.

    Example:
        >>> import torch
        >>> from fourfold.statistics import RBF
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
        >>> mmd2(x, y, RBF(1.0)).round(decimals=4)
        tensor(0.4323)
    """
    choice(estimator, ("biased", "unbiased", "linear"), "mmd2: estimator")
    comparable(x, y, "mmd2", 1 if estimator == "biased" else 2)
    if estimator == "linear":
        return linear_terms(x, y, kernel).mean()
    m, n, tile = len(x), len(y), positive_int(tile, "mmd2: tile")
    cross = tile_sum(x, y, kernel, tile)[0] / (m * n)
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    of_x, diagonal_x = tile_sum(x, None, kernel, tile)
    of_y, diagonal_y = tile_sum(y, None, kernel, tile)
    if estimator == "biased":
        return (of_x / m**2 + of_y / n**2 - 2 * cross).to(wide)
    within = (of_x - diagonal_x) / (m * (m - 1)) + (of_y - diagonal_y) / (n * (n - 1))
    return (within - 2 * cross).to(wide)


def linear_terms(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], kernel: Kernel) -> Float[Tensor, "pairs"]:
    r"""The independent terms whose mean is the linear-time MMD², ⌊n/2⌋ of them.

    .. math:: h_i = k(x_{2i-1}, x_{2i}) + k(y_{2i-1}, y_{2i}) - k(x_{2i-1}, y_{2i}) - k(x_{2i}, y_{2i-1})

    Raises:
        ValueError: samples of different sizes, or of fewer than two points.
    """
    comparable(x, y, "linear_terms", 2)
    if len(x) != len(y):
        raise ValueError(
            f"linear_terms: the linear-time MMD needs samples of one size, got {len(x)} and {len(y)}. Cut the longer."
        )
    pairs = len(x) // 2 * 2
    (x1, x2), (y1, y2) = (x[:pairs:2], x[1:pairs:2]), (y[:pairs:2], y[1:pairs:2])
    return kernel.pairs(x1, x2) + kernel.pairs(y1, y2) - kernel.pairs(x1, y2) - kernel.pairs(x2, y1)


def tile_sum(x: Tensor, y: Tensor | None, kernel: Kernel, tile: int) -> tuple[Tensor, Tensor]:
    """The sum of k over all pairs, and of those of a point with itself if ``y`` is ``None``, which stands for ``x``.

    Sums without gradient are taken in float64, tile by tile.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    dtype = wide if torch.is_grad_enabled() and (x.requires_grad or (y is not None and y.requires_grad)) else None
    total = torch.zeros((), dtype=dtype or torch.float64, device=x.device)
    diagonal = torch.zeros_like(total)
    for i, rows in enumerate(x.split(tile)):
        for j, columns in enumerate((x if y is None else y).split(tile)):
            if y is None and j < i:  # the matrix is symmetric
                continue
            values = kernel(rows, columns)
            total = total + values.sum(dtype=total.dtype) * (2 if y is None and j > i else 1)
            if y is None and j == i:
                diagonal = diagonal + values.diagonal().sum(dtype=total.dtype)
    return total, diagonal


def comparable(x: Tensor, y: Tensor, name: str, least: int) -> None:
    """Refuses two samples that cannot be compared, with the reason."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{name}: x and y must be points of one dimension, (m, d) and (n, d), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}. Flatten each datum: x.flatten(1)."
        )
    if min(len(x), len(y)) < least:
        raise ValueError(f"{name}: at least {least} points are needed on each side, got {len(x)} and {len(y)}.")
    for sample, which in ((x, "first"), (y, "second")):
        if torch.compiler.is_compiling():
            continue  # no compiled program asks: in training the loop finds what is not finite
        if not torch.isfinite(sample.detach().sum()) and not torch.isfinite(sample).all():
            row = int((~torch.isfinite(sample).all(1)).nonzero()[0])
            raise ValueError(f"{name}: row {row} of the {which} sample has numbers that are not finite. Leave it out.")
