"""The likelihood of simulated data from both sides: bidirectional Monte Carlo, the error bar of annealing."""

__all__ = ["Sandwich", "bdmc"]

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import positive_int
from ..distributions import Distribution
from ..models import Model
from ..noise import Noise
from .ais import Annealed, Annealing, Counter, forward, log_mean_exp, path_of, reverse, step_sizes, trajectories
from .batches import BatchLike, Part, ready, rows
from .importance import Progress

_USUAL = Annealing()


@dataclass(frozen=True, slots=True)
class Sandwich:
    """log p(x) of N simulated data between two bounds, each of which holds in expectation.

    Attributes:
        forward: chains from the start of the path, as ``ais`` runs them.
        reverse: chains from the latents that the data came from.
        data: the data.
    """

    forward: Annealed
    reverse: Annealed
    data: Part

    @property
    def lower(self) -> Float[np.ndarray, " N"]:
        """log mean w of the forward chains, in nats."""
        return self.forward.bound

    @property
    def upper(self) -> Float[np.ndarray, " N"]:
        """−log mean 1/w of the reverse chains, in nats."""
        return -log_mean_exp(-self.reverse.log_weight)

    @property
    def gap(self) -> Float[np.ndarray, " N"]:
        """Upper less lower: what either is off by is less than this, in expectation."""
        return self.upper - self.lower


def bdmc(
    model: Model,
    n: int,
    noise: Noise,
    options: Annealing = _USUAL,
    like: BatchLike | None = None,
    progress: Progress | None = None,
) -> Sandwich:
    r"""Bidirectional Monte Carlo: log p(x) of data drawn from the model, bounded from below and from above.

    .. math:: z^* \sim p(z), \; x^* \sim p(x \mid z^*): \qquad
        E \log \tfrac1C \sum_c w_c \;\le\; \log p(x^*) \;\le\; -E \log \tfrac1C \sum_c \frac1{w'_c}

    w is of chains from the start of the path, w′ of chains that go the same way back from z*, which is an exact draw of
    p(z | x*). There is one such draw, so all C reverse chains of a datum begin at it; each has E[1/w′] = 1/p(x*), and
    so has their mean, however they hang together. The step sizes are of one pilot run, which sees x* and not z*.

    On real data there is no z*, and no upper bound. What the gap says of them is how well this path with this budget
    does on data like them: see "When to trust it" in the documentation.

    Args:
        model: any model that ``ais`` takes.
        n: how many data are simulated.
        noise: its forks draw the data and the chains.
        options: the path and its budget; both directions have the same.
        like: for a conditional model, data whose c (and mask) the simulated ones have: at least n.
        progress: ``progress(done, total)`` in trajectories of all chains.

    Raises:
        ValueError: what ``ais`` raises; a conditional model without data to take c from, or fewer than n of them; from
            the encoder also a posterior whose noise cannot be had from a given z.

    References:
        Grosse, Ghahramani and Adams 2015, arXiv:1511.02543; Wu, Burda, Salakhutdinov and Grosse 2016, arXiv:1611.04273.
    """
    ready(model, "bdmc")
    batch, z = _simulated(model, positive_int(n, "bdmc: n"), noise.fork("data"), like)
    tell = Counter(progress, trajectories(options) + options.temperatures)
    table = step_sizes(model, batch, noise.fork("pilot"), options, tell)
    path = path_of(model, batch, options)
    there = forward(path, table, noise.fork("forward"), options, tell)
    with torch.inference_mode(False), torch.no_grad():
        begin = path.coordinates(z)
        begin = begin.expand(options.chains, *begin.shape[1:])
    back = reverse(path, table, begin, noise.fork("reverse"), options, tell)
    return Sandwich(there, back, batch)


@torch.no_grad()
def _simulated(model: Model, n: int, noise: Noise, like: BatchLike | None) -> tuple[Part, tuple[Tensor, ...]]:
    """n data drawn from the model, and the latents that they came from."""
    if model.condition is not None and (like is None or like.c is None):
        raise ValueError("bdmc: this model is conditioned: give data whose c the simulated ones shall have (like=…).")
    if like is not None and len(like.x) < n:
        raise ValueError(f"bdmc: n is {n}, but `like` has {len(like.x)} data to take c from. Give as many.")
    part = None if like is None else rows(like, slice(n))
    c, mask = (None, None) if part is None else (part.c, part.mask)

    def pick(i: int, p: Distribution) -> Tensor:
        return p.sample(noise.fork(f"z{i}"))

    made = model.generate(n, c, pick)
    return Part(made.p_x.sample(noise.fork("x")), c, mask), made.z
