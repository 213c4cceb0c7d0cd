"""What coding makes of data, as plain numbers; and what it refuses."""

__all__ = ["MOST_ROWS", "Block", "CodingOptions", "Damaged", "Grid", "NotCodable"]

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import UInt32

from .._checks import positive, positive_int

MOST_ROWS = 1 << 12
"""No chunk has more rows: what is decoded may say how much memory it takes, but not any number."""


class NotCodable(ValueError):
    """A model, or data, for which there is no lossless code here; it says why."""


class Damaged(ValueError):
    """A block that does not decode to what was encoded: altered, cut, or decoded by another model."""


@dataclass(frozen=True, slots=True)
class CodingOptions:
    """How data are coded.

    Args:
        step: the distance between neighbouring values of a latent, at most so many of its narrow posterior standard
            deviations (those at the 5 % quantile).
        chunk: how many data go through the model at once: always exactly so many, the rest being zeros. At most 4,096.
        seed: of the words that lie at the bottom of the stack before any data do.
        verify: decode what was encoded, and compare.

    Raises:
        ValueError: a number that is not above 0, or too large.
        TypeError: a seed that is no whole number.
    """

    step: float = 0.5
    chunk: int = 100
    seed: int = 0
    verify: bool = True

    def __post_init__(self) -> None:
        positive(self.step, "CodingOptions: step")
        if positive_int(self.chunk, "CodingOptions: chunk") > MOST_ROWS:
            raise ValueError(f"CodingOptions: chunk: wanted at most {MOST_ROWS:,} rows, got {self.chunk:,}.")
        if not isinstance(self.seed, int):
            raise TypeError(f"CodingOptions: seed: wanted a whole number, got {self.seed!r}.")


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that the latents of one level can take in a block: whole multiples of a power of two.

    Attributes:
        exponents: of each element, flattened: it takes multiples of 2**exponent.
        reach: the largest multiple, up or down.
    """

    exponents: tuple[int, ...]
    reach: int

    @property
    def steps(self) -> np.ndarray:
        """2**exponent of each element."""
        return np.exp2(np.array(self.exponents, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Block:
    """n data, coded; with the model (and c) this is all that decoding needs.

    Attributes:
        n: how many data.
        dtype: of the array that was given.
        chunk: rows of every pass through the model.
        seed: of the words at the bottom of the stack.
        sizes: how many data each chunk holds, in the order of coding; short ones come first.
        grids: of each level of latents, from top to bottom.
        shifts: ``(chunk, slot, step, part, shift)`` wherever the model's outputs were rounded on a shifted grid.
        words: the stack.
        initial_words: how many words of it are there for nothing but to start the stack.
        bound_bits: −log₂ of the importance weights, summed over the data, with the model's unrounded numbers and the
            latents of the grid: one draw of the quantised −ELBO.
    """

    n: int
    dtype: str
    chunk: int
    seed: int
    sizes: tuple[int, ...]
    grids: tuple[Grid, ...]
    shifts: tuple[tuple[int, ...], ...]
    words: UInt32[np.ndarray, " words"]
    initial_words: int
    bound_bits: float

    @property
    def bits(self) -> int:
        """What the words take."""
        return 32 * len(self.words)

    @property
    def initial_bits(self) -> int:
        """What of it starts the stack."""
        return 32 * self.initial_words

    @property
    def net_bits(self) -> int:
        """What of it is due to the data: compare it with ``bound_bits``."""
        return self.bits - self.initial_bits

    def pack(self) -> tuple[dict[str, Any], bytes]:
        """All of it as what JSON can hold, and the words as bytes."""
        record = {
            "n": self.n,
            "dtype": self.dtype,
            "chunk": self.chunk,
            "seed": self.seed,
            "sizes": [[size, len(list(same))] for size, same in groupby(self.sizes)],
            "grids": [{"exponents": list(grid.exponents), "reach": grid.reach} for grid in self.grids],
            "shifts": [list(shift) for shift in self.shifts],
            "initial_words": self.initial_words,
            "bound_bits": self.bound_bits,
        }
        return record, self.words.astype("<u4").tobytes()

    @staticmethod
    def unpack(record: Mapping[str, Any], words: bytes) -> "Block":
        """What ``pack`` packed.

        Raises:
            Damaged: a record that lacks something, or holds something else.
        """
        try:
            return Block(
                int(record["n"]),
                np.dtype(record["dtype"]).name,
                int(record["chunk"]),
                int(record["seed"]),
                tuple(int(size) for size, count in record["sizes"] for _ in range(count)),
                tuple(Grid(tuple(map(int, g["exponents"])), int(g["reach"])) for g in record["grids"]),
                tuple(tuple(map(int, shift)) for shift in record["shifts"]),
                np.frombuffer(words, dtype="<u4").astype(np.uint32),
                int(record["initial_words"]),
                float(record["bound_bits"]),
            )
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise Damaged(f"Block: its record is not what pack() made ({type(error).__name__}: {error}).") from error
