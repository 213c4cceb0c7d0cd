"""Arrays of symbols, each with its own one-dimensional distribution of whole-number parameters."""

__all__ = ["FINENESS", "FLOOR", "LEAST_SCALE", "Coins", "Drawn", "Normals", "Scored", "Symbols", "Tables"]

from abc import ABC, abstractmethod
from functools import cache
from math import ceil, exp
from typing import final

import numpy as np

from .stack import Stack, coder

#: Log-probabilities, logits and log-scales are whole multiples of 1/64: that loses some 1e-5 nats a symbol.
FINENESS = 64
#: No log-probability is below this: the coder counts in 2⁻²⁴, and could not tell it from less.
FLOOR = -17
#: The least log-scale, in steps of the grid; there one step holds nearly all mass.
LEAST_SCALE = -2
# So many numbers of tables at once.
_AT_ONCE = 1 << 21


class Symbols(ABC):
    """Rows of symbols ``(n, numbers)``: ``pop`` gives back what ``push`` was given."""

    @abstractmethod
    def push(self, stack: Stack, symbols: np.ndarray) -> None:
        """Puts them on the stack."""

    @abstractmethod
    def pop(self, stack: Stack) -> np.ndarray:
        """Takes them from it."""


class Normals(Symbols, ABC):
    """Normals over whole numbers from −reach to reach, each with the mass between the halves on either side.

    Args:
        mean: sixteenths, ``(n, numbers)``.
        log_scale: 64ths.
        reach: of all.
    """

    #: Means are whole multiples of 1/16.
    FINENESS = 16

    def __init__(self, mean: np.ndarray, log_scale: np.ndarray, reach: int) -> None:
        scales, first = _exponentials(), LEAST_SCALE * FINENESS
        self._mean = np.clip(mean / self.FINENESS, -reach, reach)
        self._log_scale = np.clip(log_scale.astype(np.int64), first, first + len(scales) - 1)
        self._scale = scales[self._log_scale - first]
        self._reach = reach


@final
class Scored(Normals):
    """Normals under which a number from anywhere is pushed: the coder gives each at least 2⁻²⁴."""

    def push(self, stack: Stack, symbols: np.ndarray) -> None:
        model = coder().model.QuantizedGaussian(-self._reach, self._reach)
        stack.push(symbols.astype(np.int32).ravel(), model, self._mean.ravel(), self._scale.ravel())

    def pop(self, stack: Stack) -> np.ndarray:
        model = coder().model.QuantizedGaussian(-self._reach, self._reach)
        return stack.pop(model, self._mean.ravel(), self._scale.ravel()).reshape(self._mean.shape)


@final
class Drawn(Normals):
    """Normals of which a draw is popped: within 6 standard deviations.

    Farther out lie many numbers of 2⁻²⁴ each. Together they are not so rare, and a latent drawn from among them would
    lead to data that the datum is nothing like.
    """

    WIDTH = 6

    def __init__(self, mean: np.ndarray, log_scale: np.ndarray, reach: int) -> None:
        super().__init__(mean, log_scale, reach)
        self._groups = [self._group(octave) for octave in np.unique(self._log_scale // FINENESS).tolist()]

    def push(self, stack: Stack, symbols: np.ndarray) -> None:
        for where, centre, width in reversed(self._groups):
            off = (symbols[where] - centre).astype(np.int32)
            stack.push(off, coder().model.QuantizedGaussian(-width, width), *self._parameters(where, centre))

    def pop(self, stack: Stack) -> np.ndarray:
        symbols = np.empty(self._mean.shape)
        for where, centre, width in self._groups:
            model = coder().model.QuantizedGaussian(-width, width)
            symbols[where] = centre + stack.pop(model, *self._parameters(where, centre))
        return symbols

    def _group(self, octave: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Those of like scales: where they are, the number nearest to each mean, and how far from it they may lie."""
        where = self._log_scale // FINENESS == octave
        width = min(ceil(self.WIDTH * exp(octave + 1)), self._reach // 2)
        return where, np.rint(np.clip(self._mean[where], width - self._reach, self._reach - width)), width

    def _parameters(self, where: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.clip(self._mean[where] - centre, -0.5, 0.5), self._scale[where]


@final
class Coins(Symbols):
    """0 or 1.

    Args:
        logits: 64ths, ``(n, numbers)``.
    """

    def __init__(self, logits: np.ndarray) -> None:
        last = -FLOOR * FINENESS
        self._ones = _sigmoids()[np.clip(logits.astype(np.int64), -last, last) + last]

    def push(self, stack: Stack, symbols: np.ndarray) -> None:
        stack.push(symbols.astype(np.int32).ravel(), coder().model.Bernoulli(perfect=False), self._ones.ravel())

    def pop(self, stack: Stack) -> np.ndarray:
        return stack.pop(coder().model.Bernoulli(perfect=False), self._ones.ravel()).reshape(self._ones.shape)


@final
class Tables(Symbols):
    """0 … K − 1.

    Args:
        log_probability: 64ths, ``(K, n, numbers)``, from 0 down to the floor.
    """

    def __init__(self, log_probability: np.ndarray) -> None:
        self._below = np.clip(-log_probability, 0, -FLOOR * FINENESS).astype(np.uint16)

    def push(self, stack: Stack, symbols: np.ndarray) -> None:
        model, flat = coder().model.Categorical(perfect=False), symbols.astype(np.int32).ravel()
        for part in reversed(self._parts()):
            stack.push(flat[part], model, self._masses(part))

    def pop(self, stack: Stack) -> np.ndarray:
        model = coder().model.Categorical(perfect=False)
        popped = [stack.pop(model, self._masses(part)) for part in self._parts()]
        return np.concatenate(popped).reshape(self._below.shape[1:])

    def _parts(self) -> list[slice]:
        """The symbols, as many at a time as there is memory for their tables."""
        count, each = self._below[0].size, max(_AT_ONCE // len(self._below), 1)
        return [slice(i, i + each) for i in range(0, count, each)]

    def _masses(self, part: slice) -> np.ndarray:
        # Whole numbers, so that their sums are exact in whichever order they are taken.
        below = self._below.reshape(len(self._below), -1)[:, part]
        return _weights()[np.ascontiguousarray(below.T)]


@cache
def _exponentials() -> np.ndarray:
    """e^(j/64) from the least scale on, to seven digits: the last one, in which machines may differ, is cut off."""
    values = [exp(j / FINENESS) for j in range(LEAST_SCALE * FINENESS, 17 * FINENESS)]
    return np.array(values).astype(np.float32).astype(np.float64)


@cache
def _weights() -> np.ndarray:
    """e^(−j/64) as whole multiples of 2⁻³⁰."""
    return np.rint(np.array([exp(-j / FINENESS) for j in range(-FLOOR * FINENESS + 1)]) * 2**30)


@cache
def _sigmoids() -> np.ndarray:
    """1 / (1 + e^(−j/64)) as whole multiples of 2⁻³⁰."""
    last = -FLOOR * FINENESS
    return np.rint(np.array([1 / (1 + exp(-j / FINENESS)) for j in range(-last, last + 1)]) * 2**30) / 2**30
