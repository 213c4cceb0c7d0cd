"""Draws from a mixture of diagonal Gaussians with a gradient in everything, the weights included."""

__all__ = ["implicit_draw"]

from math import log, pi
from typing import Any

import torch
from torch import Tensor

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
    D² numbers a draw are kept in the backward pass; derivatives of any order are right.

    Args:
        z: a draw without gradient, ``(*front, *lead, *event)``.
        log_weights: normalised log weights, ``(*lead, K)``.
        components: with leading dimensions ``(*lead, K)``.

    References:
        Graves 2016, arXiv:1607.05690; Figurnov, Mohamed and Mnih 2018, arXiv:1805.08498.
    """
    event = components.event_ndim
    loc, log_scale = (v.flatten(-event) for v in (components.loc, components.log_scale.expand_as(components.loc)))
    drawn = _Implicit.apply(z.flatten(-event), log_weights, loc, log_scale)
    return drawn.unflatten(-1, z.shape[z.ndim - event :])


class _Implicit(torch.autograd.Function):
    """z as a function of log w ``(*lead, K)``, μ and log σ ``(*lead, K, D)``; its gradient is written out."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, log_weights: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(output, *inputs[1:])  # the output, not z: so the gradient itself has a gradient

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        z, log_weights, loc, log_scale = ctx.saved_tensors
        inverse = (-log_scale).exp()
        standard = (z.unsqueeze(-2) - loc) * inverse
        log_density = -0.5 * standard.square() - log_scale - _HALF_LOG_TWO_PI
        before = torch.cat((torch.zeros_like(log_density[..., :1]), log_density[..., :-1].cumsum(-1)), -1)
        weights = (log_weights.unsqueeze(-1) + before).softmax(-2)  # (…, K, D): w_k of element d
        below = torch.special.ndtr(standard)
        excess = weights * (below - (weights * below).sum(-2, keepdim=True))  # ∂F_d / ∂ log w_k of element d
        density = weights * log_density.exp()
        with torch.autocast(z.device.type, enabled=False):
            jacobian = (excess.mT @ (-standard * inverse)).tril(-1)
        jacobian = jacobian + torch.diag_embed(density.sum(-2).clamp_min(torch.finfo(z.dtype).tiny))
        right = gradients[0].unsqueeze(-1)
        pull = -torch.linalg.solve_triangular(jacobian.mT, right, upper=True).mT  # (…, 1, D)
        weighed = pull * excess
        after = weighed.sum(-1, keepdim=True) - weighed.cumsum(-1)  # of the elements after d, through their weights
        moved = pull * density
        by_loc = after * standard * inverse - moved
        by_scale = after * (standard.square() - 1) - moved * standard * log_scale.exp()
        by_weight = weighed.sum(-1)
        given = ((by_weight, log_weights), (by_loc, loc), (by_scale, log_scale))
        return None, *(value.sum_to_size(like.shape) for value, like in given)  # type: ignore[return-value]
