"""What a decoder could do at every rate: the rate–distortion curve of a fixed prior and likelihood."""

__all__ = ["CURVE", "Curve", "rate_distortion"]

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from torch import Tensor

from .._checks import positive
from .._shapes import Shape
from ..models import Generated, Model, Pick
from ..noise import Noise, NoiseSource
from ..trace import Trace
from .ais import Annealing, ais, log_mean_exp
from .batches import BatchLike, ready
from .importance import Progress

#: Enough for a picture of 50-dimensional latents.
CURVE = Annealing(temperatures=300, chains=8, keep=101)


@dataclass(frozen=True, slots=True)
class Curve:
    """Rate and distortion of the best q(z | x) for each β, in nats, datum by datum.

    Attributes:
        betas: β, ``(M,)``, rising from 0.
        rate: KL(q_β ‖ p), ``(M, N)``; on average too high, by what log Z_β is too low.
        distortion: E −log p(x | z), ``(M, N)``.
        acceptance: mean acceptance of the chains.
        estimator: the estimator and its budget, in words.
    """

    betas: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    acceptance: float
    estimator: str

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Rate and distortion averaged over the data, ``(M,)`` each."""
        return self.rate.mean(1), self.distortion.mean(1)


def rate_distortion(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    options: Annealing = CURVE,
    most: float = 5.0,
    progress: Progress | None = None,
) -> Curve:
    r"""The rate–distortion curve of a model's prior and likelihood, whatever its encoder does.

    .. math:: q_\beta(z \mid x) = \frac{p(z)\, p(x \mid z)^\beta}{Z_\beta(x)}, \qquad
        D_\beta = \mathbb{E}_{q_\beta}[-\log p(x \mid z)], \qquad
        R_\beta = \mathrm{KL}(q_\beta \,\|\, p) = -\beta D_\beta - \log Z_\beta(x)

    Of all q, q_β has the smallest R + β D: no encoder gets below the curve, and the height of the model's own
    (R, D) above the line of slope −1 that touches it, at β = 1, is its inference gap. At β = 1, R + D = −log p(x).
    One run of annealed importance sampling visits all β: D_β is the weighted mean over the chains, log Z_β the mean
    weight's logarithm, in expectation too low. Few chains leave D_β with some bias where weights are uneven.

    Args:
        model: any model with continuous latents and a likelihood that is differentiable in them, in eval mode.
        batches: the data; each is annealed by itself.
        noise: each batch has its own fork.
        options: of ``ais``, from the prior; ``keep`` says at how many β the curve is taken.
        most: the largest β.
        progress: told (done, total) trajectories of one batch after another.

    Raises:
        ValueError: a model in training mode or without latents, a path from the encoder, no β to be kept, no data.

    References:
        Alemi et al. 2018, "Fixing a broken ELBO", arXiv:1711.00464; Huang, Makhzani, Cao and Grosse 2020, "Evaluating
        lossy compression rates of deep generative models", arXiv:2008.06653.
    """
    ready(model, "rate_distortion")
    if options.start != "prior" or options.keep < 2:
        raise ValueError(
            f"rate_distortion: the curve is of p(z) p(x|z)^β, with at least 2 β: wanted start 'prior' and keep >= 2, "
            f"got {options.start!r} and {options.keep}. Use Annealing(keep=101)."
        )
    sharp = _Sharpened(model, positive(most, "rate_distortion: most")).eval()
    rates, distortions, accepted, betas = [], [], [], np.empty(0)
    for i, batch in enumerate(batches):
        found = ais(sharp, batch, noise.fork(str(i)), options, progress)
        betas = most * found.kept_betas
        weights = np.exp(found.running - found.running.max(1, keepdims=True))
        distortion = -(weights * found.log_likelihood).sum(1) / weights.sum(1) / most
        log_z = np.stack([log_mean_exp(one) for one in found.running])
        rates.append(-betas[:, None] * distortion - log_z)
        distortions.append(distortion)
        accepted.append(found.acceptance.mean())
    if not rates:
        raise ValueError("rate_distortion: there are no data. Give at least one batch.")
    how = f"{options.estimator}, to β = {most:g}"
    return Curve(betas, np.concatenate(rates, 1), np.concatenate(distortions, 1), float(np.mean(accepted)), how)


@final
class _Sharpened(Model):
    """The model with log p(x | z) multiplied by a factor, so that a path to its posterior goes past the model's own."""

    def __init__(self, model: Model, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor
        self.condition, self.support = model.condition, model.support

    def _scaled(self, trace: Trace) -> Trace:
        return replace(trace, log_likelihood=self.factor * trace.log_likelihood)

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        return self._scaled(self.model(x, c, draws, noise, mask))

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        return self._scaled(self.model.at(x, z, c, q, mask))

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self._scaled(self.model.infer(x, c, pick, mask))

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        return self.model.generate(n, c, pick)

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return self.model.latent_shapes
