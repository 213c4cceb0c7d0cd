"""Rungs of the ladder VAE, of the variational ladder with its flat prior, and of levels inferred apart."""

__all__ = ["Apart", "Climb", "Flush", "Merging", "merged"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._shapes import Shape
from ..conditional import Conditional, Prior
from ..distributions import DiagonalGaussian, Distribution
from .hierarchy import Rung, Upward


def merged(q: DiagonalGaussian, p: DiagonalGaussian) -> DiagonalGaussian:
    r"""The normalised product of two Gaussians: means weighted by precisions, whose sum is the new precision.

    .. math:: \sigma^{-2} = \hat\sigma^{-2} + \sigma_p^{-2}, \qquad
        \mu = \sigma^2 (\hat\mu\,\hat\sigma^{-2} + \mu_p\,\sigma_p^{-2})

    In logarithms, so that no precision overflows: log σ² = −logaddexp(−log σ̂², −log σ_p²), and μ̂ has the weight
    sigmoid(log σ_p² − log σ̂²). Hence σ ≤ σ_p.

    References:
        Sønderby et al. 2016, arXiv:1602.02282, eq. 17–19.

    Example:
        >>> one = DiagonalGaussian(torch.ones(1), torch.zeros(1))
        >>> both = merged(one, DiagonalGaussian(-torch.ones(1), torch.zeros(1)))
        >>> both.mean, both.scale.square()
        (tensor([0.]), tensor([0.5000]))
    """
    a, b = 2 * q.log_scale, 2 * p.log_scale
    weight = torch.sigmoid(b - a)
    return DiagonalGaussian(
        weight * q.loc + (1 - weight) * p.loc, -0.5 * torch.logaddexp(-a, -b).expand_as(q.loc + p.loc), q.event_ndim
    )


class Merging(Rung):
    """A level of the ladder VAE: q is the product of the prior and of a guess from the way up; the state is z itself.

    Args:
        latent: shape of z.
        conditional: p(z_i | z_{i+1}), or at the top p(z_L); Gaussian.
        guess: N(μ̂, σ̂²) given the feature of this level; at the top it is the posterior.
        belief: what the guess is merged with, if that is another conditional on z_{i+1} than the prior (the published
            code); ``None`` shares the prior's numbers (the paper), and then σ_q ≤ σ_p.

    Raises:
        ValueError: where a prior is not Gaussian.

    References:
        Sønderby et al. 2016, arXiv:1602.02282.
    """

    def __init__(
        self, latent: Shape, conditional: Conditional | Prior, guess: Conditional, belief: Conditional | None = None
    ) -> None:
        super().__init__()
        self.latent, self.conditional, self.guess, self.belief = latent, conditional, guess, belief

    def prior(self, state: Tensor | None, c: Tensor | None) -> Distribution:
        return self.conditional(c) if state is None else self.conditional(state, c)

    def posterior(self, p: Distribution, state: Tensor | None, feature: Tensor, c: Tensor | None) -> Distribution:
        guess = self.guess(feature, c)
        if state is None:
            return guess
        other = p if self.belief is None else self.belief(state, c)
        if not (isinstance(guess, DiagonalGaussian) and isinstance(other, DiagonalGaussian)):
            raise ValueError(
                f"Merging: precisions are of diagonal Gaussians, got {type(guess).__name__} and {type(other).__name__}."
            )
        return merged(guess, other)

    def descend(self, state: Tensor | None, z: Tensor, c: Tensor | None) -> Tensor:
        return z


class Apart(Rung):
    """A level of a chain whose posteriors are of x alone: q(z | x) = Π q(z_i | x); the state is z itself.

    Args:
        latent: shape of z.
        conditional: p(z_i | z_{i+1}), or at the top p(z_L); of any family.
        guess: q(z_i | feature of x).

    References:
        Gulrajani et al. 2016, arXiv:1611.05013.
    """

    def __init__(self, latent: Shape, conditional: Conditional | Prior, guess: Conditional) -> None:
        super().__init__()
        self.latent, self.conditional, self.guess = latent, conditional, guess

    def prior(self, state: Tensor | None, c: Tensor | None) -> Distribution:
        return self.conditional(c) if state is None else self.conditional(state, c)

    def posterior(self, p: Distribution, state: Tensor | None, feature: Tensor, c: Tensor | None) -> Distribution:
        return self.guess(feature, c)

    def descend(self, state: Tensor | None, z: Tensor, c: Tensor | None) -> Tensor:
        return z


class Flush(Rung):
    """A level of the variational ladder: every latent has the same prior, and all meet only in the decoder.

    Args:
        latent: shape of z.
        base: p(z).
        guess: q(z | feature).
        join: network of the state above (``None`` at the top: then of z alone) and z to the state below,
            ``(N, *state), (N, *latent) → (N, *state)``.

    References:
        Zhao, Song and Ermon 2017, arXiv:1702.08396.
    """

    def __init__(self, latent: Shape, base: Prior, guess: Conditional, join: nn.Module) -> None:
        super().__init__()
        self.latent, self.base, self.guess, self.join = latent, base, guess, join

    def prior(self, state: Tensor | None, c: Tensor | None) -> Distribution:
        return self.base(c)

    def posterior(self, p: Distribution, state: Tensor | None, feature: Tensor, c: Tensor | None) -> Distribution:
        return self.guess(feature, c)

    def descend(self, state: Tensor | None, z: Tensor, c: Tensor | None) -> Tensor:
        lead = z.shape[: z.ndim - len(self.latent)]
        parts = [z] if state is None else [state.expand(*lead, *state.shape[len(lead) :]), z]
        out = self.join(*(part.reshape(-1, *part.shape[len(lead) :]) for part in parts))
        return out.reshape(*lead, *out.shape[1:])


class Climb(Upward):
    """One network on top of the other: the feature of each level is made of the feature below.

    Args:
        networks: from the bottom to the top, ``(B, …) → (B, …)`` each.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        features = []
        for i, network in enumerate(self.networks):
            x = network(x) if c is None or i else network(x, c)
            features.append(x)
        return tuple(reversed(features))
