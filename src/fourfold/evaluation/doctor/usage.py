"""How much of a codebook is in use."""

__all__ = ["CodeUsage", "code_usage"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import Model
from ...noise import Noise
from ..batches import BatchLike


@dataclass(frozen=True, slots=True)
class CodeUsage:
    """How often each code of a codebook was taken.

    Attributes:
        counts: for each code, ``(K,)``.
    """

    counts: np.ndarray

    @property
    def size(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def used(self) -> int:
        """How many codes were taken at all."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the codes: how many equally frequent ones would be as uneven."""
        share = self.counts / self.counts.sum()
        return float(np.exp(-(share * np.log(np.clip(share, 1e-300, None))).sum()))


@torch.inference_mode()
def code_usage(model: Model, batches: Callable[[], Iterable[BatchLike]], noise: Noise) -> tuple[CodeUsage, ...]:
    """The codes that data are given, level by level; empty for a model without a codebook.

    A level has one if its posterior tells ``codes``, whole numbers of any shape, and ``levels``, how many there are.
    """
    totals: list[Any] = []
    for i, batch in enumerate(batches()):
        levels = model(batch.x, batch.c, 1, noise.fork(str(i)), batch.mask).levels
        found: list[Any] = [level.q for level in levels if isinstance(getattr(level.q, "codes", None), Tensor)]
        counts = [torch.bincount(q.codes.flatten(), minlength=q.levels) for q in found]
        totals = counts if not totals else [a + b for a, b in zip(totals, counts, strict=True)]
    return tuple(CodeUsage(count.cpu().numpy()) for count in totals)
