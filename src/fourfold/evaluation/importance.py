"""The likelihood of each datum by importance sampling, at a memory that does not grow with the number of samples."""

__all__ = ["Progress", "Sampling", "log_weights", "nll_importance"]

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf, log

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, positive_int
from ..distributions import Distribution
from ..models import Model
from ..noise import Noise
from .batches import BatchLike, ChunkedNoise, ready

#: ``progress(done, total)`` in data; the total is ``None`` where it is not known.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a likelihood is estimated: the budget and the proposal.

    Args:
        samples: K, draws of z for each datum.
        proposal: ``"posterior"``: z ~ q(z | x, c), importance sampling; ``"prior"``: z ~ p(z | c), plain Monte Carlo.
        rows_per_chunk: how many rows (draws × batch) are decoded at once, if it is at least 64 and one draw.
    """

    samples: int = 5000
    proposal: str = "posterior"
    rows_per_chunk: int = 2500

    def __post_init__(self) -> None:
        positive_int(self.samples, "Sampling: samples")
        positive_int(self.rows_per_chunk, "Sampling: rows_per_chunk")
        choice(self.proposal, ("posterior", "prior"), "Sampling: proposal")

    @property
    def estimator(self) -> str:
        """The estimator and its budget, in words."""
        if self.proposal == "prior":
            return f"Monte Carlo, S = {self.samples}, z ~ p(z)"
        return f"importance sampling, K = {self.samples}, z ~ q(z|x)"


def log_weights(
    model: Model, batch: BatchLike, noise: Noise, sampling: Sampling = Sampling()
) -> Iterator[Float[Tensor, "S B"]]:
    r"""The logarithms of the importance weights of one batch, in chunks of draws: K rows in all.

    .. math:: \log w = \log p(x \mid z) + \log p(z) - \log q(z \mid x)

    or log p(x | z) for draws from the prior. The encoder runs once where there is one level of latents; in a hierarchy
    the posteriors of the lower levels depend on the draws of the upper ones, and it runs for each chunk. A model
    without latents gives one row, its exact log-likelihood. All draws of a one-hot posterior are the same, and decoded
    once.

    The draws depend on the noise's key and the batch's size, not on ``rows_per_chunk``.

    Raises:
        ValueError: a model in training mode; a posterior without density as proposal.
    """
    ready(model, "log_weights")
    source = ChunkedNoise(noise.fork("z"), len(batch.x))
    # Inference mode must not last while the caller holds a chunk, so it is entered anew for each.
    with torch.inference_mode():
        trace = model(batch.x, batch.c, 1, noise.fork("first"), batch.mask)
    if not trace.levels:
        yield trace.log_likelihood
        return
    prior = sampling.proposal == "prior"
    if not prior and all(level.q.certain for level in trace.levels):
        with torch.inference_mode():
            score = partial(_repeated, trace.log_weight)
    elif len(trace.levels) > 1:
        score = partial(_from_prior if prior else _from_posterior, model, batch, source)
    else:
        level = trace.levels[0]
        proposal = level.p.expand((len(batch.x),)) if prior else level.q
        score = partial(_from_level, model, batch, source, proposal, prior)
    del trace
    for draws in source.passes(sampling.samples, sampling.rows_per_chunk):
        with torch.inference_mode():
            weights = score(draws)
        yield weights


def nll_importance(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    sampling: Sampling = Sampling(),
    progress: Progress | None = None,
) -> np.ndarray:
    r"""−log p(x) of each datum in nats, estimated with K draws of z, as a float64 array ``(N,)``.

    .. math:: -\log \hat p_K(x) = \log K - \operatorname{logsumexp}_k \log w_k

    A stochastic upper bound on −log p(x): too high on average, less so as K grows. Densities are those of the model, in
    float32 or better; the sum over draws runs in float64, chunk by chunk, so memory does not grow with K. The numbers
    depend on the noise's key and on how the data are cut into batches, not on ``rows_per_chunk``.

    Args:
        model: any model, in eval mode.
        batches: the data.
        noise: where z is drawn from; each batch has its own fork.
        sampling: K, the proposal, and how much is decoded at once.
        progress: called after each batch.

    Raises:
        ValueError: a model in training mode, no data, or a posterior without density as proposal.

    References:
        Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519; Sohn, Lee and Yan 2015 for the prior as proposal.
    """
    # glibc keeps freed memory of up to twice the largest block that was ever freed. After one large block (whose pages
    # are never touched) a chunk's memory is reused by the next, not given back and faulted in again: 1.5 × on a CPU.
    torch.empty(31 << 20, dtype=torch.uint8)
    values: list[np.ndarray] = []
    done = 0
    for i, batch in enumerate(batches):
        values.append(_nll(log_weights(model, batch, noise.fork(str(i)), sampling)))
        done += len(values[-1])
        if progress:
            progress(done, None)
    if not values:
        raise ValueError("nll_importance: there are no data. Give at least one batch.")
    return np.concatenate(values)


def _nll(weights: Iterator[Tensor]) -> np.ndarray:
    """log K − logsumexp over all rows, keeping one running value a datum."""
    total, count = torch.tensor(-inf, dtype=torch.float64), 0
    for chunk in weights:
        with torch.inference_mode():
            total = torch.logaddexp(total, chunk.double().logsumexp(0))
        count += len(chunk)
    return (log(count) - total).cpu().numpy()


def _repeated(weight: Tensor, draws: int) -> Tensor:
    return weight.expand(draws, -1)


def _from_level(
    model: Model, batch: BatchLike, source: ChunkedNoise, proposal: Distribution, prior: bool, draws: int
) -> Tensor:
    z, log_q = proposal.sample_with_log_prob(source, draws)
    trace = model.at(batch.x, (z,), batch.c, q=False, mask=batch.mask)
    if prior:
        return trace.log_likelihood
    return replace(trace, levels=(replace(trace.levels[0], q=proposal, recorded=log_q),)).log_weight


def _from_posterior(model: Model, batch: BatchLike, source: ChunkedNoise, draws: int) -> Tensor:
    return model(batch.x, batch.c, draws, source, batch.mask).log_weight


def _from_prior(model: Model, batch: BatchLike, source: ChunkedNoise, draws: int) -> Tensor:
    x, c, mask = batch.x, batch.c, batch.mask
    c = None if c is None else _tiled(c, draws)
    p_x = model.generate(draws * len(x), c, lambda i, p: p.sample(source)).p_x
    mask = None if mask is None else _tiled(mask.expand(x.shape), draws)
    return p_x.log_prob(_tiled(x, draws), mask).unflatten(0, (draws, len(x)))


def _tiled(part: Tensor, draws: int) -> Tensor:
    return part.expand(draws, *part.shape).flatten(0, 1)
