"""The aggregate posterior against the prior: do they differ, by how much, and where?"""

__all__ = ["Aggregate", "Plane", "aggregate"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from ..statistics import RBF, Finding, ksd_test, median_bandwidth, median_distance, mmd2, mmd_test, witness
from ..trace import Level
from .batches import BatchLike, ready

#: Directions are looked for from so many latents, and so many random starts, by so many steps.
_STARTS, _ASCENT = 6, 80
_STEPS = 61
#: Single latents are compared with so many draws.
_FEW = 1000
_PERMUTATIONS = 200


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane of two directions in which draws of q(z) and of p(z) differ most.

    Attributes:
        directions: two vectors ``(2, D)``: their products with z are the coordinates. Each latent is weighed in units
            of its own scale, and the two are orthogonal in these. Of a single latent both are the same.
        test: the two-sample test in the plane, of other draws than those it was looked for with.
        posterior: these draws of q(z), ``(m, 2)``.
        prior: these draws of p(z), ``(m, 2)``.
        surface: the witness function, ``(k, k)``: above 0 where there is more q(z) than p(z).
        extent: from where to where both coordinates go.
    """

    directions: np.ndarray
    test: Finding
    posterior: np.ndarray
    prior: np.ndarray
    surface: np.ndarray
    extent: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The aggregate posterior q(z) = E_x q(z | x) against the prior.

    Attributes:
        mmd: the two-sample test of draws of q(z) and of p(z), of all levels together.
        ksd: the goodness-of-fit test of draws of q(z) against ∇ log p(z), or ``None``.
        reason: why there is no ``ksd``.
        by_latent: the unbiased MMD² of every single latent, ``(D,)``; levels one after another, from the top.
        plane: where they differ most.
    """

    mmd: Finding
    ksd: Finding | None
    reason: str | None
    by_latent: np.ndarray
    plane: Plane


def aggregate(
    model: Model, batches: Iterable[BatchLike], noise: Noise, samples: int = 2000, permutations: int = 500
) -> Aggregate:
    r"""Draws of the aggregate posterior against the prior, by two tests and in the plane where they differ most.

    .. math:: q(z) = \frac1N \sum_n q(z \mid x_n) \quad\text{against}\quad p(z)

    One z is drawn for each of some data, chosen without replacement, and one from the prior (given that datum's c, if
    there is one). The MMD needs draws of both; the kernel Stein discrepancy needs the prior's score alone, had by
    automatic differentiation of log p(z), and is not offered where the prior is another for each c. A hierarchy is
    tested as one vector: all levels together. With enough draws every model differs; compare values, of one n.

    Args:
        model: any model with latents, in eval mode.
        batches: the data.
        noise: its forks draw z, which data are taken, and the permutations.
        samples: how many data are drawn for; all of them if there are fewer.
        permutations: of the two-sample test; as many sign vectors, doubled, of the other.

    Raises:
        ValueError: a model in training mode or without latents; fewer than four data.

    References:
        Gretton et al. 2012, JMLR 13; Liu, Lee and Jordan 2016, arXiv:1602.03253; Gorham and Mackey 2017,
        arXiv:1703.01717, for the kernel. The length of the kernel is the median distance of prior draws in both.
    """
    ready(model, "aggregate")
    samples = positive_int(samples, "aggregate: samples")
    parts = [_pair(model, batch, noise.fork(str(i))) for i, batch in enumerate(batches)]
    if not parts:
        raise ValueError("aggregate: there are no data. Give at least four.")
    posterior, prior, score = (_stacked(column) for column in zip(*(part[:3] for part in parts), strict=True))
    reason = parts[0][3]
    if posterior is None or prior is None or len(posterior) < 4:
        raise ValueError("aggregate: at least four data are needed. Give more.")
    order = noise.fork("rows").uniform((len(posterior),)).argsort().to(posterior.device)
    rows = order[:samples]
    q, p = posterior[rows], prior[rows]
    length = median_distance(p, noise.fork("length"))
    mmd = mmd_test(q, p, RBF(length), permutations=permutations, noise=noise.fork("mmd"))
    ksd = None
    if score is not None:
        ksd = ksd_test(q, score[rows], c=length, draws=2 * permutations, noise=noise.fork("ksd"))
    # The plane is looked for with other draws than those it is tested with and drawn.
    half = len(order) // 2 if len(order) < 2 * samples else samples
    seen, kept = order[half:], order[:half]
    scale = torch.cat((posterior, prior)).std(0).clamp(min=1e-12)
    x, y = posterior[seen] / scale, prior[seen] / scale
    alone = [_mmd2(x[:_FEW, [d]], y[:_FEW, [d]], noise) for d in range(q.shape[1])]
    first = _direction(x, y, alone, None, noise.fork("first"))
    second = first if q.shape[1] == 1 else _direction(x, y, alone, first, noise.fork("second"))
    directions = torch.stack((first, second), 1) / scale[:, None]
    return Aggregate(mmd, ksd, reason, np.array(alone), _plane(posterior[kept], prior[kept], directions, noise))


def _pair(model: Model, batch: BatchLike, noise: Noise) -> tuple[Tensor, Tensor, Tensor | None, str | None]:
    """For each datum a draw of q(z | x), one of p(z), and ∇ log p at the first; all levels flat in a row."""
    with torch.no_grad():
        trace = model(batch.x, batch.c, 1, noise.fork("posterior"), batch.mask)
        if not trace.levels:
            raise ValueError("aggregate: the model has no latents, so there is nothing to compare with a prior.")
        source = noise.fork("prior")
        made = model.generate(len(batch.x), batch.c, lambda i, p: p.sample(source))
    score, reason = None, None
    if batch.c is not None and trace.levels[0].p.lead_shape:
        reason = "the prior is another for each c, so that q(z) has no one density to be held against"
    else:
        score = _score(model, batch, trace.levels)
    return _flat([level.z[0] for level in trace.levels]), _flat(list(made.z)), score, reason


def _score(model: Model, batch: BatchLike, levels: tuple[Level, ...]) -> Tensor:
    """∇ log p(z) at the draws, with p of each level given the draws of those above it."""
    with torch.enable_grad():
        at = [level.z.detach().requires_grad_() for level in levels]
        if len(at) == 1:  # nothing of the prior depends on z, so nothing need be run again
            log_p = levels[0].p.log_prob(at[0])
        else:
            again = model.at(batch.x, tuple(at), batch.c, q=False, mask=batch.mask).levels
            log_p = torch.stack([level.log_p for level in again]).sum(0)
        found = torch.autograd.grad(log_p.sum(), at)
    return _flat([one[0] for one in found])


def _plane(q: Tensor, p: Tensor, directions: Tensor, noise: Noise) -> Plane:
    """What the samples are in a plane: their coordinates, the test, and the witness function."""
    x, y = q @ directions, p @ directions
    both = torch.cat((x, y))
    # Half the median distance sees heaps and holes, which are smaller than the whole.
    kernel = RBF(median_bandwidth(both, noise=noise.fork("plane")) / 2)
    found = mmd_test(x, y, kernel, permutations=_PERMUTATIONS, noise=noise.fork("in the plane"))
    middle, reach = float(both.mean()), 1.05 * float((both - both.mean()).abs().flatten().quantile(0.999))
    extent = (middle - reach, middle + reach)
    steps = torch.linspace(*extent, _STEPS, dtype=x.dtype, device=x.device)
    values = witness(torch.cartesian_prod(steps, steps), x, y, kernel)
    posterior, prior, surface = (one.cpu().numpy() for one in (x, y, values.reshape(_STEPS, _STEPS)))
    return Plane(directions.T.cpu().numpy(), found, posterior, prior, surface, extent)


def _direction(q: Tensor, p: Tensor, alone: list[float], avoid: Tensor | None, noise: Noise) -> Tensor:
    """The unit vector along which the samples differ most, by ascent from many starts, orthogonal to another.

    Along a line the MMD of a Gaussian kernel is the weighted distance of two characteristic functions, at a few
    frequencies: linear in the number of draws.
    """
    d = q.shape[1]
    first = sorted(range(d), key=lambda i: -alone[i])[:_STARTS]
    axes = torch.eye(d, dtype=q.dtype, device=q.device)[first]
    spread = torch.linalg.eigh(torch.cov(q.T).reshape(d, d) - torch.cov(p.T).reshape(d, d)).eigenvectors.T
    starts = torch.cat(((q.mean(0) - p.mean(0))[None], axes, spread[:2], spread[-2:], noise.normal((_STARTS, d)).to(q)))
    at = torch.arange(1, 13, dtype=q.dtype, device=q.device) / 4
    weight = torch.exp(-at.square() / 2)

    def unit(free: Tensor) -> Tensor:
        free = free if avoid is None else free - (free @ avoid)[:, None] * avoid
        return free / free.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def distance(vectors: Tensor) -> Tensor:
        angles = [(sample @ vectors.T)[..., None] * at for sample in (q, p)]
        parts = [(wave(angles[0]).mean(0) - wave(angles[1]).mean(0)).square() for wave in (torch.cos, torch.sin)]
        return ((parts[0] + parts[1]) * weight).sum(1)

    with torch.enable_grad():
        free = starts.clone().requires_grad_()
        ascent = torch.optim.Adam([free], lr=0.05)
        for _ in range(_ASCENT):
            (free.grad,) = torch.autograd.grad(-distance(unit(free)).sum(), [free])
            ascent.step()
    with torch.no_grad():
        found = unit(free)
        return found[distance(found).argmax()]


def _mmd2(x: Tensor, y: Tensor, noise: Noise) -> float:
    return float(mmd2(x, y, RBF(median_bandwidth(torch.cat((x, y)), noise=noise.fork("latent"))), "unbiased"))


def _flat(levels: list[Tensor]) -> Tensor:
    return torch.cat([one.flatten(1) for one in levels], 1)


def _stacked(column: tuple[Tensor | None, ...]) -> Tensor | None:
    known = [one for one in column if one is not None]
    return torch.cat(known) if len(known) == len(column) else None
