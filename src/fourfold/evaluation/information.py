"""What each latent knows of the data, and what it costs: mutual information and KL, latent by latent."""

__all__ = ["Information", "information"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..distributions.base import Factorised
from ..models import Model
from ..noise import Noise
from ..trace import Level
from .batches import BatchLike, ready
from .decomposition import Undecomposable, mixed
from .importance import Progress


@dataclass(frozen=True, slots=True)
class Information:
    """Mutual information of data and latents, in nats, at n draws of z against the posteriors of N data.

    The means over n are the estimates. Given the N data they have no bias; none can exceed log N, and near log N a
    mean says only that all the data can be told apart.

    Attributes:
        joint: log q(z | x) − log q(z), ``(n,)``.
        by_latent: log q(z_d | x) − log q(z_d), ``(n, D)``.
        tc: log q(z) − Σ log q(z_d), ``(n,)``: its mean is the total correlation of q(z).
        marginal_kl: log q(z) − log p(z), ``(n,)``: its mean is KL(q(z) ‖ p(z)); ``None`` where p depends on c.
        posteriors: N, how many posteriors q(z) is made of.
        levels: how many levels the model has; this is of the top one.
    """

    joint: np.ndarray
    by_latent: np.ndarray
    tc: np.ndarray
    marginal_kl: np.ndarray | None
    posteriors: int
    levels: int = 1

    @property
    def estimator(self) -> str:
        """The estimator and its budget, in words."""
        top = f", top level of {self.levels}" if self.levels > 1 else ""
        return f"{len(self.joint)} draws of z against all {self.posteriors} posteriors{top}"

    @property
    def most(self) -> float:
        """log N: what a mutual information cannot exceed here."""
        return float(np.log(self.posteriors))


@torch.inference_mode()
def information(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    samples: int = 1000,
    progress: Progress | None = None,
    numbers_per_chunk: int = 1 << 22,
) -> Information:
    r"""The mutual information of the data with all latents of the top level, and with each of them.

    .. math:: I(x; z) = \mathbb{E}\Big[\log q(z \mid x) - \log \frac1N \sum_n q(z \mid x_n)\Big], \qquad
        I(x; z_d) = \mathbb{E}\Big[\log q(z_d \mid x) - \log \frac1N \sum_n q(z_d \mid x_n)\Big]

    One z is drawn for each of some data, chosen without replacement; the mixtures are summed over all N posteriors in
    float64. The parts do not add up to the whole: Σ I(x; z_d) − I(x; z) is the total correlation of q(z), what the
    latents say twice. The prior need be no product over the latents, as it must for ``decomposition``.

    Args:
        model: any model whose top posterior is a product over its latents, in eval mode.
        batches: the data; parameters of all posteriors are kept.
        noise: where z is drawn from, and which data are chosen.
        samples: n, how many z; at most one for each datum.
        progress: told (done, total) draws of z.
        numbers_per_chunk: how many densities of single latents are held at once.

    Raises:
        Undecomposable: other posteriors (of a hierarchy that infers from the bottom up too), models without latents.
        ValueError: a model in training mode, or no data.

    References:
        Hoffman and Johnson 2016, "ELBO surgery"; Chen et al. 2018, arXiv:1802.04942.
    """
    ready(model, "information")
    samples = positive_int(samples, "information: samples")
    posteriors: list[Factorised] = []
    drawn: list[tuple[Tensor, ...]] = []
    levels, given = 0, False
    for i, batch in enumerate(batches):
        found = model(batch.x, batch.c, 1, noise.fork(str(i)), batch.mask).levels
        levels = len(found)
        posteriors.append(_product(found))
        given = bool(found[0].p.lead_shape)
        drawn.append(_scored(found[0], posteriors[-1]))
    if not drawn:
        raise ValueError("information: there are no data. Give at least one batch.")
    z, own, log_p = (torch.cat(part) for part in zip(*drawn, strict=True))
    n = len(z)
    chosen = noise.fork("rows").uniform((n,)).argsort()[:samples].sort().values
    z, own, log_p = z[chosen], own[chosen], log_p[chosen]
    widest = max(q.lead_shape[0] for q in posteriors)
    densities = []
    for chunk in z.split(max(numbers_per_chunk // (widest * z[0].numel()), 1)):
        densities.append(mixed(posteriors, chunk, n))
        if progress:
            progress(sum(len(joint) for joint, _ in densities), len(z))
    joint, marginals = (torch.cat(part) for part in zip(*densities, strict=True))
    parts = (own.sum(1) - joint, own - marginals, joint - marginals.sum(1), joint - log_p)
    shared, by_latent, tc, marginal_kl = (part.cpu().numpy() for part in parts)
    return Information(shared, by_latent, tc, None if given else marginal_kl, n, levels)


def _product(levels: tuple[Level, ...]) -> Factorised:
    """The top posterior, if the density of a single latent is to be had from it."""
    if not levels:
        raise Undecomposable("the model has no latents.")
    q = levels[0].q
    if isinstance(q, Factorised) and len(q.lead_shape) != 1:
        raise Undecomposable(
            "the top posterior sees draws of the levels below it: its q(z | x) is a mixture over these, and has no "
            "density that could be told. Information is of models whose top posterior sees x alone."
        )
    if not isinstance(q, Factorised):
        raise Undecomposable(
            f"{type(q).__name__} has no density of a single latent, so there is no q(z_d): it needs a posterior that "
            "is a product over the latents, such as the diagonal Gaussian."
        )
    return q


def _scored(level: Level, q: Factorised) -> tuple[Tensor, Tensor, Tensor]:
    """The only draw of each datum, log q of each of its latents ``(B, D)``, and its log p, in float64."""
    z = level.z[0].double()
    # A prior with a network of its own takes z in the type of its weights.
    return z, q.log_prob_by_element(z).flatten(1), level.p.log_prob(level.z[0]).double()
