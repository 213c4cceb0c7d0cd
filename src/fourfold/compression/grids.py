"""Which values latents can take: chosen from the posteriors of a few data."""

__all__ = ["grids_for", "valid"]

from math import ceil, log2

import numpy as np
from torch import Tensor

from .._shapes import size
from ..distributions import DiagonalGaussian, Distribution, Factorised, Mixture
from ..models import Model
from ..noise import Noise
from .block import Grid, NotCodable
from .chunk import known, walk

_NARROW = 0.05  # this quantile of the posterior standard deviations is called narrow
_ROOM = 4.0  # other data may have means so many times farther out than these
_LARGEST = 1 << 15  # a coder that counts in 2⁻²⁴ gives a thousandth of its mass away for 2 · 2¹³ values, and so on
_LEAST, _MOST = -24, 8


def grids_for(model: Model, x: Tensor, c: Tensor | None, n: int, step: float) -> dict[int, Grid]:
    """By visit of ``model.infer``, the grid for its latents.

    Args:
        model: in float64.
        x: a few data; the first n rows are.
        c: their conditioning.
        n: how many.
        step: in narrow posterior standard deviations.
    """
    noise, grids = Noise(0), {}

    def pick(i: int, q: Distribution) -> Tensor:
        z = q.sample(noise)
        if q.mass:  # codes are whole numbers already
            grids[len(grids)] = Grid((0,) * size(q.event_shape), 2)
            return z.reshape(1, len(x), *q.event_shape)
        loc, scale = (value[:n] for value in _spread(q, z, len(x)))
        grids[len(grids)] = _grid(loc, scale, step)
        return z.reshape(1, len(x), *q.event_shape)

    model.infer(x, c, pick)
    return grids


def valid(grid: Grid) -> bool:
    """Whether it can be one of these."""
    return 2 <= grid.reach <= _LARGEST and all(_LEAST <= e <= _MOST for e in grid.exponents)


def _grid(loc: np.ndarray, scale: np.ndarray, step: float) -> Grid:
    if not (np.isfinite(loc).all() and np.isfinite(scale).all()):
        raise NotCodable("compress: the model's posteriors of these data are not all finite: it cannot code them.")
    narrow = np.maximum(np.quantile(scale, _NARROW, axis=0), 2.0**_LEAST)
    farthest = _ROOM * np.maximum((np.abs(loc) + 6 * scale).max(0), 1.0)
    exponents = np.floor(np.log2(step * narrow))
    exponents = np.maximum(exponents, np.ceil(np.log2(farthest / _LARGEST))).clip(_LEAST, _MOST)
    reach = 1 << max(ceil(log2(float((farthest / np.exp2(exponents)).max()))), 1)
    return Grid(tuple(int(e) for e in exponents), min(reach, _LARGEST))


def _spread(q: Distribution, z: Tensor, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the elements of z, each given those before, ``(rows, numbers)``."""
    if isinstance(q, Mixture):
        return _spread(q.components.chosen(q.log_responsibilities(z).argmax(-1)), z, rows)  # type: ignore
    loc, scale = np.zeros((rows, z.numel() // rows)), np.zeros((rows, z.numel() // rows))

    def choose(step: int, piece: Factorised, where: slice) -> Tensor:
        assert isinstance(piece, DiagonalGaussian)  # is_codable has seen to it
        loc[:, where] = piece.loc.reshape(rows, -1).numpy()
        scale[:, where] = piece.scale.reshape(rows, -1).numpy()
        return known(z, piece, where, rows)

    walk(q, choose)
    return loc, scale
