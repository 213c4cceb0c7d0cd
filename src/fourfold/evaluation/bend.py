"""A flow for each datum of a batch, with parameters of its own: what a richer family of posteriors could do."""

__all__ = ["Bend"]

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..noise import Noise

_HIDDEN = 32
_COUPLINGS = 2
#: With more latents than these, the triangular map (D² numbers a datum) is left out.
_MOST_LINEAR = 512


@dataclass(frozen=True, slots=True)
class Bend:
    r"""An invertible map f of z for each of B data: a triangular matrix, then two affine couplings, each a perceptron.

    .. math:: u = \frac{z_0 - c}{s}, \quad v = (I + L)\, u, \quad
        v_b \leftarrow v_b \odot e^{a(v_a)} + m(v_a), \quad z = c + s \odot v

    with L strictly lower triangular and (m, a) = U tanh(V v_a + k) + o; the second coupling moves the half that the
    first one saw. On a diagonal Gaussian it contains every Gaussian, and bends it. The parameters start at the
    identity. Centre c and scale s are no parameters: they bring z to unit size, whatever the posterior's own is.

    Args:
        centre: c, ``(B, D)``.
        scale: s, ``(B, D)``.
        halves: the two halves of 1 … D, in random order.
        parameters: L (at most 512 latents), then V, k, U, o of each coupling, each with a leading ``B``.

    References:
        Dinh, Sohl-Dickstein and Bengio 2016, arXiv:1605.08803; flows of one's own for each datum: Cremer, Li and
        Duvenaud 2018, arXiv:1801.03558 (theirs are two couplings with auxiliary variables).
    """

    centre: Tensor
    scale: Tensor
    halves: tuple[Tensor, Tensor]
    parameters: tuple[Tensor, ...]

    @classmethod
    def identity(cls, draws: Tensor, noise: Noise) -> Self:
        """The identity for posteriors with these draws, ``(S, B, *latent)``; the first layers V come from the noise."""
        flat = draws.flatten(2)
        size, latents = flat.shape[1:]
        order = noise.uniform((latents,)).argsort()
        halves = order[: latents // 2], order[latents // 2 :]
        made = [flat.new_zeros(size, latents, latents)] if latents <= _MOST_LINEAR else []
        for i in range(_COUPLINGS):
            seen, moved = len(halves[i % 2]), len(halves[1 - i % 2])
            inward = noise.normal((_HIDDEN, seen), dtype=flat.dtype) / max(seen, 1) ** 0.5
            made += [inward.expand(size, -1, -1), flat.new_zeros(size, _HIDDEN)]
            made += [flat.new_zeros(size, 2 * moved, _HIDDEN), flat.new_zeros(size, 2 * moved)]
        scale = flat.std(0).clamp_min(torch.finfo(flat.dtype).eps)
        return cls(flat.mean(0), scale, halves, tuple(made))

    def at(self, parameters: tuple[Tensor, ...]) -> Self:
        """The map with these parameters."""
        return replace(self, parameters=parameters)

    def detached(self) -> Self:
        """The map through whose parameters no gradient flows."""
        return self.at(tuple(parameter.detach() for parameter in self.parameters))

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """f(z) for z of shape ``(S, B, *latent)``, and log |det ∂f/∂z|, ``(S, B)``."""
        v, log_det = (z.flatten(2) - self.centre) / self.scale, z.new_zeros(z.shape[:2])
        if self._linear:
            v = v + torch.einsum("bij,sbj->sbi", self.parameters[0].tril(-1), v)
        for i in range(_COUPLINGS):
            shift, log_scale = self._moves(i, v)
            where = self.halves[1 - i % 2]
            v = v.index_copy(-1, where, v[..., where] * log_scale.exp() + shift)
            log_det = log_det + log_scale.sum(-1)
        return (self.centre + self.scale * v).reshape(z.shape), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The z₀ that f carries to z, and log |det ∂f/∂z| there."""
        v, log_det = (z.flatten(2) - self.centre) / self.scale, z.new_zeros(z.shape[:2])
        for i in reversed(range(_COUPLINGS)):
            shift, log_scale = self._moves(i, v)
            where = self.halves[1 - i % 2]
            v = v.index_copy(-1, where, (v[..., where] - shift) * (-log_scale).exp())
            log_det = log_det + log_scale.sum(-1)
        if self._linear:
            columns, lower = v.permute(1, 2, 0), self.parameters[0]
            solved = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
            v = solved.permute(2, 0, 1)
        return (self.centre + self.scale * v).reshape(z.shape), log_det

    @property
    def _linear(self) -> bool:
        return len(self.parameters) % 4 == 1

    def _moves(self, i: int, v: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of what coupling i moves."""
        inward, bias, outward, offset = self.parameters[self._linear + 4 * i :][:4]
        hidden = torch.tanh(torch.einsum("bhj,sbj->sbh", inward, v[..., self.halves[i % 2]]) + bias)
        shift, log_scale = (torch.einsum("bjh,sbh->sbj", outward, hidden) + offset).chunk(2, -1)
        return shift, 2 * torch.tanh(log_scale / 2)  # no step scales by more than e²
