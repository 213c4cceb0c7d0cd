"""Two samples as an encoder sees them; the kernel inception distance is one case."""

__all__ = ["KID", "features", "kid"]

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
