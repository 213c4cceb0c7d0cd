"""The posterior with correlated latents."""

__all__ = ["full_gaussian"]

from .._shapes import Shape, as_shape
from ..conditional import NetworkConditional
from ..distributions import FullGaussianHead
from ..networks import NetworkLike, build


def full_gaussian(
    network: NetworkLike, data: Shape, latent: int | Shape, condition: Shape | None = None
) -> NetworkConditional:
    """q(z | x, c) = N(μ(x, c), L Lᵀ), with μ and the lower triangular L(x, c) from one network.

    The network gives D (D + 3) / 2 numbers for D latents. Arguments as in ``gaussian``.

    References:
        Kingma and Welling 2019, arXiv:1906.02691, algorithm 2.

    Example:
        >>> import torch
        >>> q = full_gaussian(torch.nn.Linear(6, 5), (6,), 2)
        >>> q(torch.zeros(3, 6)).covariance.shape
        torch.Size([3, 2, 2])
    """
    head = FullGaussianHead(as_shape(latent, "full_gaussian: latent"))
    return NetworkConditional(build(network, data, head.raw_shape, condition), head, data, condition)
