"""How many of its codes a model uses."""

__all__ = ["CodeUse", "code_use"]

from dataclasses import dataclass
from math import log

import numpy as np

from .._checks import positive_int

#: Of the codes: a codebook whose perplexity is less has collapsed.
_FEW = 0.3


@dataclass(frozen=True, slots=True)
class CodeUse:
    """How often each code was chosen.

    Attributes:
        counts: of each code, over all data and places, ``(K,)``.
        places: how many codes one datum has.
        n: how many data.
    """

    counts: np.ndarray
    places: int
    n: int

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
    def uniform(self) -> float:
        """The rate of a datum under a uniform prior, in nats: log K a place."""
        return self.places * log(len(self.counts))

    @property
    def estimator(self) -> str:
        """What was counted."""
        return f"of K = {len(self.counts)}, over {self.places} places a datum"

    @property
    def remark(self) -> str | None:
        """What is to be said of a codebook of which little is used."""
        k, most = len(self.counts), self.counts.max() / self.counts.sum()
        if self.perplexity >= _FEW * k:
            return None
        return (
            f"the perplexity of the codebook is {self.perplexity:.1f} of {k} ({self.used} codes used, one of them at "
            f"{most:.0%} of all places). Less than {_FEW:g} of it after some 5 epochs says that the codebook has "
            "collapsed, unless most places look alike, as the margins of digits do. Take fewer codes, vectors of fewer "
            "numbers (8 to 32), or quantiser fsq; a learned prior does not pay for codes that are not chosen."
        )


def code_use(codes: np.ndarray, levels: int) -> CodeUse:
    """Counts codes.

    Args:
        codes: whole numbers from 0 to K − 1, ``(N, *latent)``.
        levels: K.

    Example:
        >>> use = code_use(np.array([[0, 1], [1, 0]]), 4)
        >>> use.perplexity, use.used
        (2.0, 2)
    """
    levels = positive_int(levels, "code_use: levels")
    counts = np.bincount(codes.ravel(), minlength=levels)
    return CodeUse(counts, int(np.prod(codes.shape[1:])), len(codes))
