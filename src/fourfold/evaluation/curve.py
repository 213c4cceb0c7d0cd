"""The bias of importance sampling, shown: the bound at many K from one stream of weights."""

__all__ = ["ImportanceCurve", "importance_curve"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from .batches import BatchLike
from .importance import Progress, Sampling, log_weights


@dataclass(frozen=True, slots=True)
class ImportanceCurve:
    """The importance-weighted bound of N data at several K.

    Attributes:
        samples: K, in rising order.
        bounds: L_K of each datum in nats, float64: the average over the groups.
        groups: how many disjoint groups of K draws each is the average of.
    """

    samples: tuple[int, ...]
    bounds: Float[np.ndarray, "M N"]
    groups: tuple[int, ...]

    def at(self, samples: int) -> Float[np.ndarray, " N"]:
        """L_K of each datum at this K."""
        return self.bounds[self.samples.index(samples)]

    def estimator(self, samples: int) -> str:
        """The estimator at this K and its budget, in words."""
        groups = self.groups[self.samples.index(samples)]
        if samples == 1:
            return f"{groups} draw{'s' if groups > 1 else ''}, Monte Carlo KL"
        return Sampling(samples).estimator + (f", mean of {groups} groups" if groups > 1 else "")


def importance_curve(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    samples: Sequence[int] = (1, 10, 100, 1000, 10_000),
    rows_per_chunk: int = 2500,
    progress: Progress | None = None,
) -> ImportanceCurve:
    r"""The importance-weighted bound at each K, from the largest K draws of z ~ q(z | x) of each datum.

    .. math:: \mathcal L_K = E \log \frac1K \sum_{k=1}^K w_k, \qquad
        \mathcal L_1 = \mathrm{ELBO} \le \mathcal L_{10} \le \dots \le \log p(x)

    All draws serve every K: at a smaller one the bound is averaged over disjoint groups of K draws, which leaves its
    mean as it is and takes most of its noise away. (Draws beyond the last whole group serve it not.) Weights come in
    chunks, so memory grows neither with K nor with their number. The curve shows how far it still rises, which says
    little of how far it has to go: that a curve is flat does not mean that it has arrived.

    Args:
        model: any model whose posterior has a density, in eval mode.
        batches: the data.
        noise: where z is drawn from; each batch has its own fork.
        samples: the values of K.
        rows_per_chunk: how many rows (draws × batch) are decoded at once.
        progress: ``progress(done, None)`` in draws of z, over all data.

    Raises:
        ValueError: a model in training mode or without latents, no data, a posterior without density.

    References:
        Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519.
    """
    wanted = tuple(sorted({positive_int(k, "importance_curve: samples") for k in samples}))
    if not wanted:
        raise ValueError("importance_curve: samples names no K. Give for example (1, 10, 100).")
    budget = Sampling(wanted[-1], rows_per_chunk=rows_per_chunk)
    if not model.latent_shapes:
        raise ValueError("importance_curve: this model has no latents: its log-likelihood is exact, at every K.")
    found: list[np.ndarray] = []
    done = 0
    for i, batch in enumerate(batches):
        groups = [_Groups(k) for k in wanted]
        for chunk in log_weights(model, batch, noise.fork(str(i)), budget):
            for group in groups:
                group.add(chunk.double())
            done += chunk.numel()
            if progress:
                progress(done, None)
        found.append(np.stack([group.mean() for group in groups]))
    if not found:
        raise ValueError("importance_curve: there are no data. Give at least one batch.")
    return ImportanceCurve(wanted, np.concatenate(found, 1), tuple(wanted[-1] // k for k in wanted))


class _Groups:
    """The mean of log (1/K) Σ w over whole groups of K draws of each datum, while the weights come in."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.total, self.whole = torch.zeros((), dtype=torch.float64), 0
        self.open: list[Tensor] = []  # what is summed up of a group that is not whole yet
        self.missing = samples

    def add(self, weights: Float[Tensor, "S B"]) -> None:
        """More weights, in float64."""
        head, rest = weights[: self.missing], weights[self.missing :]
        self.open = [torch.stack([*self.open, head.logsumexp(0)]).logsumexp(0)]
        self.missing -= len(head)
        if self.missing:
            return
        count = len(rest) // self.samples
        inside = rest[: count * self.samples].unflatten(0, (count, self.samples)).logsumexp(1).sum(0)
        self.total, self.whole = self.total + self.open[0] + inside, self.whole + 1 + count
        self.open, self.missing = [], self.samples
        if count * self.samples < len(rest):
            self.add(rest[count * self.samples :])

    def mean(self) -> np.ndarray:
        """The bound of each datum."""
        return (self.total / self.whole - log(self.samples)).cpu().numpy()
