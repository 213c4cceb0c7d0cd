"""Data on the stack, under a discrete likelihood; and codes, under a discrete prior."""

__all__ = ["is_discrete", "pop_data", "push_data"]

import numpy as np
from torch import Tensor

from .._shapes import size
from ..distributions import Bernoulli, Codes, Distribution, Factorised
from .block import NotCodable
from .chunk import Chunk, known, walk
from .symbols import FINENESS, FLOOR, Coins, Symbols, Tables


def push_data(chunk: Chunk, slot: int, p: Distribution, x: Tensor) -> None:
    """Puts x ``(rows, *data)`` on the stack, at −log₂ of its probability."""
    found: list[tuple[Symbols, np.ndarray]] = []

    def choose(step: int, piece: Factorised, where: slice) -> Tensor:
        value = known(x, piece, where, chunk.rows)
        levels = np.rint(chunk.array(value) * _most(piece))
        found.append((_symbols(chunk, slot, step, piece), levels))
        chunk.pushed(chunk.array(piece.log_prob_by_element(value)))
        return value

    walk(chunk.spread(p), choose)
    for symbols, levels in reversed(found):
        symbols.push(chunk.stack, levels)


def pop_data(chunk: Chunk, slot: int, p: Distribution) -> Tensor:
    """Takes x from the stack, ``(rows, *data)``."""
    values = np.zeros((chunk.n, size(p.event_shape)))

    def choose(step: int, piece: Factorised, where: slice) -> Tensor:
        levels = _symbols(chunk, slot, step, piece).pop(chunk.stack)
        values[:, where] = levels / _most(piece)
        return chunk.tensor(values[:, where], piece.shape)

    walk(chunk.spread(p), choose)
    return chunk.tensor(values, (chunk.rows, *p.event_shape))


def is_discrete(p: Distribution) -> int:
    """Over how many levels a likelihood is.

    Raises:
        NotCodable: a density, or one whose elements do not come one after the other.
    """
    if not p.mass:
        raise NotCodable(
            f"compress: the likelihood is {type(p).__name__}, a density: data have no probability under it, so no "
            "length in bits. Train with bernoulli (binary data), or categorical, discretised_logistic or "
            "discretised_logistic_mixture (8-bit data)."
        )
    try:
        piece, _ = next(p.conditionals())
    except ValueError as error:
        raise NotCodable(f"compress: the likelihood's elements are not known one after the other: {error}") from error
    return piece.levels


def _most(piece: Factorised) -> int:
    """What the values are multiples of one over: pixels go up to 1, codes are whole numbers."""
    return 1 if isinstance(piece, Codes) else piece.levels - 1


def _symbols(chunk: Chunk, slot: int, step: int, piece: Factorised) -> Symbols:
    if isinstance(piece, Bernoulli):
        return Coins(chunk.rounder((slot, step, 0), chunk.array(piece.logits), FINENESS))
    # One level at a time: all of them as floating-point numbers would not fit into memory.
    logs = np.empty((piece.levels, chunk.n, size(piece.event_shape)), dtype=np.int16)
    for level, values in enumerate(piece.log_prob_by_level()):
        raised = np.maximum(chunk.array(values), FLOOR)
        logs[level] = chunk.rounder((slot, step, level), raised, FINENESS)
    return Tables(logs)
