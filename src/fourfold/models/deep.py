"""Rungs with feature maps for a state: those of very deep VAEs, whose latents are images of several scales."""

__all__ = ["ByScale", "ResidualNormal", "TopDownBlock"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._shapes import Shape
from ..distributions import DiagonalGaussian, Distribution, GaussianHead
from .hierarchy import Rung, Upward

#: Of the raw numbers of a residual normal, and of its scale.
_BOUND, _FLOOR = 5.0, 0.01


class ByScale(Upward):
    """A way up from scale to scale, whose feature of a scale all rungs of that scale are given.

    Args:
        networks: from the finest scale to the coarsest, ``(B, …) → (B, …)`` each, one on top of the other.
        rungs: how many rungs each of these scales has, in the same order; 0 where it has none.
    """

    def __init__(self, networks: Sequence[nn.Module], rungs: Sequence[int]) -> None:
        super().__init__()
        if len(networks) != len(rungs):
            raise ValueError(f"ByScale: {len(networks)} networks need as many numbers of rungs, got {rungs!r}.")
        self.networks, self.counts = nn.ModuleList(networks), tuple(rungs)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        features: list[Tensor] = []
        for network, count in zip(self.networks, self.counts, strict=True):
            x = network(x)
            features += [x] * count
        return tuple(reversed(features))


class TopDownBlock(Rung):
    r"""A level of the VDVAE: the prior's network says what z may be, and what is known of the image without z.

    .. math:: p, \Delta = P(s), \quad q = Q(s, d), \quad s' = R(s + \Delta + Vz)

    s are feature maps, d the way up's feature of their scale. Δ is what the prior's network adds whatever z will be.

    Args:
        latent: (C, H, W) of z.
        enlarge: the state above to s, ``(N, …) → (N, W, H, W)``; called without it at the top.
        posterior: Q, of s and d stacked, to mean and log standard deviation of q.
        prior: P, to mean and log standard deviation of p, and Δ.
        project: V.
        after: R.

    References:
        Child 2020, "Very deep VAEs generalize autoregressive models and can outperform them on images",
        arXiv:2011.10650.
    """

    def __init__(
        self,
        latent: Shape,
        enlarge: nn.Module,
        prior: nn.Module,
        posterior: nn.Module,
        project: nn.Module,
        after: nn.Module,
    ) -> None:
        super().__init__()
        self.latent, self.head = latent, GaussianHead(latent)
        self.enlarge, self.before, self.guess = enlarge, prior, posterior
        self.project, self.after = project, after

    def enter(self, state: Tensor | None, c: Tensor | None) -> "_Entered":
        maps = self.enlarge()[0] if state is None else _through(self.enlarge, state)
        raw, change = _through(self.before, maps).tensor_split((2 * self.latent[0],), -3)
        return _Entered(maps, raw, change)

    def prior(self, state: "_Entered", c: Tensor | None) -> Distribution:
        return self.head(state.raw)

    def posterior(self, p: Distribution, state: "_Entered", feature: Tensor, c: Tensor | None) -> Distribution:
        return self.head(_through(self.guess, state.maps, feature))

    def descend(self, state: "_Entered", z: Tensor, c: Tensor | None) -> Tensor:
        return _through(self.after, state.maps + state.change + _through(self.project, z))


class _Entered(NamedTuple):
    """Feature maps of the state; raw numbers of p; and what the prior's network adds to the maps."""

    maps: Tensor
    raw: Tensor
    change: Tensor


class ResidualNormal(Rung):
    r"""A level of the NVAE: the posterior's network says how far q lies from p.

    .. math:: p = N\big(B(m),\; e^{B(l)} + 0.01\big), \quad
        q = N\big(B(m + \Delta m),\; e^{B(l + \Delta l)} + 0.01\big), \qquad B(u) = 5 \tanh(u / 5)

    m and l come from the state, Δm and Δl from it and the way up; at the top p = N(0, 1), and m = l = 0. Where neither
    B nor 0.01 acted, KL(q ‖ p) would be ½ (Δm² / σ_p² + e^{2Δl} − 2Δl − 1); they do act, and the rate is that of the
    Gaussians themselves.

    Args:
        latent: (C, H, W) of z.
        cells: the state above to feature maps ``(N, …) → (N, W, H, W)``; called without it at the top.
        prior: of these, to m and l; ``None`` at the top.
        join: of these, to what is added to the way up's feature; ``None`` at the top.
        guess: of the sum, to Δm and Δl.
        combine: of these and z, stacked, to the state below.

    References:
        Vahdat and Kautz 2020, "NVAE: a deep hierarchical variational autoencoder", arXiv:2007.03898.
    """

    def __init__(
        self,
        latent: Shape,
        cells: nn.Module,
        prior: nn.Module | None,
        join: nn.Module | None,
        guess: nn.Module,
        combine: nn.Module,
    ) -> None:
        super().__init__()
        self.latent, self.head = latent, GaussianHead(latent, floor=_FLOOR)
        self.cells, self.before, self.join, self.guess, self.combine = cells, prior, join, guess, combine

    def enter(self, state: Tensor | None, c: Tensor | None) -> "_Found":
        maps = self.cells()[0] if state is None else _through(self.cells, state)
        if self.before is None:
            channels, *side = self.latent
            return _Found(maps, maps.new_zeros(2 * channels, *side))
        return _Found(maps, _through(self.before, maps))

    def prior(self, state: "_Found", c: Tensor | None) -> Distribution:
        if self.before is None:
            zero = state.raw[: self.latent[0]]
            return DiagonalGaussian(zero, zero, len(self.latent), standard=True)
        return self.head(_bounded(state.raw))

    def posterior(self, p: Distribution, state: "_Found", feature: Tensor, c: Tensor | None) -> Distribution:
        context = feature if self.join is None else feature + _through(self.join, state.maps)
        return self.head(_bounded(state.raw + _through(self.guess, context)))

    def descend(self, state: "_Found", z: Tensor, c: Tensor | None) -> Tensor:
        return _through(self.combine, state.maps, z)


class _Found(NamedTuple):
    """Feature maps of the state, and raw numbers of p."""

    maps: Tensor
    raw: Tensor


def _bounded(raw: Tensor) -> Tensor:
    """Raw numbers, softly held between −5 and 5."""
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    return _BOUND * torch.tanh(raw / _BOUND)


def _through(network: nn.Module, *parts: Tensor) -> Tensor:
    """The network of feature maps ``(*lead, C, H, W)``, expanded to one lead and stacked along C."""
    lead = torch.broadcast_shapes(*(part.shape[:-3] for part in parts))
    folded = [part.expand(*lead, *part.shape[-3:]).reshape(-1, *part.shape[-3:]) for part in parts]
    out = network(folded[0] if len(folded) == 1 else torch.cat(folded, 1))
    return out.reshape(*lead, *out.shape[1:])
