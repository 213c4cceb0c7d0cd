"""One chunk of data on its way to or from the stack."""

__all__ = ["Chunk", "known", "walk"]

from collections.abc import Callable
from dataclasses import dataclass
from math import log, prod

import numpy as np
import torch
from torch import Tensor

from .._shapes import Shape
from ..distributions import Distribution, Factorised
from .rounding import Rounder
from .stack import Stack


@dataclass
class Chunk:
    """Rows that go through the model together, and where their bits go.

    Attributes:
        stack: what symbols are pushed on and popped from.
        rounder: of the numbers that feed the coder.
        index: which chunk it is.
        n: how many of the rows are data.
        rows: of every tensor that goes through the model; below the data there are zeros.
        bits: what was pushed less what was popped, by the model's own, unrounded numbers.
    """

    stack: Stack
    rounder: Rounder
    index: int
    n: int
    rows: int
    bits: float = 0.0

    def array(self, value: Tensor) -> np.ndarray:
        """The data's rows of a tensor ``(*lead, *event)``, as ``(n, numbers)``."""
        return value.reshape(self.rows, -1)[: self.n].numpy()

    def tensor(self, values: np.ndarray, shape: Shape) -> Tensor:
        """Rows of numbers ``(n, numbers)`` as a tensor of this shape, with zeros below them."""
        padded = np.zeros((self.rows, values.shape[-1]))
        padded[: self.n] = values
        return torch.from_numpy(padded).reshape(shape)

    def spread(self, p: Distribution) -> Distribution:
        """The distribution, with leading dimensions that have an index for each row."""
        return p if prod(p.lead_shape) == self.rows else p.expand((self.rows,))

    def pushed(self, log_probability: np.ndarray) -> None:
        """Counts symbols that go on the stack, by their log-probabilities in nats."""
        self.bits -= float(log_probability.sum()) / log(2)

    def popped(self, log_probability: np.ndarray) -> None:
        """Counts symbols that come from the stack."""
        self.bits += float(log_probability.sum()) / log(2)


def walk(p: Distribution, choose: Callable[[int, Factorised, slice], Tensor]) -> None:
    """Goes through the conditionals of p, whose values ``choose(step, piece, where)`` gives."""
    steps, step = p.conditionals(), 0
    piece, where = next(steps)
    while True:
        value = choose(step, piece, where)
        try:
            piece, where = steps.send(value)
        except StopIteration:
            return
        step += 1


def known(value: Tensor, piece: Factorised, where: slice, rows: int) -> Tensor:
    """The elements of an event that a piece is of, in the piece's shape."""
    return value.reshape(rows, -1)[:, where].reshape(piece.shape)
