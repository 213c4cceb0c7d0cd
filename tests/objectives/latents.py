"""Passes made by hand: a posterior and a draw, under a likelihood that says nothing."""

from math import log

import torch
from torch import Tensor

from fourfold.distributions import Bernoulli, DiagonalGaussian, Distribution
from fourfold.noise import Noise
from fourfold.trace import Level, Trace


def passed(q: Distribution, p: Distribution | None = None, draws: int = 1, seed: int = 0) -> Trace:
    """The trace of B data with this posterior and, if not given, the standard normal prior."""
    z = q.sample(Noise(seed), draws)
    return told(z, q, p)


def told(z: Tensor, q: Distribution, p: Distribution | None = None) -> Trace:
    """The trace of these draws ``(S, B, D)``."""
    zero = torch.zeros(z.shape[2:], dtype=z.dtype)
    prior = p or DiagonalGaussian(zero, zero, z.ndim - 2, standard=True)
    log_likelihood = torch.full(z.shape[:2], -log(2), dtype=z.dtype)
    p_x = Bernoulli(torch.zeros(*z.shape[:2], 1, dtype=z.dtype))
    return Trace(torch.zeros(z.shape[1], 1), p_x, log_likelihood, (Level(z, q, prior),))


def posterior(n: int, latents: int, scale: float = 0.3, seed: int = 1) -> DiagonalGaussian:
    """N(μ_n, scale²) of n data, scattered so that all of them together have variance 1."""
    loc = (1 - scale**2) ** 0.5 * Noise(seed, stream="loc").normal((n, latents), dtype=torch.float64)
    return DiagonalGaussian(loc, torch.full_like(loc, log(scale)))


def rows(q: DiagonalGaussian, index: Tensor | list[int]) -> DiagonalGaussian:
    """The posteriors of some of the data."""
    return DiagonalGaussian(q.loc[index], q.log_scale[index])
