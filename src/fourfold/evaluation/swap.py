"""Does the decoder listen to z? The likelihood of x at its own latents against that at the latents of another datum."""

__all__ = ["Swap", "swap"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from .batches import BatchLike, ready


@dataclass(frozen=True, slots=True)
class Swap:
    """log p(x | z) in nats of N data, at two kinds of latents.

    Attributes:
        own: at draws from q(z | x), ``(N,)``.
        other: at the draws of another datum, ``(N,)``.
        draws: how many draws each is the mean of.
    """

    own: np.ndarray
    other: np.ndarray
    draws: int

    @property
    def drop(self) -> np.ndarray:
        """What x loses when it is given the latents of another datum, ``(N,)``."""
        return self.own - self.other

    @property
    def mean(self) -> float:
        """The mean drop."""
        return float(self.drop.mean())

    @property
    def error(self) -> float:
        """Its standard error over the data."""
        return float(self.drop.std(ddof=1) / len(self.drop) ** 0.5)

    @property
    def estimator(self) -> str:
        """How it was estimated, in words."""
        return f"{self.draws} draw{'s' if self.draws > 1 else ''}, each datum given those of one other"


@torch.inference_mode()
def swap(model: Model, batches: Callable[[], Iterable[BatchLike]], noise: Noise, draws: int = 1) -> Swap:
    r"""Gives every datum the latents of another one, and tells how much worse it is then explained.

    .. math:: \mathbb E_x\Big[\mathbb E_{q(z \mid x)} \log p(x \mid z) - \mathbb E_{q(z \mid x')} \log p(x \mid z)\Big],
        \qquad x' \ne x

    A decoder that ignores z has a drop of 0, whatever rate is paid. Where q is the exact posterior, the drop is the
    mutual information of x and z and that in the other direction: never less than what z tells of x. The latents of
    all levels are swapped together; c and the mask stay with x. Who is given whose is drawn: one long cycle through all
    data, so that nobody keeps their own.

    Args:
        model: any model with latents, in eval mode; a point posterior will do.
        batches: called twice, it gives the same data twice.
        noise: where z, and the order of the cycle, are drawn from.
        draws: draws of z for each datum.

    Raises:
        ValueError: a model in training mode or without latents; fewer than two data.

    Example:
        >>> import fourfold as ff
        >>> model = ff.recipes.vae(latent=2, hidden=(4,)).build(ff.data.digits().spec).model.eval()
        >>> batch = ff.data.Batch(torch.zeros(3, 1, 8, 8))
        >>> swap(model, lambda: [batch], Noise(0)).drop.shape
        (3,)
    """
    ready(model, "swap")
    draws = positive_int(draws, "swap: draws")
    found, own = [], []
    for i, batch in enumerate(batches()):
        trace = model(batch.x, batch.c, draws, noise.fork(str(i)), batch.mask)
        found.append(tuple(level.z for level in trace.levels))
        own.append(trace.log_likelihood.double().mean(0))
    if not found or not found[0]:
        raise ValueError("swap: wanted data, and a model with latents; without them there is nothing to swap.")
    z = tuple(torch.cat(level, 1) for level in zip(*found, strict=True))
    n = z[0].shape[1]
    if n < 2:
        raise ValueError(f"swap: wanted at least 2 data, as each is given the latents of another, got {n}.")
    partner = _cycle(n, noise.fork("cycle")).to(z[0].device)
    other, start = [], 0
    for batch in batches():
        theirs = partner[start : start + len(batch.x)]
        at = model.at(batch.x, tuple(level[:, theirs] for level in z), batch.c, q=False, mask=batch.mask)
        other.append(at.log_likelihood.double().mean(0))
        start += len(batch.x)
    return Swap(torch.cat(own).cpu().numpy(), torch.cat(other).cpu().numpy(), draws)


def _cycle(n: int, noise: Noise) -> Tensor:
    """A permutation that is one cycle through all n."""
    order = noise.uniform((n,)).argsort()
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner
