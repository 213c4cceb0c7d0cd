"""Kernels: how alike two points are. Each is a small value that is called with two sets of points."""

__all__ = ["IMQ", "Kernel", "Laplace", "Polynomial", "RBF", "Radial", "Sum", "multi_scale", "squared_distances"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import positive, positive_int


class Kernel(ABC):
    """A positive definite function k(x, y) of two points, differentiable in both."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """k(x_i, y_j) for all pairs."""

    @abstractmethod
    def pairs(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """k(x_i, y_i), row by row."""

    def __str__(self) -> str:
        return _short(self)


class Radial(Kernel, ABC):
    """A kernel of the squared Euclidean distance alone, so that several of them share one matrix of distances."""

    @abstractmethod
    def profile(self, squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The kernel at these squared distances."""

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return self.profile(squared_distances(x, y))

    def pairs(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        x, y = _precise(x, y)
        return self.profile((x - y).square().sum(1))


@dataclass(frozen=True, slots=True)
class RBF(Radial):
    r"""The Gaussian kernel.

    .. math:: k(x, y) = \exp\!\big(-\|x-y\|^2 / 2\sigma^2\big)

    Other code drops the 2, or divides by the dimension: compare bandwidths only after comparing formulas.

    Args:
        bandwidth: σ, in the units of the data; a 0-d tensor is taken as it is.

    Raises:
        ValueError: a bandwidth that is not above 0.

    Example:
        >>> import torch
        >>> RBF(1.0)(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        tensor([[1.0000, 0.3679]])
    """

    bandwidth: float | Tensor

    def __post_init__(self) -> None:
        _checked(self.bandwidth, "RBF: bandwidth")

    def profile(self, squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.exp(squared * (-0.5 / self.bandwidth**2))


@dataclass(frozen=True, slots=True)
class Laplace(Kernel):
    r"""The Laplace kernel, of the sum of absolute differences.

    .. math:: k(x, y) = \exp\!\big(-\|x-y\|_1 / \ell\big)

    Args:
        bandwidth: ℓ, in the units of the data; a 0-d tensor is taken as it is.

    Raises:
        ValueError: a bandwidth that is not above 0.
    """

    bandwidth: float | Tensor

    def __post_init__(self) -> None:
        _checked(self.bandwidth, "Laplace: bandwidth")

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        return torch.exp(-torch.cdist(*_precise(x, y), p=1.0) / self.bandwidth)

    def pairs(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        x, y = _precise(x, y)
        return torch.exp(-(x - y).abs().sum(1) / self.bandwidth)


@dataclass(frozen=True, slots=True)
class IMQ(Radial):
    r"""The inverse multiquadric of the Wasserstein autoencoder: its tails are heavy, so far points still attract.

    .. math:: k(x, y) = \frac{C}{C + \|x-y\|^2}

    For latents of d dimensions with a standard normal prior, C = 2d is the mean squared distance of two draws
    (Tolstikhin et al. 2018, arXiv:1711.01558).

    Args:
        scale: C, in squared units of the data; a 0-d tensor is taken as it is.

    Raises:
        ValueError: a scale that is not above 0.
    """

    scale: float | Tensor

    def __post_init__(self) -> None:
        _checked(self.scale, "IMQ: scale")

    def profile(self, squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.scale / (self.scale + squared)


@dataclass(frozen=True, slots=True)
class Polynomial(Kernel):
    r"""The polynomial kernel; the defaults are those of the kernel inception distance (KID).

    .. math:: k(x, y) = (\gamma\, x^\top y + c)^p

    It sees moments up to order p only: distributions that agree in them are not told apart.

    Args:
        degree: p.
        gamma: γ; ``None`` is 1/d for points of d dimensions.
        coef: c.

    References:
        Bińkowski, Sutherland, Arbel and Gretton 2018, arXiv:1801.01401.
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __post_init__(self) -> None:
        positive_int(self.degree, "Polynomial: degree")
        if self.gamma is not None:
            positive(self.gamma, "Polynomial: gamma")

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        x, y = _precise(x, y)
        with torch.autocast(x.device.type, enabled=False):
            return self._of(x @ y.T, x.shape[1])

    def pairs(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        x, y = _precise(x, y)
        return self._of((x * y).sum(1), x.shape[1])

    def _of(self, products: Tensor, dims: int) -> Tensor:
        return (products * (1 / dims if self.gamma is None else self.gamma) + self.coef) ** self.degree


@dataclass(frozen=True, slots=True)
class Sum(Kernel):
    """The sum of kernels, not their mean: those of distances share one matrix of them.

    Args:
        kernels: at least one.

    Raises:
        ValueError: no kernels.

    Example:
        >>> import torch
        >>> Sum((RBF(1.0), IMQ(2.0)))(torch.zeros(1, 3), torch.zeros(1, 3))
        tensor([[2.]])
    """

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        if not self.kernels:
            raise ValueError("Sum: kernels is empty. Give at least one kernel.")

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        squared = squared_distances(x, y) if any(isinstance(kernel, Radial) for kernel in self.kernels) else x
        values = [k.profile(squared) if isinstance(k, Radial) else k(x, y) for k in self.kernels]
        return torch.stack(values).sum(0) if len(values) > 1 else values[0]

    def pairs(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        return torch.stack([kernel.pairs(x, y) for kernel in self.kernels]).sum(0)


def multi_scale(
    kind: Callable[[float], Kernel], scale: float, factors: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
) -> Sum:
    """A sum of kernels of one kind at several scales: no single scale has to be right.

    Args:
        kind: ``RBF``, ``Laplace``, ``IMQ``, or anything that makes a kernel of a number.
        scale: the middle scale; for ``IMQ`` it is C, a squared length.
        factors: what it is multiplied with; by default those of the Wasserstein autoencoder.

    Example:
        >>> len(multi_scale(IMQ, 2.0 * 10).kernels)
        7
    """
    return Sum(tuple(kind(positive(scale, "multi_scale: scale") * factor) for factor in factors))


def squared_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """‖x_i − y_j‖² for all pairs, in float32 or better, in memory for n × m numbers."""
    x, y = _precise(x, y)
    # By products of centred points: far from the origin, the plain expansion loses all digits.
    centre = y.detach().mean(0)
    x, y = x - centre, y - centre
    with torch.autocast(x.device.type, enabled=False):
        return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2).clamp_min(0)


def _short(value: object) -> str:
    """A kernel, or what it is made of, with numbers of four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return ", ".join(map(_short, value))
    if not isinstance(value, Kernel) or not is_dataclass(value):
        return repr(value)
    made = ", ".join(_short(getattr(value, field.name)) for field in fields(value))
    return f"{type(value).__name__}({made})"


def _precise(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(dtype), y.to(dtype)


def _checked(value: float | Tensor, name: str) -> None:
    if not isinstance(value, Tensor):
        positive(value, name)
