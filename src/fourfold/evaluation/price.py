"""What a nat of rate buys at the posterior that a model has: the weight of the rate that it acts by."""

__all__ = ["Price", "Unpriced", "price"]

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._checks import positive, positive_int
from ..distributions import DiagonalGaussian, Distribution
from ..models import Model
from ..noise import Noise
from ..objectives import rate
from ..trace import Trace
from .batches import BatchLike, ready


class Unpriced(ValueError):
    """A model whose posterior cannot be made a little narrower, with the reason."""


@dataclass(frozen=True, slots=True)
class Price:
    """Rate and distortion of N data as the posterior gets a little narrower, in nats.

    Attributes:
        rate: by how much the rate grows, ``(N,)``.
        distortion: by how much the distortion falls, ``(N,)``.
        step: log σ goes from so much above to so much below what it is.
        draws: draws of z for each datum.
    """

    rate: np.ndarray
    distortion: np.ndarray
    step: float
    draws: int

    @property
    def value(self) -> float:
        """Nats of distortion for one nat of rate; not a number where the rate does not change."""
        return float(self.distortion.mean() / self.rate.mean()) if self.moves else float("nan")

    @property
    def error(self) -> float:
        """Its standard error over the data: of a ratio of means."""
        if not self.moves:
            return float("nan")
        left = self.distortion - self.value * self.rate
        return float(left.std(ddof=1) / len(left) ** 0.5 / abs(self.rate.mean()))

    @property
    def moves(self) -> bool:
        """Whether the rate grows at all; that of a collapsed posterior does not."""
        return len(self.rate) > 1 and bool(self.rate.mean() > 0.01 * self.step)

    @property
    def estimator(self) -> str:
        """How it was estimated, in words."""
        return f"log σ ± {self.step:g}, {self.draws} draws with the same noise"


@torch.inference_mode()
def price(model: Model, batches: Iterable[BatchLike], noise: Noise, draws: int = 4, step: float = 0.1) -> Price:
    r"""How many nats of distortion one more nat of rate buys, the posterior being made a little narrower everywhere.

    .. math:: -\frac{dD}{dR}\Big|_{\sigma \to e^{-t}\sigma}, \qquad D = E_q[-\log p(x \mid z)], \quad R = \mathrm{KL}(q
        \,\|\, p)

    At a maximum of E log p(x | z) − β R over posteriors it is β, on the data that they were fitted to: 1 for the ELBO.
    More says that rate is held back, and that the bound would gain by paying more; less, that rate is paid which is not
    worth its price. All levels get narrower together. A posterior that equals its prior has no rate to move, and an
    importance-weighted bound is not at its best at this optimum: its posteriors are wider.

    Args:
        model: any model whose posteriors are diagonal Gaussians, in eval mode.
        batches: the data; those it was trained on, if the question is what training did.
        noise: where z is drawn from; both ends of the step see the same noise.
        draws: draws of z for each datum.
        step: how far log σ is moved to either side.

    Raises:
        Unpriced: another posterior, or no latents.
        ValueError: a model in training mode, or no data.

    References:
        Alemi et al. 2018, "Fixing a broken ELBO", arXiv:1711.00464, where β is the slope of the curve.
    """
    ready(model, "price")
    step, draws = positive(step, "price: step"), positive_int(draws, "price: draws")
    rates, distortions = [], []
    for i, batch in enumerate(batches):
        wide, narrow = (_scored(model, batch, noise.fork(str(i)), draws, side) for side in (step, -step))
        rates.append(narrow[0] - wide[0])
        distortions.append(wide[1] - narrow[1])
    if not rates:
        raise ValueError("price: there are no data. Give at least one batch.")
    return Price(torch.cat(rates).cpu().numpy(), torch.cat(distortions).cpu().numpy(), step, draws)


def _scored(model: Model, batch: BatchLike, noise: Noise, draws: int, step: float) -> tuple[Tensor, Tensor]:
    """Rate and distortion of each datum under posteriors whose log σ is moved by a step."""

    def pick(i: int, q: Distribution) -> Tensor:
        return _moved(q, step).sample(noise, None if i else draws)

    trace: Trace = model.infer(batch.x, batch.c, pick, batch.mask)
    if not trace.levels:
        raise Unpriced("the model has no latents.")
    levels = [replace(level, q=_moved(level.q, step), recorded=None) for level in trace.levels]
    found = torch.stack([rate(level).double() for level in levels]).sum(0)
    return found, -trace.log_likelihood.double().mean(0)


def _moved(q: Distribution, step: float) -> DiagonalGaussian:
    if not isinstance(q, DiagonalGaussian):
        raise Unpriced(f"{type(q).__name__} has no scale of its own to make narrower: it wants diagonal Gaussians.")
    return DiagonalGaussian(q.loc, q.log_scale + step, q.event_ndim)
