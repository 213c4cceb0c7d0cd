"""Rounding that comes out the same although the numbers do not."""

__all__ = ["Key", "Rounder"]

from collections.abc import Mapping
from math import isfinite
from typing import final

import numpy as np

from .block import NotCodable

# Outputs of one network on the same input differ from one batch shape, thread count or machine to the next by some
# 1e-15 of their size in float64. Up to this, relative to 1 + the largest of them, they are allowed to.
_TOLERANCE = 4e-10
_SHIFTS = 256

#: Where in the model a number is from: the slot (a level, or the likelihood), the step of its product, which parameter.
Key = tuple[int, int, int]


@final
class Rounder:
    r"""Rounds to whole multiples, on a grid that is shifted until no number lies near a boundary between two.

    .. math:: j = \mathrm{round}(v / g - o_s), \qquad
        s = \min\{s : |v/g - o_s - (k + \tfrac12)| > \tau (1 + \max|v|) / g \text{ for all } v \text{ and whole } k\}

    The encoder finds s and keeps it; the decoder's numbers, which are not quite the encoder's, then lie on the same
    sides of all boundaries. Nearly always s is 0.

    Args:
        known: shifts that the encoder found, for decoding; ``None`` to find them.
    """

    def __init__(self, known: Mapping[Key, int] | None = None) -> None:
        self._known = known
        self.shifts: dict[Key, int] = {}

    def __call__(self, key: Key, values: np.ndarray, per_unit: float | np.ndarray) -> np.ndarray:
        """v / g as whole numbers, for ``per_unit`` = 1 / g, a power of two."""
        scaled = values * per_unit
        size = float(np.abs(scaled).max(initial=0.0))
        if not isfinite(size):
            raise NotCodable("compress: the model's outputs are not all finite numbers: it cannot code these data.")
        if self._known is not None:
            return np.rint(scaled - _offset(self._known.get(key, 0)))
        needed = _TOLERANCE * (float(np.max(per_unit, initial=0.0)) + size)
        best, widest = 0, -1.0
        for shift in range(_SHIFTS):
            moved = scaled - _offset(shift)
            room = 0.5 - float(np.abs(moved - np.rint(moved)).max(initial=0.0))
            if room > widest:
                best, widest = shift, room
            if room > needed:
                break
        if best:
            self.shifts[key] = best
        return np.rint(scaled - _offset(best))


def _offset(shift: int) -> float:
    """Of shift 0, 1, 2, …: 0, then offsets in (−½, ½) that lie as far from each other as may be."""
    return (shift * 159 % _SHIFTS) / _SHIFTS - (0.0 if shift * 159 % _SHIFTS < _SHIFTS // 2 else 1.0)
