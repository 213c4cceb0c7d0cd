"""A metric's value with its protocol, and its interval by resampling."""

__all__ = ["NotApplicable", "Replicate", "Score", "Tick"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import final

import numpy as np

from ..._checks import positive_int

#: One replicate of a value: the same metric of resampled rows, votes or points.
Replicate = Callable[[np.random.Generator], float]
#: ``tick(done, total)`` while something takes long.
Tick = Callable[[int, int], None]


class NotApplicable(ValueError):
    """A metric that means nothing for these codes and factors; the message says why."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """The value of one metric, with how it was found.

    Attributes:
        metric: its name, which carries the protocol: ``"mig_dlib"``.
        value: higher is better, unless the metric's page says otherwise.
        protocol: the protocol in words: points, bins, classifiers, what was left out.
        n: data, votes or points that the value is of.
        resampled: what a replicate draws anew; where there is none, why.
        again: draws one replicate of the value; None where that means nothing or costs too much.
        parts: arrays that the value was made of, such as its matrix or its terms by factor.
    """

    metric: str
    value: float
    protocol: str
    n: int
    resampled: str
    again: Replicate | None = None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def interval(
        self, resamples: int, rng: np.random.Generator, level: float = 0.95
    ) -> tuple[tuple[float, float], float] | None:
        """An interval for the value by bootstrap, and its standard error, if there is one.

        There is none where nothing is resampled, or the value or a replicate is infinite. It lies between two quantiles
        of the replicates, after all were shifted by the same amount so that their mean is the value: rows that are
        drawn twice look like dependence, and lift what is estimated from tables of counts. It says how far the value
        would move on other data of the same kind, and nothing of other seeds, models or classifiers.

        Args:
            resamples: how many replicates.
            rng: where they are drawn from.
            level: the share of replicates within.
        """
        if self.again is None or not isfinite(self.value):
            return None
        positive_int(resamples, "Score.interval: resamples")
        replicates = np.array([self.again(rng) for _ in range(resamples)])
        if not np.isfinite(replicates).all():
            return None
        shifted = replicates - replicates.mean() + self.value
        low, high = np.quantile(shifted, [(1 - level) / 2, (1 + level) / 2])
        error = float(replicates.std(ddof=1)) if resamples > 1 else 0.0
        return (float(low), float(high)), error
