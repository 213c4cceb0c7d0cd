"""Posteriors that bend a diagonal Gaussian with a flow."""

__all__ = ["iaf", "spline"]

from .._shapes import Shape, as_shape, size
from ..conditional import NetworkConditional
from ..distributions import FlowHead
from ..networks import NetworkLike, build
from ..networks.flows import FlowFactory, gated, splines


def iaf(
    network: NetworkLike,
    data: Shape,
    latent: int | Shape,
    condition: Shape | None = None,
    flow: FlowFactory = gated,
    context: int = 64,
) -> NetworkConditional:
    r"""q(z | x, c) by inverse autoregressive flow: a diagonal Gaussian, then gated autoregressive steps.

    .. math:: z_0 = \mu + \sigma_0 \odot \epsilon, \quad z_t = \sigma_t \odot z_{t-1} + (1 - \sigma_t) \odot m_t,
        \qquad \log q(z_T \mid x) = -\sum_i \Big(\tfrac12 \epsilon_i^2 + \tfrac12 \log 2\pi
        + \sum_{t=0}^T \log \sigma_{t,i}\Big)

    One network gives μ, log σ₀ and the context h that every step sees. A draw and its log q are one pass; log q of
    another z must invert the flow, which takes as many passes as z has elements. There is no closed-form KL.

    Args:
        network: a factory ``(inputs, outputs, condition) → module``, or a module with 2 · latent + context outputs.
        data: shape of x.
        latent: size of z.
        condition: shape of c, if the posterior sees it.
        flow: ``functools.partial(gated, steps=4, hidden=(640, 640))``, or any factory ``(features, context) → zuko
            transform`` that is cheap forwards.
        context: size of h.

    Raises:
        ValueError: z that is no vector.

    References:
        Kingma et al. 2016, arXiv:1606.04934.
    """
    event = as_shape(latent, "latent")
    head = FlowHead(event, flow(size(event), context), context)
    return NetworkConditional(build(network, data, head.raw_shape, condition), head, data, condition)


def spline(
    network: NetworkLike,
    data: Shape,
    latent: int | Shape,
    condition: Shape | None = None,
    flow: FlowFactory = splines,
    context: int = 64,
) -> NetworkConditional:
    """q(z | x, c) by neural splines: a diagonal Gaussian, then coupling steps of monotone splines that see h.

    Unlike ``iaf`` it is cheap in both directions, and a step can widen as well as narrow. Arguments as in ``iaf``.

    References:
        Durkan et al. 2019, arXiv:1906.04032.
    """
    return iaf(network, data, latent, condition, flow, context)
