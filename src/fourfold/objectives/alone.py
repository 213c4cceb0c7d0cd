"""One draw in the place of many: which one of each group, and the noise that it was made of."""

__all__ = ["drawn_by_weight", "noise_of"]

import torch
from torch import Tensor

from ..noise import NoiseSource, Recorder, Replay


@torch.no_grad()
def drawn_by_weight(log_weight: Tensor, noise: NoiseSource) -> Tensor:
    r"""For each group and datum one of K draws, k with probability w̃ₖ = wₖ / Σ w.

    Args:
        log_weight: log w in nats, ``(M, K, B)``.
        noise: one uniform number for each group and datum.

    Returns:
        Whole numbers, ``(M, B)``: which of all M · K draws.

    Example:
        >>> from fourfold.noise import Noise
        >>> drawn_by_weight(torch.tensor([[[-90.0], [0.0]], [[0.0], [-90.0]]]), Noise(0))
        tensor([[1],
                [2]])
    """
    outer, inner, batch = log_weight.shape
    below = log_weight.softmax(1).cumsum(1)
    u = noise.uniform((outer, batch), 1, log_weight.dtype)[:, None]
    # The last sum may be 1 less a rounding: u is scaled by it, so that no draw beyond the last is named.
    which = (below <= u * below[:, -1:]).sum(1)
    return which + inner * torch.arange(outer, device=which.device)[:, None]


def noise_of(seen: Recorder, index: Tensor, draws: int) -> Replay:
    """The noise that the chosen draws were made of, for a pass of ``len(index)`` draws that meets them again.

    Args:
        seen: what a pass of all draws asked for; numbers for each draw have the draws first, the batch second.
        index: which draws, ``(M, B)``.
        draws: how many there were.

    Raises:
        ValueError: numbers of another layout, whose draws cannot be told apart.
    """
    found = []
    for request, numbers in zip(seen.requests, seen.tensors, strict=True):
        if request.batch == 0:  # of the datum, and so of all its draws: corruption, dropped words
            found.append(numbers)
            continue
        if request.batch != 1 or request.shape[:2] != (draws, index.shape[1]):
            raise ValueError(
                f"one-backward: wanted noise of shape ({draws}, {index.shape[1]}, …), a row for each draw and datum, "
                f"got {request}. Take another estimator for this model."
            )
        rest = request.shape[2:]
        where = index.reshape(*index.shape, *[1] * len(rest)).expand(*index.shape, *rest)
        found.append(numbers.gather(0, where))
    return Replay(found)
