"""Draws from a mixture of diagonal Gaussians with a gradient in everything, the weights included."""

__all__ = ["implicit_draw"]

from math import log, pi
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .gaussian import DiagonalGaussian

_HALF_LOG_TWO_PI = 0.5 * log(2 * pi)


def implicit_draw(z: Tensor, log_weights: Tensor, components: DiagonalGaussian) -> Tensor:
    r"""The draw z itself, with the gradient of a reparameterised draw from the mixture.

    Element by element, u_d = F_d(z_d | z_<d) is uniform whatever the parameters are. Holding u still moves z by

    .. math:: \frac{\partial z}{\partial\phi} = -\Big(\frac{\partial F}{\partial z}\Big)^{-1}
        \frac{\partial F}{\partial\phi}, \qquad
        F_d = \sum_k w_k^{(d)}\, \Phi\Big(\frac{z_d-\mu_{kd}}{\sigma_{kd}}\Big), \quad
        w_k^{(d)} \propto w_k \prod_{j<d} \mathcal N(z_j; \mu_{kj}, \sigma_{kj}^2),

    with a lower triangular Jacobian. Which component z came from does not matter, so its weight has a gradient too.
    The gradient can be taken once, not twice.

    Args:
        z: a draw without gradient, ``(*front, *lead, *event)``.
        log_weights: normalised log weights, ``(*lead, K)``.
        components: with leading dimensions ``(*lead, K)``.

    References:
        Graves 2016, arXiv:1607.05690; Figurnov, Mohamed and Mnih 2018, arXiv:1805.08498.
    """
    event = components.event_ndim
    loc, log_scale = (v.flatten(-event) for v in (components.loc, components.log_scale.expand_as(components.loc)))
    inverse = (-log_scale).exp()
    standard = (z.flatten(-event).unsqueeze(-2) - loc) * inverse
    log_density = -0.5 * standard.square() - log_scale - _HALF_LOG_TWO_PI
    before = torch.cat((torch.zeros_like(log_density[..., :1]), log_density[..., :-1].cumsum(-1)), -1)
    weights = (log_weights.unsqueeze(-1) + before).softmax(-2)  # (…, K, D): of each component given the elements before
    below = torch.special.ndtr(standard)
    cdf = (weights * below).sum(-2)
    with torch.no_grad():
        density = (weights * log_density.exp()).sum(-2).clamp_min(torch.finfo(z.dtype).tiny)
        slope, joint = -standard * inverse, (weights * below).mT  # of the log-density; (…, D, K)
        off = joint @ slope - joint.sum(-1, keepdim=True) * (weights.mT @ slope)
        jacobian = off.tril(-1) + torch.diag_embed(density)
    return _Implicit.apply(z.flatten(-event), cdf, jacobian).unflatten(-1, z.shape[z.ndim - event :])


class _Implicit(torch.autograd.Function):
    """z, whose gradient goes to F(z) through −J⁻ᵀ."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, cdf: Tensor, jacobian: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]  # the decorator hides the names of the arguments
        ctx: Any, *gradients: Tensor
    ) -> tuple[None, Tensor, None]:
        (jacobian,) = ctx.saved_tensors
        right = gradients[0].unsqueeze(-1)
        return None, -torch.linalg.solve_triangular(jacobian.mT, right, upper=True).squeeze(-1), None
