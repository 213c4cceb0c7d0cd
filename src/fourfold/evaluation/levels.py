"""What each level of latents adds to what is known of the data, and what it costs: the information shortcut, seen."""

__all__ = ["LevelInformation", "level_information"]

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from ..objectives import rate
from .batches import BatchLike, ready
from .decomposition import Undecomposable
from .importance import Progress


@dataclass(frozen=True, slots=True)
class LevelInformation:
    """Rates and information of the levels, from the top, in nats.

    Attributes:
        rates: log q − log p of each level, or its KL where that is part of the bound, ``(N, L)``.
        added: log q(z_l | x, …) − log q(z_l | …) at n draws, ``(n, L)``, … being the levels inferred before: the mean
            is I(x; z_l | …), and over all levels they sum to I(x; z).
        upward: whether levels are inferred from the bottom: then what an upper level adds to those below is 0.
        posteriors: N, how many data q is mixed of.
    """

    rates: np.ndarray
    added: np.ndarray
    upward: bool
    posteriors: int

    @property
    def estimator(self) -> str:
        """The estimator and its budget, in words."""
        way = "below" if self.upward else "above"
        return f"{len(self.added)} draws of z against all {self.posteriors} posteriors, given the levels {way}"

    @property
    def most(self) -> float:
        """log N: what the sum cannot exceed here."""
        return float(np.log(self.posteriors))


@torch.inference_mode()
def level_information(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    samples: int = 100,
    progress: Progress | None = None,
    rows_per_chunk: int = 4000,
) -> LevelInformation:
    r"""What each level tells of the data beyond the levels inferred before it, and its rate.

    .. math:: I(x; z_l \mid z_{>l}) = I(x; z_{\ge l}) - I(x; z_{>l}), \qquad
        I(x; z_{\ge l}) = \mathbb{E}\Big[\sum_{i \ge l} \log q(z_i \mid z_{>i}, x)
        - \log \frac1N \sum_n \prod_{i \ge l} q(z_i \mid z_{>i}, x_n)\Big]

    from the top down; for a model that infers from the bottom up, from the bottom. It holds for every posterior with a
    density, as the product on the right is evaluated at given latents, where no mixture is hidden. The estimates are of
    the N data at hand, and their sum cannot exceed log N. A rate above what a level adds is spent on q(z) not being p.

    Args:
        model: any model with latents and densities, unconditional, in eval mode.
        batches: the data; all of them are kept.
        noise: where z is drawn from, and which data are chosen.
        samples: n, how many z; the model is run at n × N pairs.
        progress: told (done, total) pairs.
        rows_per_chunk: pairs at once.

    Raises:
        Undecomposable: conditional models, models without latents or with a point for a posterior.
        ValueError: a model in training mode, or no data.

    References:
        Zhao, Song and Ermon 2017, arXiv:1702.08396, on hierarchies whose bottom level alone suffices; Hoffman and
        Johnson 2016, "ELBO surgery".
    """
    ready(model, "level_information")
    samples = positive_int(samples, "level_information: samples")
    upward = not getattr(model, "downward", True)
    seen, drawn, rates = [], [], []
    for i, batch in enumerate(batches):
        if batch.c is not None:
            raise Undecomposable("the model is given c: what its levels tell is told for each c, not for all.")
        levels = model(batch.x, None, 1, noise.fork(str(i)), batch.mask).levels
        if not levels or not all(level.q.has_density for level in levels):
            raise Undecomposable("the model has no latents with a density.")
        seen.append(batch.x)
        drawn.append([level.z[0] for level in levels])
        rates.append(torch.stack([rate(level).double().expand(len(batch.x)) for level in levels], 1))
    if not seen:
        raise ValueError("level_information: there are no data. Give at least one batch.")
    x, z = torch.cat(seen), [torch.cat(part) for part in zip(*drawn, strict=True)]
    n = len(x)
    chosen = noise.fork("rows").uniform((n,)).argsort()[:samples].sort().values.to(x.device)
    z = [part[chosen] for part in z]
    own = _told(model, x[chosen], [part[None] for part in z], upward)[0]
    mixed = torch.full_like(own, -inf)
    for first in range(0, n, most := max(rows_per_chunk // len(chosen), 1)):
        few = x[first : first + most]
        pairs = _told(model, few, [part[:, None].expand(-1, len(few), *part.shape[1:]) for part in z], upward)
        mixed = torch.logaddexp(mixed, pairs.logsumexp(1))
        if progress:
            progress(min(first + most, n) * len(chosen), n * len(chosen))
    known = own - (mixed - log(n))  # (n, L), cumulative in the order of inference
    added = torch.diff(known, dim=1, prepend=known.new_zeros(len(known), 1))
    added = added.flip(1) if upward else added
    return LevelInformation(torch.cat(rates).cpu().numpy(), added.cpu().numpy(), upward, n)


def _told(model: Model, x: Tensor, z: list[Tensor], upward: bool) -> Tensor:
    """log q of given latents, summed over the levels inferred so far, ``(S, B, L)``, in float64."""
    lead = (z[0].shape[0], len(x))
    each = [level.log_q.double().expand(lead) for level in model.at(x, tuple(z)).levels]
    return torch.stack(each[::-1] if upward else each, -1).cumsum(-1)
