"""How many of its codes a model uses."""

__all__ = ["FEW", "CodeUse"]

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, prod

import numpy as np
import torch
from torch import Tensor

from ..distributions import OneHot
from ..models import Model
from .batches import BatchLike, ready

#: Of the codes: of a codebook with a smaller perplexity little is used; with fewer codes in use it has collapsed.
FEW = 0.3


@dataclass(frozen=True, slots=True)
class CodeUse:
    """How often each code of a level was chosen.

    Attributes:
        counts: of each code, over all data and places, ``(K,)``.
        places: how many codes one datum has.
        n: how many data.

    Example:
        >>> use = CodeUse(np.array([2, 2, 0, 0]), places=2, n=2)
        >>> use.perplexity, use.used, use.few
        (2.0, 2, False)
    """

    counts: np.ndarray
    places: int
    n: int

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Model, batches: Iterable[BatchLike]) -> tuple["CodeUse", ...]:
        """The codes that data are given, for each level with a one-hot posterior; empty for a model without one.

        Args:
            model: any model, in eval mode.
            batches: the data.

        Raises:
            ValueError: a model in training mode.
        """
        ready(model, "CodeUse.of")
        totals: list[Tensor] = []
        places: list[int] = []
        n = 0
        for batch in batches:
            levels = model.infer(batch.x, batch.c, lambda i, q: q.centre if i else q.centre[None], batch.mask).levels
            found = [level.q for level in levels if isinstance(level.q, OneHot)]
            if not found:
                return ()
            counts = [torch.bincount(q.codes.flatten().long(), minlength=q.levels) for q in found]
            totals = [a + b for a, b in zip(totals, counts, strict=True)] if totals else counts
            places, n = [prod(q.event_shape) for q in found], n + len(batch.x)
        return tuple(cls(count.cpu().numpy(), each, n) for count, each in zip(totals, places, strict=True))

    @property
    def size(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def perplexity(self) -> float:
        """exp H of the shares: K where all codes are chosen alike, 1 where one is."""
        share = self.counts[self.counts > 0] / self.counts.sum()
        return float(np.exp(-(share * np.log(share)).sum()))

    @property
    def used(self) -> int:
        """How many codes were chosen at least once."""
        return int((self.counts > 0).sum())

    @property
    def few(self) -> bool:
        """Whether few codes have most of the places, be it that the others are dead or that most places look alike."""
        return self.perplexity < FEW * self.size

    @property
    def dead(self) -> bool:
        """Whether most codes were never chosen, which places that look alike do not explain."""
        return self.used < FEW * self.size

    @property
    def uniform(self) -> float:
        """The rate of a datum under a uniform prior, in nats: log K a place."""
        return self.places * log(self.size)

    @property
    def estimator(self) -> str:
        """What was counted."""
        return f"of K = {self.size}, over {self.places} places a datum"

    @property
    def remark(self) -> str | None:
        """What is to be said of a codebook of which little is used."""
        if not self.few:
            return None
        most = self.counts.max() / self.counts.sum()
        unless = "" if self.dead else ", unless most places look alike, as the margins of digits do"
        return (
            f"the perplexity of the codebook is {self.perplexity:.1f} of {self.size} ({self.used} codes used, one of "
            f"them at {most:.0%} of all places). Less than {FEW:g} of it after some 5 epochs says that the codebook "
            f"has collapsed{unless}. Take fewer codes, vectors of fewer numbers (8 to 32), or quantiser fsq; a learned "
            "prior does not pay for codes that are not chosen."
        )
