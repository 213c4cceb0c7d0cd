"""The evidence lower bound of each datum, and its parts."""

__all__ = ["PerDatum", "elbo"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..distributions import OneHot
from ..distributions.base import sum_events
from ..models import Model
from ..noise import Noise
from ..trace import Level
from .batches import BatchLike, ChunkedNoise, ready


@dataclass(frozen=True, slots=True)
class PerDatum:
    """The ELBO and its parts for N data, in nats, as float64 arrays.

    Attributes:
        distortion: −log p(x | z), averaged over the draws, ``(N,)``.
        rates: the rate of each level, ``(N,)``; ``None`` where a posterior is a point.
        kl_per_latent: for each level the closed-form KL of every latent, averaged over the data, of the latent's shape;
            ``None`` where there is no closed form for each. Empty without latents, or without a rate.
        closed: for each level whether its rate has a closed form.
        squared_error: (x − mean)², averaged over the modelled elements, ``(N,)``; for autoencoders, else ``None``.
        dims: how many elements of each datum are modelled, ``(N,)``.
        draws: draws of z for each datum.
        mass: whether p(x | z) is a probability mass; if not, it is a density, whose nats depend on the data's units.
        reason: why there is no bound, if there is none.
        codes: for each level how many codes there are, where its latents are codes under a one-hot posterior.
        grey: whether grey values were given to a likelihood of 0 and 1: its numbers are cross-entropies then, of no
            distribution, and nothing is a bound.
    """

    distortion: np.ndarray
    rates: tuple[np.ndarray, ...] | None
    kl_per_latent: tuple[np.ndarray | None, ...]
    closed: tuple[bool, ...]
    squared_error: np.ndarray | None
    dims: np.ndarray
    draws: int
    mass: bool
    reason: str | None = None
    codes: tuple[int | None, ...] = ()
    grey: bool = False

    @property
    def certain(self) -> bool:
        """Whether every posterior is one-hot: then one draw of z is all draws, and its weight is the bound."""
        return bool(self.codes) and all(self.codes)

    @property
    def rate(self) -> np.ndarray | None:
        """Σ over levels of KL(q ‖ p), ``(N,)``: zero for a model without latents."""
        return None if self.rates is None else sum(self.rates, np.zeros_like(self.distortion))

    @property
    def elbo(self) -> np.ndarray | None:
        """−distortion − rate, ``(N,)``; the log-likelihood itself for a model without latents."""
        rate = self.rate
        return None if rate is None else -self.distortion - rate

    @property
    def exact(self) -> bool:
        """Whether the model has no latents, so that its ELBO is its log-likelihood."""
        return not self.kl_per_latent and self.reason is None

    @property
    def estimator(self) -> str:
        """How the bound was estimated, and with what budget."""
        if self.exact:
            return "exact, no latents"
        some = "KL analytic where closed" if any(self.closed) else "Monte Carlo KL"
        how = "analytic KL" if all(self.closed) else some
        return f"{self.draws} draw{'s' if self.draws > 1 else ''}, {how}"


@torch.inference_mode()
def elbo(
    model: Model, batches: Iterable[BatchLike], noise: Noise, draws: int = 1, rows_per_chunk: int = 2500
) -> PerDatum:
    r"""The evidence lower bound of each datum, in one pass over data of any size.

    .. math:: \mathrm{ELBO}(x) = \underbrace{E_q \log p(x \mid z)}_{-\text{distortion}}
        - \underbrace{\mathrm{KL}(q(z \mid x) \,\|\, p(z))}_{\text{rate}}

    The rate is the analytic KL where the families have one, and log q − log p at the draws where not. The numbers
    depend on the noise's key and on how the data are cut into batches, not on ``rows_per_chunk``. Penalties of a model
    and weights of an objective play no part.

    Args:
        model: any model, in eval mode.
        batches: the data.
        noise: where z is drawn from; each batch has its own fork.
        draws: draws of z for each datum.
        rows_per_chunk: how many rows (draws × batch) are decoded at once, if it is at least 64 and one draw.

    Raises:
        ValueError: a model in training mode, or no data.
    """
    ready(model, "elbo")
    draws, rows = positive_int(draws, "elbo: draws"), positive_int(rows_per_chunk, "elbo: rows_per_chunk")
    parts: list[_Scores] = []
    kl: tuple[Tensor | None, ...] = ()
    for i, batch in enumerate(batches):
        scores = _score(model, batch, ChunkedNoise(noise.fork(str(i)), len(batch.x)), draws, rows)
        kl, scores.kl = _added(kl, scores.kl), ()
        parts.append(scores)
    if not parts:
        raise ValueError("elbo: there are no data. Give at least one batch.")
    last, n = parts[-1], sum(len(part.distortion) for part in parts)
    errors = [part.squared_error for part in parts if part.squared_error is not None]
    return PerDatum(
        distortion=_joined(part.distortion for part in parts),
        rates=None if last.reason else tuple(map(_joined, zip(*(part.rates for part in parts), strict=True))),
        kl_per_latent=tuple(None if total is None else (total / n).cpu().numpy() for total in kl),
        closed=last.closed,
        squared_error=_joined(errors) if errors else None,
        dims=_joined(part.dims for part in parts).astype(np.int64),
        draws=draws,
        mass=last.mass,
        reason=last.reason,
        codes=last.codes,
        grey=any(part.grey for part in parts),
    )


@dataclass(slots=True)
class _Scores:
    """Means over the draws of one batch; ``kl`` is summed over its data."""

    distortion: Tensor
    dims: Tensor
    rates: tuple[Tensor, ...] = ()
    kl: tuple[Tensor | None, ...] = ()
    closed: tuple[bool, ...] = ()
    squared_error: Tensor | None = None
    mass: bool = False
    reason: str | None = None
    codes: tuple[int | None, ...] = ()
    grey: bool = False


def _score(model: Model, batch: BatchLike, source: ChunkedNoise, draws: int, rows: int) -> _Scores:
    elements = _elements(batch)
    scores = _Scores(torch.zeros_like(elements[:, 0]), elements.sum(1))
    x = batch.x.flatten(1)
    scores.grey = model.support == "binary" and bool(((x != 0) & (x != 1) & (elements != 0)).any())
    for part in source.passes(draws, rows):
        trace = model(batch.x, batch.c, part, source, batch.mask)
        scores.distortion = scores.distortion - trace.log_likelihood.double().sum(0) / draws
        scores.mass = trace.p_x.mass
        scores.codes = tuple(q.levels if isinstance(q := level.q, OneHot) else None for level in trace.levels)
        points = [type(level.q).__name__ for level in trace.levels if not level.q.has_density]
        if points:
            scores.reason = f"{points[0]} has no density, so there is no rate and no bound on log p(x)"
            if trace.p_x.has_mean:
                error = (batch.x.double() - trace.p_x.mean[0].double()).square().flatten(1)
                scores.squared_error = (error * elements).sum(1) / elements.sum(1)
        parts = [_rate(level, part / draws) for level in trace.levels if level.q.has_density]
        scores.rates = _added(scores.rates, tuple(rate for rate, _, _ in parts))
        scores.kl = _added(scores.kl, tuple(kl for _, kl, _ in parts))
        scores.closed = tuple(closed for _, _, closed in parts)
    return scores


def _rate(level: Level, share: float) -> tuple[Tensor, Tensor | None, bool]:
    """The rate of each datum; its sum over the batch for each latent, where that is closed; whether it is at all."""
    by_element, event = level.kl_by_element, len(level.q.event_shape)
    if by_element is not None:
        kl = share * (by_element.double().mean(0) if by_element.ndim - event == 2 else by_element.double())
        return sum_events(kl, event), kl.sum(0), True
    closed = level.kl
    rate = (level.log_ratio if closed is None else closed).double()
    return share * (rate.mean(0) if rate.ndim == 2 else rate), None, closed is not None


def _added(so_far: tuple[Any, ...], more: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sums, one by one; what is not known in one part is not known in the whole."""
    pairs = zip(so_far or (0,) * len(more), more, strict=True)
    return tuple(None if b is None else a + b for a, b in pairs)


def _elements(batch: BatchLike) -> Tensor:
    """1 on the modelled elements, ``(B, D)``."""
    one = torch.ones((), dtype=torch.float64, device=batch.x.device)
    return (one if batch.mask is None else batch.mask.double()).expand(batch.x.shape).flatten(1)


def _joined(parts: Iterable[Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).cpu().numpy()
