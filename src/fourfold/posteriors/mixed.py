"""The posterior with several modes."""

__all__ = ["mixture"]

from .._shapes import Shape, as_shape
from ..conditional import NetworkConditional
from ..distributions import MixtureHead
from ..networks import NetworkLike, build


def mixture(
    network: NetworkLike,
    data: Shape,
    latent: int | Shape,
    components: int = 5,
    condition: Shape | None = None,
) -> NetworkConditional:
    """q(z | x, c) = Σ_k w_k N(μ_k, diag σ_k²), with weights, means and scales from one network.

    Its draws have a gradient in the weights too (implicit reparameterisation); the rate is estimated from them.

    Args:
        network: a factory ``(inputs, outputs, condition) → module``, or a module, giving K (1 + 2 D) numbers.
        data: shape of x.
        latent: size or shape of z.
        components: K.
        condition: shape of c, if the posterior sees it.

    References:
        Graves 2016, arXiv:1607.05690; Figurnov, Mohamed and Mnih 2018, arXiv:1805.08498.

    Example:
        >>> import torch
        >>> q = mixture(torch.nn.Linear(6, 15), (6,), 2, components=3)
        >>> q(torch.zeros(4, 6)).log_weights.shape
        torch.Size([4, 3])
    """
    head = MixtureHead(as_shape(latent, "mixture: latent"), components)
    return NetworkConditional(build(network, data, head.raw_shape, condition), head, data, condition)
