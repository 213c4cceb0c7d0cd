"""Two samples as an encoder sees them; the Fréchet and the kernel inception distance are two cases."""

__all__ = ["KID", "features", "frechet", "frechet_limit", "kid"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import positive_int
from ..noise import Noise, NoiseSource
from .kernels import Kernel, Polynomial
from .mmd import comparable, mmd2


@torch.no_grad()
def features(x: Tensor, encode: Callable[[Tensor], Tensor], batch: int = 500) -> Float[Tensor, "n f"]:
    """The data as an encoder sees them, flat: then any test of points is one of these features.

    A test of features tells apart only what the features keep; that they agree does not say that the data do.

    Args:
        x: n data of any shape.
        encode: any function of a batch: ``lambda x: model.encode(x)[0]``, a network in eval mode, …
        batch: so many data at once.

    Raises:
        ValueError: no data, or one row for each datum does not come back.

    Example:
        >>> features(torch.ones(3, 1, 2, 2), lambda x: x.mean((2, 3))).shape
        torch.Size([3, 1])
    """
    if not len(x):
        raise ValueError("features: there are no data. Give at least one.")
    parts = []
    for rows in x.split(positive_int(batch, "features: batch")):
        made = encode(rows)
        if len(made) != len(rows):
            raise ValueError(f"features: encode made {len(made)} rows of {len(rows)} data. It must make one of each.")
        parts.append(made.flatten(1))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class KID:
    """The mean of the unbiased MMD² over random subsets, and their standard deviation.

    The subsets overlap: the deviation is not a standard error, and there is no p-value in it. See ``mmd_test``.
    """

    mean: float
    std: float
    subsets: int
    size: int

    def __str__(self) -> str:
        return f"KID = {self.mean:.4g} ± {self.std:.2g} (s.d. of {self.subsets} subsets of {self.size})"


@torch.no_grad()
def kid(
    x: Float[Tensor, "n f"],
    y: Float[Tensor, "m f"],
    *,
    subsets: int = 100,
    size: int = 1000,
    kernel: Kernel | None = None,
    noise: NoiseSource | None = None,
) -> KID:
    """The kernel inception distance, of the features of any encoder (of Inception v3 it is the published one).

    Args:
        x: features of n data.
        y: features of m data.
        subsets: how many subsets of each sample.
        size: how many data in each subset, drawn without replacement.
        kernel: by default polynomial of degree 3, γ = 1/f, c = 1.
        noise: what the subsets are drawn with; ``Noise(0)`` unless given.

    Raises:
        ValueError: fewer data than a subset has, dimensions that differ, numbers that are not finite.

    References:
        Bińkowski, Sutherland, Arbel and Gretton 2018, arXiv:1801.01401.
    """
    comparable(x, y, "kid", positive_int(size, "kid: size"))
    noise, kernel = noise or Noise(0), kernel or Polynomial()

    def subset(of: Tensor) -> Tensor:
        return of[noise.uniform((len(of),), dtype=torch.float32).to(of.device).argsort()[:size]]

    count = positive_int(subsets, "kid: subsets")
    values = torch.stack([mmd2(subset(x), subset(y), kernel, "unbiased").double() for _ in range(count)])
    return KID(float(values.mean()), float(values.std(correction=0)), count, size)


@torch.no_grad()
def frechet(x: Float[Tensor, "n f"], y: Float[Tensor, "m f"]) -> float:
    r"""The squared Fréchet distance of the Gaussians with the samples' means and covariances.

    .. math:: \|\mu_x - \mu_y\|^2 + \mathrm{tr}\big(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2}\big)

    Of the features of Inception v3 it is the published FID; of any others it is not. It sees two moments alone, and is
    too large by about c/n for n data a side: never compare values of different n. See ``frechet_limit``.

    Args:
        x: features of n data.
        y: features of m data.

    Raises:
        ValueError: fewer than two points a side, dimensions that differ, numbers that are not finite.

    References:
        Dowson and Landau 1982; Heusel et al. 2017, arXiv:1706.08500.

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> round(frechet(x, 3 * x + 2), 6)  # (0 − 2)² + (1 − 3)²
        8.0
    """
    comparable(x, y, "frechet", 2)
    x, y = x.double(), y.double()
    # tr (Σx Σy)^½ is the sum of the singular values of A Bᵀ, where Σx = AᵀA and Σy = BᵀB: no root of a product that
    # is not symmetric, and no imaginary part to be cut off.
    a, b = ((one - one.mean(0)) / (len(one) - 1) ** 0.5 for one in (x, y))
    a, b = (torch.linalg.qr(one, mode="r").R if len(one) > one.shape[1] else one for one in (a, b))
    trace = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.mT).sum()
    return max(float((x.mean(0) - y.mean(0)).square().sum() + trace), 0.0)


@torch.no_grad()
def frechet_limit(
    x: Float[Tensor, "n f"], y: Float[Tensor, "n f"], sizes: int = 10, noise: NoiseSource | None = None
) -> float:
    """The Fréchet distance for n → ∞: a line in 1/n through its values on random subsets of n/4 to n data, at 1/n = 0.

    May be negative where the samples are of one distribution.

    Args:
        x: features of n data.
        y: features of as many.
        sizes: how many sizes of subsets.
        noise: what the subsets are drawn with; ``Noise(0)`` unless given.

    Raises:
        ValueError: samples of different sizes or of fewer than 16 points, and as ``frechet``.

    References:
        Chong and Forsyth 2020, "Effectively unbiased FID", arXiv:1911.07023.
    """
    if len(x) != len(y) or len(x) < 16:
        raise ValueError(f"frechet_limit: wanted two samples of one size, of at least 16, got {len(x)} and {len(y)}.")
    noise = noise or Noise(0)
    counts = torch.linspace(len(x) / 4, len(x), max(positive_int(sizes, "frechet_limit: sizes"), 2)).round().long()

    def subset(of: Tensor, size: int) -> Tensor:
        return of[noise.uniform((len(of),), dtype=torch.float32).to(of.device).argsort()[:size]]

    values = torch.tensor([frechet(subset(x, n), subset(y, n)) for n in counts.tolist()], dtype=torch.float64)
    inverse = 1 / counts.double()
    slope = ((inverse - inverse.mean()) * (values - values.mean())).sum() / (inverse - inverse.mean()).square().sum()
    return float(values.mean() - slope * inverse.mean())
