"""Sparse autoencoders: a price on the size of the code, or on how often its units are active."""

__all__ = ["KLSparsity", "L1Sparsity"]

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from .._checks import fraction, may_look, positive
from .._shapes import Shape, as_shape, size
from ..distributions.base import at_least_float32
from ..noise import NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, latents, reconstruction, with_penalties
from .schedules import Schedule

_EDGE = 1e-6


@final
class L1Sparsity(Objective):
    r"""Reconstruction and the absolute size of the code.

    .. math:: \log p(x \mid z) - \lambda \sum_j |z_j|

    The size of a code means something only where the decoder cannot undo its scale: give it columns of norm 1
    (``networks.tied.UnitColumns``, as the recipe ``sparse_ae`` does), or the code shrinks and the decoder grows. It is
    no bound on log p(x).

    Args:
        weight: λ, in nats per unit of the code, a number or a schedule.
        draws: draws of z for each datum.
    """

    sees_prior = False
    weight: Tensor

    def __init__(self, weight: float | Schedule = 0.1, draws: int = 1) -> None:
        super().__init__(draws)
        self.hyper("weight", weight)

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        code = at_least_float32(latents(trace, "L1Sparsity", "code to make small")[0].z)
        length = code.abs().flatten(2).sum(-1).mean(0)
        return with_penalties({**reconstruction(trace), "l1": Term(length, -self.weight, "unitless")}, trace)


@final
class KLSparsity(Objective):
    r"""Reconstruction, and for each unit of the code the KL from the wished activity ρ to its mean activity ρ̂.

    .. math:: \log p(x \mid z) - \beta \sum_j \Big[\rho \log \frac{\rho}{\hat\rho_j}
        + (1-\rho) \log \frac{1-\rho}{1-\hat\rho_j}\Big]

    ρ̂ is the mean over the data first, the KL comes after. In training it is a running mean over batches that includes
    the present one: a small batch alone is noisy and, the KL being convex, biased upwards. The gradient is that of a
    KL whose ρ̂ moves as the mean of the present batch does, so β means the same at every ``decay``. Out of training
    ρ̂ is the mean of the batch. It is no bound on log p(x).

    Args:
        units: size or shape of the code, whose values must lie in [0, 1]: give it a sigmoid.
        rho: wished mean activity ρ, in (0, 1).
        weight: β, a number or a schedule.
        decay: of the running mean, from 0 (the batch alone) up to, but not including, 1.
        draws: draws of z for each datum.

    Raises:
        ValueError: ρ or decay out of range, a code of another size or with values outside [0, 1].

    References:
        Ng 2011, "Sparse autoencoder" (CS294A lecture notes).
    """

    batch_statistic = True
    sees_prior = False
    weight: Tensor
    running: Tensor
    seen: Tensor

    def __init__(
        self,
        units: int | Shape,
        rho: float = 0.05,
        weight: float | Schedule = 3.0,
        decay: float = 0.9,
        draws: int = 1,
    ) -> None:
        super().__init__(draws)
        self.hyper("weight", weight)
        self.rho = fraction(positive(rho, "KLSparsity: rho"), "KLSparsity: rho")
        self.decay = fraction(decay, "KLSparsity: decay")
        count = size(as_shape(units, "KLSparsity: units"))
        # Both begin at 0; their ratio is the mean over what was seen, without a bias towards 0.
        self.register_buffer("running", torch.zeros(count))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        code = at_least_float32(latents(trace, "KLSparsity", "units to be active")[0].z).flatten(2)
        self._check(code)
        now = code.mean((0, 1))
        mean = now
        if self.training:
            total = self.decay * self.running + (1 - self.decay) * now
            mean = now + (total / (self.decay * self.seen + 1 - self.decay) - now).detach()
        mean, rho = mean.clamp(_EDGE, 1 - _EDGE), self.rho
        kl = rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()
        parts = {**reconstruction(trace), "sparsity": Term(kl.sum().expand(code.shape[1]), -self.weight)}
        return Terms(with_penalties(parts, trace).parts, {"activity": now.detach()})

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        self.running.lerp_(summary["activity"].to(self.running), 1 - self.decay)
        self.seen.lerp_(torch.ones_like(self.seen), 1 - self.decay)

    def _check(self, code: Tensor) -> None:
        if code.shape[-1] != len(self.running):
            raise ValueError(f"KLSparsity: units={len(self.running)}, but the code has {code.shape[-1]} of them.")
        if may_look(code) and bool(((code < 0) | (code > 1)).any()):
            raise ValueError(
                "KLSparsity: mean activity is that of units in [0, 1], and the code has values from "
                f"{code.min().item():.3g} to {code.max().item():.3g}. Give the code a sigmoid "
                "(point(…, activation='sigmoid')), or take L1Sparsity."
            )
