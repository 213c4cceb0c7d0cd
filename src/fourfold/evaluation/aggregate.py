"""The aggregate posterior against the prior: do they differ, by how much, and where?"""

__all__ = ["Aggregate", "aggregate"]

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
_PERMUTATIONS = 200


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The aggregate posterior q(z) = E_x q(z | x) against the prior.

    Attributes:
        mmd: the two-sample test of draws of q(z) and of p(z), of all levels together.
        ksd: the goodness-of-fit test of draws of q(z) against ∇ log p(z), or ``None``.
        reason: why there is no ``ksd``.
        by_latent: the unbiased MMD² of every single latent, ``(D,)``; levels one after another, from the top.
        directions: two vectors ``(2, D)``: their products with z are the coordinates of the plane that tells the two
            apart best. Each latent is weighed in units of its own scale, and the two are orthogonal in these.
        plane: the two-sample test in that plane, of others than the draws it was chosen with.
        posterior: those draws of q(z) in the plane, ``(m, 2)``.
        prior: those of p(z).
        surface: the witness function over the plane, ``(k, k)``: above 0 where there is more q(z) than p(z).
        extent: from where to where both of its coordinates go.
    """

    mmd: Finding
    ksd: Finding | None
    reason: str | None
    by_latent: np.ndarray
    directions: np.ndarray
    plane: Finding
    posterior: np.ndarray
    prior: np.ndarray
    surface: np.ndarray
    extent: tuple[float, float]


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
    rows = noise.fork("rows").uniform((len(posterior),)).argsort()[:samples].to(posterior.device)
    q, p = posterior[rows], prior[rows]
    length = median_distance(p, noise.fork("length"))
    mmd = mmd_test(q, p, RBF(length), permutations=permutations, noise=noise.fork("mmd"))
    ksd = None
    if score is not None:
        ksd = ksd_test(q, score[rows], c=length, draws=2 * permutations, noise=noise.fork("ksd"))
    return _located(q, p, noise, mmd, ksd, reason)


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


def _located(q: Tensor, p: Tensor, noise: Noise, mmd: Finding, ksd: Finding | None, reason: str | None) -> Aggregate:
    """The plane that tells the samples apart best, and the witness function over it."""
    half = len(q) // 2  # the plane is chosen with one half, and drawn and tested with the other
    scale = torch.cat((q, p)).std(0).clamp(min=1e-12)
    q, p = q / scale, p / scale
    q1, p1, q2, p2 = q[:half], p[:half], q[half:], p[half:]
    alone = [float(_mmd2(q1[:, [d]], p1[:, [d]], noise)) for d in range(q.shape[1])]
    one = _direction(q1, p1, alone, None, noise.fork("first"))
    two = one if q.shape[1] == 1 else _direction(q1, p1, alone, one, noise.fork("second"))
    directions = torch.stack((one, two), 1)
    x, y = q2 @ directions, p2 @ directions
    both = torch.cat((x, y))
    # Half the median distance sees heaps and holes, which are smaller than the whole.
    kernel = RBF(median_bandwidth(both, noise=noise.fork("plane")) / 2)
    plane = mmd_test(x, y, kernel, permutations=_PERMUTATIONS, noise=noise.fork("in the plane"))
    middle, reach = float(both.mean()), 1.05 * float((both - both.mean()).abs().flatten().quantile(0.999))
    extent = (middle - reach, middle + reach)
    steps = torch.linspace(*extent, _STEPS, dtype=x.dtype, device=x.device)
    points = torch.cartesian_prod(steps, steps)
    values = witness(points, x, y, kernel)
    posterior, prior, surface = (one.cpu().numpy() for one in (x, y, values.reshape(_STEPS, _STEPS)))
    weights = (directions / scale[:, None]).T.cpu().numpy()
    return Aggregate(mmd, ksd, reason, np.array(alone), weights, plane, posterior, prior, surface, extent)


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


def _mmd2(x: Tensor, y: Tensor, noise: Noise) -> Tensor:
    return mmd2(x, y, RBF(median_bandwidth(torch.cat((x, y)), noise=noise.fork("latent"))), "unbiased")


def _flat(levels: list[Tensor]) -> Tensor:
    return torch.cat([one.flatten(1) for one in levels], 1)


def _stacked(column: tuple[Tensor | None, ...]) -> Tensor | None:
    known = [one for one in column if one is not None]
    return torch.cat(known) if len(known) == len(column) else None
