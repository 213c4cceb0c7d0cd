r"""The practical limit: the dense model's step with its backward pass written by hand, one flat buffer, fused Adam.

No graph is built, nothing is allocated for parameters or their gradients, and what the step needs of the loss is all
that is computed, besides the loss itself. In bf16 the products are in bf16, with densities, weights and gradients
kept in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import timed
from benchmarks.loops import HIDDEN, LATENT, LEARNING_RATE, PIXELS, endless_order, images_of, networks
from benchmarks.system import keep_pages

__all__ = ["ByHand", "by_hand"]

_ENCODER, _DECODER = (PIXELS, HIDDEN, HIDDEN, 2 * LATENT), (LATENT, HIDDEN, HIDDEN, PIXELS)
_tanh_backward = torch.ops.aten.tanh_backward


class ByHand:
    """Parameters in one buffer, and the gradient of a batch's loss in another.

    Args:
        dtype: of parameters, densities and gradients.
        products: of the matrix products; where it differs, weights are cast once a step.
        device: where all of it is.
    """

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        products: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        shapes = [shape for sizes in (_ENCODER, _DECODER) for a, b in pairwise(sizes) for shape in ((b, a), (b,))]
        self.flat = torch.empty(sum(map(prod, shapes)), dtype=dtype, device=device)
        self.products = products or dtype
        self.gradient = torch.zeros_like(self.flat)
        self._cast = self.flat if self.products == dtype else self.flat.to(self.products)
        self._cast_gradient = self.gradient if self.products == dtype else self.gradient.to(self.products)
        self._weights, self._slopes = _views(self._cast, shapes), _views(self._cast_gradient, shapes)
        with torch.no_grad():
            made = [p for network in networks("dense") for p in network.parameters()]
            self.flat.copy_(torch.cat([p.flatten() for p in made]))

    @torch.no_grad()
    def vae(self, x: Tensor, noise: Tensor) -> Tensor:
        """−ELBO of a batch with the KL in closed form; leaves its gradient in `gradient`. Noise is `(B, D)`."""
        seen, outputs, (mean, log_variance) = self._encode(x)
        scale = torch.exp(0.5 * log_variance)
        felt, logits = self._decode(mean + scale * noise)
        n = len(x)
        loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        variance = scale.square()
        loss = (loss - 0.5 * torch.sum(1 + log_variance - mean.square() - variance)) / n
        into_z = self._undecode(felt, (torch.sigmoid(logits) - x) / n).to(outputs.dtype)
        half = 0.5 * (variance - 1) / n
        self._unencode(seen, into_z + mean / n, into_z * noise * (0.5 * scale) + half)
        return loss

    @torch.no_grad()
    def iwae(self, x: Tensor, noise: Tensor) -> Tensor:
        """The negative importance-weighted bound; leaves its gradient in `gradient`. Noise is `(K, B, D)`."""
        seen, outputs, (mean, log_variance) = self._encode(x)
        scale = torch.exp(0.5 * log_variance)
        z = mean + scale * noise
        felt, logits = self._decode(z.flatten(0, 1))
        k, n = len(noise), len(x)
        wide = logits.view(k, n, -1)
        likelihood = -F.binary_cross_entropy_with_logits(wide, x.expand_as(wide), reduction="none").sum(2)
        log_weight = likelihood + 0.5 * (noise.square() + log_variance - z.square()).sum(2)
        most = log_weight.logsumexp(0)
        share = (log_weight - most).exp_()[..., None] / n
        into_logits = torch.sigmoid(wide).sub_(x).mul_(share)
        into_z = self._undecode(felt, into_logits.flatten(0, 1)).to(outputs.dtype).view_as(z) + share * z
        self._unencode(seen, into_z.sum(0), (into_z * noise).sum(0) * (0.5 * scale) - 0.5 / n)
        return log(k) - most.mean()

    def _encode(self, x: Tensor) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        if self._cast is not self.flat:
            self._cast.copy_(self.flat)
        inputs, raw = _forward(x.to(self.products), self._weights[:3])
        outputs = raw.to(self.flat.dtype)
        return inputs, outputs, outputs.chunk(2, 1)

    def _decode(self, z: Tensor) -> tuple[list[Tensor], Tensor]:
        inputs, raw = _forward(z.to(self.products), self._weights[3:])
        return inputs, raw.to(self.flat.dtype)

    def _undecode(self, inputs: list[Tensor], into_logits: Tensor) -> Tensor:
        found = _backward(inputs, into_logits.to(self.products), self._weights[3:], self._slopes[3:], to_input=True)
        assert found is not None
        return found

    def _unencode(self, inputs: list[Tensor], into_mean: Tensor, into_log_variance: Tensor) -> None:
        into = torch.cat((into_mean, into_log_variance), 1).to(self.products)
        _backward(inputs, into, self._weights[:3], self._slopes[:3], to_input=False)
        if self._cast_gradient is not self.gradient:
            self.gradient.copy_(self._cast_gradient)


Layers = list[tuple[Tensor, Tensor]]


def _views(flat: Tensor, shapes: list[tuple[int, ...]]) -> Layers:
    parts = [part.view(shape) for part, shape in zip(flat.split([prod(s) for s in shapes]), shapes, strict=True)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _forward(x: Tensor, layers: Layers) -> tuple[list[Tensor], Tensor]:
    """The input of each layer, and the output of the last."""
    inputs = [x]
    for weight, bias in layers[:-1]:
        inputs.append(torch.addmm(bias, inputs[-1], weight.t()).tanh_())
    weight, bias = layers[-1]
    return inputs, torch.addmm(bias, inputs[-1], weight.t())


def _backward(inputs: list[Tensor], into: Tensor, layers: Layers, slopes: Layers, *, to_input: bool) -> Tensor | None:
    """Gradients of weights and biases into `slopes`; that of the first input where it is asked for."""
    for i in reversed(range(len(layers))):
        torch.mm(into.t(), inputs[i], out=slopes[i][0])
        torch.sum(into, 0, out=slopes[i][1])
        if i:
            into = _tanh_backward(torch.mm(into, layers[i][0]), inputs[i])
    return torch.mm(into, layers[0][0]) if to_input else None


def by_hand(batch: int, steps: int, draws: int = 0, precision: str = "32") -> Callable[[], float]:
    """The loop around it: resident uint8 data, slices of a permutation, Adam on the flat buffer, pages kept."""
    keep_pages()
    images = images_of("dense", batch)
    step = ByHand(products=torch.bfloat16 if precision == "bf16" else None)
    flat = step.flat.requires_grad_()
    flat.grad = step.gradient
    adam = torch.optim.Adam([flat], lr=LEARNING_RATE, fused=True)
    order = endless_order(len(images), batch)
    shape, loss = ((draws, batch, LATENT), step.iwae) if draws else ((batch, LATENT), step.vae)

    def piece() -> None:
        total = torch.zeros(())
        for _ in range(steps):
            total += loss(images[next(order)].float(), torch.randn(shape))
            adam.step()
        if not torch.isfinite(total):
            raise ArithmeticError(f"by_hand: the loss became {total.item()}")

    return timed(piece, steps * batch)
