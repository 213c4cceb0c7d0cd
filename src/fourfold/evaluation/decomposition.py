"""What the rate is spent on, over all data: mutual information, total correlation, dimension-wise KL."""

__all__ = ["Decomposition", "Undecomposable", "decomposition", "mixed"]

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..distributions.base import Factorised
from ..models import Model
from ..noise import Noise
from ..objectives.decomposition import undecomposable
from ..trace import Level
from .batches import BatchLike, ready


class Undecomposable(ValueError):
    """The posterior or the prior is no product over the latents, or there is not one group of them."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The three parts of the rate, in nats, for each of n draws of z; their means are the parts.

    Attributes:
        mi: log q(z | x) − log q(z), ``(n,)``: its mean is the mutual information, none of it above log N.
        tc: log q(z) − Σ log q(z_j), ``(n,)``: its mean is the total correlation.
        dwkl: Σ log q(z_j) − log p(z), ``(n,)``: its mean is the dimension-wise KL.
        posteriors: N, how many posteriors q(z) is made of.
    """

    mi: np.ndarray
    tc: np.ndarray
    dwkl: np.ndarray
    posteriors: int

    @property
    def estimator(self) -> str:
        """The estimator and its budget, in words."""
        return f"{len(self.mi)} draws of z against all {self.posteriors} posteriors"


@torch.inference_mode()
def decomposition(
    model: Model, batches: Iterable[BatchLike], noise: Noise, samples: int = 2000, numbers_per_chunk: int = 1 << 22
) -> Decomposition:
    r"""The rate of a model over N data in three parts, with q(z) of all N posteriors.

    .. math:: E_x \mathrm{KL}(q(z|x) \,\|\, p(z)) = I_q(x; z)
        + \mathrm{KL}\big(q(z) \,\|\, \textstyle\prod_j q(z_j)\big)
        + \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j)), \qquad q(z) = \frac1N \sum_n q(z \mid x_n)

    One z is drawn for each of some data, chosen without replacement; given these, the two mixtures are summed over all
    N posteriors, in float64. So the means are free of bias, and only the draws of z give them their standard error. All
    three are of the N data at hand: the mutual information cannot exceed log N, and near it says only that all of them
    can be told apart.

    Args:
        model: any model with one group of latents and posterior and prior that are products over them, in eval mode.
        batches: the data; parameters of all posteriors are kept.
        noise: where z is drawn from, and which data are chosen.
        samples: n, how many z; at most one for each datum.
        numbers_per_chunk: how many densities of single latents are held at once.

    Raises:
        Undecomposable: other posteriors, priors and models.
        ValueError: a model in training mode, or no data.

    References:
        Hoffman and Johnson 2016, "ELBO surgery"; Chen et al. 2018, arXiv:1802.04942.
    """
    ready(model, "decomposition")
    samples = positive_int(samples, "decomposition: samples")
    posteriors: list[Factorised] = []
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []
    for i, batch in enumerate(batches):
        levels = model(batch.x, batch.c, 1, noise.fork(str(i)), batch.mask).levels
        if reason := undecomposable(levels):
            raise Undecomposable(reason)
        posteriors.append(levels[0].q)
        drawn.append(_drawn(levels[0]))
    if not drawn:
        raise ValueError("decomposition: there are no data. Give at least one batch.")
    z, log_q, log_p = (torch.cat(part) for part in zip(*drawn, strict=True))
    n = len(z)
    chosen = noise.fork("rows").uniform((n,)).argsort()[:samples].sort().values
    z, log_q, log_p = z[chosen], log_q[chosen], log_p[chosen]
    widest = max(q.lead_shape[0] for q in posteriors)
    rows = max(numbers_per_chunk // (widest * z[0].numel()), 1)
    densities = [mixed(posteriors, chunk, n) for chunk in z.split(rows)]
    joint, by_latent = (torch.cat(part) for part in zip(*densities, strict=True))
    marginals = by_latent.sum(-1)
    parts = (log_q - joint, joint - marginals, marginals - log_p)
    mi, tc, dwkl = (part.cpu().numpy() for part in parts)
    return Decomposition(mi, tc, dwkl, n)


def _drawn(level: Level) -> tuple[Tensor, Tensor, Tensor]:
    """The only draw of each datum with its log q and log p, in float64."""
    z = level.z[0].double()
    return z, level.q.log_prob(z), level.p.log_prob(z)


def mixed(posteriors: list[Factorised], z: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """log q(z), ``(m,)``, and log q(z_j), ``(m, D)``, of each z under the mixture of all n posteriors."""
    latents = z[0].numel()
    joint = z.new_full((len(z),), -inf)
    marginals = z.new_full((len(z), latents), -inf)
    for q in posteriors:
        pairs = q.log_prob_by_element(z.unsqueeze(1)).flatten(2)  # (m, B, D)
        joint = torch.logaddexp(joint, pairs.sum(-1).logsumexp(1))
        marginals = torch.logaddexp(marginals, pairs.logsumexp(1))
    return joint - log(n), marginals - log(n)
