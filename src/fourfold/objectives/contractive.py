"""Contractive autoencoders: a price on how fast the code moves with the data."""

__all__ = ["Contractive"]

from typing import final

import torch
from torch import Tensor, nn

from .._checks import choice, may_look, positive_int
from ..distributions.base import at_least_float32
from ..noise import Noise, NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, latents, reconstruction, with_penalties
from .schedules import Schedule


@final
class Contractive(Objective):
    r"""Reconstruction, and the squared Frobenius norm of the Jacobian of the code h(x), datum by datum.

    .. math:: \log p(x \mid z) - \lambda \sum_{ij} \Big(\frac{\partial h_j}{\partial x_i}\Big)^2

    h is the centre of the first level's posterior. Three ways to the same value:

    * ``"closed_form"``, for an encoder of one layer: :math:`\sum_j h_j'^2 \lVert W_{j\cdot}\rVert^2` with
      :math:`h' = h(1-h)` for a sigmoid and :math:`1-h^2` for tanh; the columns of W that c meets do not count;
    * ``"exact"``: the whole Jacobian, one backward pass for each unit of the code, all at once in memory;
    * ``"hutchinson"``: :math:`\mathbb E_v \lVert J^\top v \rVert^2` with random signs v, one backward pass for each
      probe; unbiased, with a relative spread of about 30 % for one probe and 10 % for ten (30 units, 20 inputs).

    A decoder of its own weights can undo the contraction: let it share the encoder's (``networks.tied.Transposed``).
    Under batch normalisation a datum has no Jacobian of its own. Where the model corrupts what the encoder sees, the
    ways differ in training: the closed form is of the encoder at the corrupted x̃, the others differentiate through
    the corruption, h(x̃(x)), so an element that was hidden moves nothing. It is no bound on log p(x).

    Args:
        weight: λ, a number or a schedule.
        method: ``"closed_form"``, ``"exact"`` or ``"hutchinson"``.
        probes: how many random vectors, for ``"hutchinson"``.
        layer: the encoder's one layer, for ``"closed_form"``.
        activation: of that layer: ``"sigmoid"`` or ``"tanh"``.
        draws: draws of z for each datum.

    Raises:
        ValueError: a method without what it needs; a trace whose x has no gradient; for the closed form a layer of
            other sizes, or a code outside the range of its activation.

    References:
        Rifai et al. 2011, "Contractive auto-encoders"; Hutchinson 1989 for the probes.
    """

    input_gradient = True
    sees_prior = False
    weight: Tensor

    def __init__(
        self,
        weight: float | Schedule = 0.1,
        method: str = "exact",
        *,
        probes: int = 1,
        layer: nn.Linear | None = None,
        activation: str = "sigmoid",
        draws: int = 1,
    ) -> None:
        super().__init__(draws)
        self.hyper("weight", weight)
        self.method = choice(method, ("closed_form", "exact", "hutchinson"), "Contractive: method")
        self.probes = positive_int(probes, "Contractive: probes")
        self.activation = choice(activation, ("sigmoid", "tanh"), "Contractive: activation")
        if (layer is None) == (method == "closed_form"):
            raise ValueError(
                f"Contractive: method={method!r} and layer={layer!r}: the closed form needs the encoder's one layer, "
                "and the others look at no layer. Give layer=… with method='closed_form' only."
            )
        self._layer = () if layer is None else (layer,)  # in a tuple: its weights are the model's

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        code = at_least_float32(latents(trace, "Contractive", "code to contract")[0].q.centre).flatten(1)
        if self._layer:
            value = self._closed_form(code, trace, self._layer[0])
        elif not code.requires_grad or not trace.x.requires_grad:
            raise ValueError(
                "Contractive: the code is differentiated by x, and this trace's x has no gradient. Training sees to "
                "it; by hand: model(x.requires_grad_()), outside torch.no_grad()."
            )
        elif self.method == "exact":
            units = torch.eye(code.shape[1], dtype=code.dtype, device=code.device)
            value = self._squares(code, trace.x, units[:, None].expand(-1, *code.shape)).sum(0)
        else:
            source = noise or Noise(device=code.device)
            flips = source.uniform((len(code), self.probes, code.shape[1]), dtype=code.dtype) < 0.5
            value = self._squares(code, trace.x, (1 - 2 * flips.to(code.dtype)).transpose(0, 1)).mean(0)
        parts = {**reconstruction(trace), "contraction": Term(value, -self.weight, "unitless")}
        return with_penalties(parts, trace)

    def _closed_form(self, code: Tensor, trace: Trace, layer: nn.Linear) -> Tensor:
        inputs, given = trace.x[0].numel(), 0 if trace.c is None else trace.c[0].numel()
        if layer.out_features != code.shape[1] or layer.in_features not in (inputs, inputs + given):
            raise ValueError(
                f"Contractive: layer has {layer.out_features} outputs, the code has {code.shape[1]}; it has "
                f"{layer.in_features} inputs, x has {inputs} numbers and c {given}: the closed form is for an encoder "
                "of one layer that takes x, then c if there is one. Take method='exact' or 'hutchinson'."
            )
        least = 0 if self.activation == "sigmoid" else -1
        if may_look(code) and bool(((code < least) | (code > 1)).any()):
            raise ValueError(
                f"Contractive: a {self.activation} lies in [{least}, 1], and the code has values from "
                f"{code.min().item():.3g} to {code.max().item():.3g}: its slope is not known from it. Give the code "
                f"that activation (point(…, activation={self.activation!r})), or take method='exact' or 'hutchinson'."
            )
        slope = code * (1 - code) if self.activation == "sigmoid" else 1 - code.square()
        weight = at_least_float32(layer.weight[:, :inputs])
        with torch.autocast(code.device.type, enabled=False):
            return slope.square() @ weight.square().sum(1)

    def _squares(self, code: Tensor, x: Tensor, vectors: Tensor) -> Tensor:
        """‖Jᵀv‖² for each of the vectors ``(P, B, units)``: ``(P, B)``; differentiable in training."""
        (pulled,) = torch.autograd.grad(
            code, x, vectors, retain_graph=True, create_graph=self.training, is_grads_batched=True
        )
        return pulled.flatten(2).square().sum(-1)
