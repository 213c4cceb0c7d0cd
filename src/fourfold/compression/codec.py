"""A model as a lossless code."""

__all__ = ["Codec", "check_codable"]

from collections.abc import Callable
from typing import final

import numpy as np
from torch import Tensor

from .._shapes import Shape
from ..models import Model
from .block import Block, CodingOptions

#: Called with how many data are done, of how many.
Progress = Callable[[int, int], None]


@final
class Codec:
    """Bits-back coding with one model: ``encode`` and ``decode`` are each other's inverse, bit for bit.

    Made by ``check_codable``.
    """

    def encode(
        self,
        x: np.ndarray,
        c: np.ndarray | Tensor | None = None,
        options: CodingOptions | None = None,
        progress: Progress | None = None,
    ) -> Block:
        """The data as a block.

        Args:
            x: whole numbers ``(n, *data)``: 0 and 1 for a Bernoulli, 0 … 255 for a likelihood over levels.
            c: the conditioning, ``(n, …)``, for a conditional model; decoding needs it again.

        Raises:
            NotCodable: values that the likelihood has no probability for.
        """
        raise NotImplementedError

    def decode(
        self, block: Block, c: np.ndarray | Tensor | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """The data of a block, ``(n, *data)``, with their type.

        Raises:
            Damaged: a block that was altered, or that another model made.
        """
        raise NotImplementedError


def check_codable(model: Model, data: Shape) -> Codec:
    """The code that a model is, for data of a shape.

    Raises:
        NotCodable: with the reason.
    """
    raise NotImplementedError
