"""A model as a lossless code."""

__all__ = ["Codec", "Progress", "check_codable"]

from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from math import isfinite, prod
from typing import final

import numpy as np
import torch
from torch import Tensor

from .._shapes import Shape, as_shape
from ..distributions import Distribution
from ..models import Model
from .block import Block, CodingOptions, Damaged, Grid, NotCodable
from .chunk import Chunk
from .grids import grids_for, valid
from .latents import is_codable
from .orders import BitsBack, BitSwap, Order
from .pixels import is_discrete
from .rounding import Rounder
from .stack import Empty, Stack, coder, seed_words

#: Called with how many data are done, of how many.
Progress = Callable[[int, int], None]

_WORDS = 1 << 12  # on the stack before any data; four times as many if they do not do
_MOST_WORDS = 1 << 28


@final
class Codec:
    r"""Bits-back coding with one model: ``decode`` gives back, bit for bit, what ``encode`` was given.

    .. math:: \text{bits} \approx -\log_2 p(x \mid z) - \log_2 p(z) + \log_2 q(z \mid x),

    with z on a grid: on average the model's −ELBO, plus what starts the stack. Made by ``check_codable``.

    The numbers that feed the entropy coder are rounded so that other thread counts, processes and batch sizes find the
    same ones (``Rounder``); the model itself must be the same, to the last bit of its weights.

    References:
        Townsend, Bird and Barber 2019, arXiv:1901.04866; Kingma, Abbeel and Ho 2019, arXiv:1905.06845 (chains).
    """

    def __init__(self, model: Model, data: Shape) -> None:
        self._model = deepcopy(model).to("cpu").double().eval().requires_grad_(False)
        self._data = data
        self._visits, self.levels = self._explored()

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
            options: how.
            progress: called after every chunk.

        Raises:
            NotCodable: values that the likelihood has no probability for; a model whose passes differ.
        """
        options = options or CodingOptions()
        self._check(x)
        words = _WORDS
        while True:
            try:
                block = self._encoded(x, _tensor(c, len(x)), options, Stack.seeded(options.seed, words), progress)
                break
            except Empty:
                words *= 4
                if words > _MOST_WORDS:
                    raise
        if options.verify:
            self._verify(block, x, c, progress)
        return block

    @torch.no_grad()
    def decode(
        self, block: Block, c: np.ndarray | Tensor | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """The data of a block, ``(n, *data)``, with their type.

        Raises:
            Damaged: a block that was altered, or that another model (or c) made.
        """
        try:
            x, left = self._decoded(block, _tensor(c, block.n), progress)
        except (Empty, ValueError, IndexError, OverflowError) as error:
            raise Damaged(f"{_DAMAGED} ({error})") from error
        if len(left) != block.initial_words or not np.array_equal(left, seed_words(str(block.seed), len(left))):
            raise Damaged(f"{_DAMAGED} (what is left of the stack is not what it began with)")
        return x

    @torch.no_grad()
    def _encoded(
        self, x: np.ndarray, c: Tensor | None, options: CodingOptions, stack: Stack, progress: Progress | None
    ) -> Block:
        n, rows, total = len(x), options.chunk, len(x) * (2 if options.verify else 1)
        first = min(n, rows)
        sample, given = self._rows(x[:first], rows), _padded(None if c is None else c[:first], rows)
        found = grids_for(self._model, sample, given, first, options.step)
        order = self._order(tuple(found[self._visits.index(level)] for level in range(len(self._visits))))
        sizes: list[int] = []
        shifts: list[tuple[int, ...]] = []
        done, size, bits = 0, 1, 0.0
        while done < n:
            size = min(size, n - done)
            part = slice(done, done + size)
            chunk = Chunk(stack, Rounder(), len(sizes), size, rows)
            before = stack.mark()
            order.encode(chunk, self._rows(x[part], rows), _padded(None if c is None else c[part], rows))
            shifts += [(len(sizes), *key, shift) for key, shift in chunk.rounder.shifts.items()]
            sizes.append(size)
            done, bits = done + size, bits + chunk.bits
            # What the next chunk borrows is no more than what data have put on the stack so far.
            each = (before - stack.trough + 1) / size
            size = int(min(max((stack.depth - stack.lowest) / each, 1), rows))
            if progress is not None:
                progress(done, total)
        if not isfinite(bits):
            raise NotCodable("compress: the model gives some of these data no probability at all: it cannot code them.")
        words, initial = stack.trimmed()
        return Block(
            n, x.dtype.name, rows, options.seed, tuple(sizes), order.grids, tuple(shifts), words, initial, bits
        )

    def _decoded(self, block: Block, c: Tensor | None, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
        self._fits(block)
        x, stack, order = (
            np.empty((block.n, *self._data), block.dtype),
            Stack(block.words, block.seed),
            self._order(block.grids),
        )
        known: dict[int, dict[tuple[int, int, int], int]] = defaultdict(dict)
        for i, slot, step, part, shift in block.shifts:
            known[i][slot, step, part] = shift
        end = block.n
        for i, size in reversed(list(enumerate(block.sizes))):
            part = slice(end - size, end)
            chunk = Chunk(stack, Rounder(known[i]), i, size, block.chunk)
            made = order.decode(chunk, self._data, _padded(None if c is None else c[part], block.chunk))
            x[part] = np.rint(made[:size].numpy() * (self.levels - 1)).astype(block.dtype)
            end -= size
            if progress is not None:
                progress(block.n - end, block.n)
        return x, stack.words

    def _verify(self, block: Block, x: np.ndarray, c: np.ndarray | Tensor | None, progress: Progress | None) -> None:
        try:
            back = self.decode(block, c, None if progress is None else lambda done, n: progress(n + done, 2 * n))
        except Damaged as error:
            raise NotCodable(f"{_UNSTEADY} ({error})") from error
        if not np.array_equal(back, x):
            raise NotCodable(_UNSTEADY)

    def _explored(self) -> tuple[tuple[int, ...], int]:
        """The levels in the order in which the model infers them, and how many values an element of x can have."""
        c, condition = None, self._model.condition
        if condition is not None:
            c = torch.zeros(2, dtype=torch.long) if condition.classes else torch.zeros(2, *condition.shape)
        picked: list[Tensor] = []

        def infer(i: int, q: Distribution) -> Tensor:
            is_codable(q, f"the posterior ({type(q).__name__})")
            picked.append(torch.zeros(1, 2, *q.event_shape, dtype=torch.float64))
            return picked[-1]

        def generate(i: int, p: Distribution) -> Tensor:
            is_codable(p, f"the prior ({type(p).__name__})")
            return torch.zeros(2, *p.event_shape, dtype=torch.float64)

        with torch.no_grad():
            p_x = self._model.generate(2, c, generate).p_x
            levels = is_discrete(p_x)
            if tuple(p_x.event_shape) != self._data:  # before there is anything as large as some file says
                raise NotCodable(f"compress: data of shape {self._data}, but the model's are {tuple(p_x.event_shape)}.")
            trace = self._model.infer(torch.zeros(2, *self._data, dtype=torch.float64), c, infer)
        visits = tuple(next(i for i, level in enumerate(trace.levels) if level.z is z) for z in picked)
        return visits, levels

    def _order(self, grids: tuple[Grid, ...]) -> Order:
        chain = self._model.markov and len(grids) > 1
        return (BitSwap if chain else BitsBack)(self._model, grids, self._visits)

    def _check(self, x: np.ndarray) -> None:
        if x.dtype.kind not in "biu":
            raise NotCodable(
                f"compress: wanted whole numbers 0 … {self.levels - 1}, got {x.dtype}. Lossless means whole numbers: "
                "give uint8."
            )
        if tuple(x.shape[1:]) != self._data or not len(x):
            raise NotCodable(f"compress: wanted data (n, {', '.join(map(str, self._data))}), got {tuple(x.shape)}.")
        least, most = int(x.min()), int(x.max())
        if least < 0 or most >= self.levels:
            why = (
                "the likelihood is of 0 and 1 only, and nothing is binarised here: give binary data, or take a model "
                "with a likelihood over 256 levels (categorical, discretised_logistic, beta_binomial, …)"
                if self.levels == 2
                else f"the likelihood has no probability for what is not 0 … {self.levels - 1}"
            )
            raise NotCodable(f"compress: the data go from {least} to {most}, but {why}.")

    def _fits(self, block: Block) -> None:
        """Refuses what no encoder with this model makes, before it does harm."""
        shapes = [prod(shape) for shape in self._model.latent_shapes]
        grids = [len(grid.exponents) for grid in block.grids]
        if np.dtype(block.dtype).kind not in "biu" or sum(block.sizes) != block.n or grids != shapes:
            raise Damaged("its numbers do not fit together, or not to this model")
        if not all(1 <= size <= block.chunk for size in block.sizes):
            raise Damaged("its chunks are of impossible sizes")
        if not all(valid(grid) for grid in block.grids):
            raise Damaged("its grids are impossible")

    def _rows(self, x: np.ndarray, rows: int) -> Tensor:
        """Data as the likelihood has them, with zeros below."""
        made = torch.zeros(rows, *self._data, dtype=torch.float64)
        made[: len(x)] = torch.from_numpy(x.astype(np.float64) / (self.levels - 1))
        return made


def check_codable(model: Model, data: int | Shape) -> Codec:
    """The code that a model is, for data of a shape.

    Args:
        model: it is copied, to float64 and evaluation mode on the CPU.
        data: shape of one datum.

    Raises:
        NotCodable: a likelihood that is a density; latents that are points, or whose conditionals are neither
            Gaussian nor codes (a flow of several steps), by name and with the reason.
        ImportError: without the library constriction.
    """
    coder()
    return Codec(model, as_shape(data, "check_codable: data"))


_DAMAGED = "The block does not decode: it was altered, or coded with another model or other conditions."
_UNSTEADY = (
    "compress: what was encoded does not decode to itself: two passes through the model on the same data differ by "
    "more than rounding. Nothing was kept. A model whose passes draw random numbers cannot be a code."
)


def _tensor(c: np.ndarray | Tensor | None, n: int) -> Tensor | None:
    if c is None:
        return None
    c = torch.as_tensor(c)
    if len(c) != n:
        raise NotCodable(f"compress: wanted one condition for each of {n} data, got {len(c)}.")
    return c.double() if c.is_floating_point() else c.long()


def _padded(c: Tensor | None, rows: int) -> Tensor | None:
    if c is None:
        return None
    made = c.new_zeros(rows, *c.shape[1:])
    made[: len(c)] = c
    return made
