"""Several members on held-out rows, as one program."""

__all__ = ["means_of"]

import torch
from torch import Tensor

from ..data import Feed
from ..noise import Noise
from .loop import Loop, chunk_of
from .stack import Stack

#: Elements of x that are taken at once, over all members: more would leave the processor's caches.
_AT_ONCE = 1 << 21


@torch.no_grad()
def means_of(stack: Stack, held_out: Feed) -> list[list[float]]:
    """Every member's numbers, means over the rows, with the noise that it would have alone."""
    stack.template.eval()
    total = torch.zeros((), dtype=torch.float64)
    try:
        for start, raw, labels in held_out.chunks(chunk_of(len(held_out))):
            some = max(1, _AT_ONCE // max(raw.numel(), 1))
            blocks = [slice(first, min(first + some, len(stack))) for first in range(0, len(stack), some)]
            found = [_numbers(stack, block, start, raw, labels) for block in blocks]
            total = total + torch.cat(found).double().cpu() * len(raw)
    finally:
        stack.template.train()
    stack.tell_names()
    return [[float(value) for value in row] for row in total / len(held_out)]


def _numbers(stack: Stack, block: slice, start: int, raw: Tensor, labels: Tensor | None) -> Tensor:
    sources = [_noise(loop, start) for loop in stack.loops[block]]
    return stack.scored(block, raw, labels, stack.draws(raw, labels, sources))


def _noise(loop: Loop, start: int) -> Noise:
    return Noise(loop.options.seed, stream="validation", step=start, device=loop.fabric.device)
