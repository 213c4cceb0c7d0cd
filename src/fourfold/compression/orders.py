"""In which order latents and data go on the stack and come from it."""

__all__ = ["BitSwap", "BitsBack", "Order"]

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..distributions import Distribution
from ..models import Model
from ..trace import Trace
from .block import Grid
from .chunk import Chunk
from .latents import Place, pop_latent, push_latent
from .pixels import pop_data, push_data
from .symbols import Drawn, Scored


@dataclass(frozen=True)
class Order(ABC):
    """A way to code a chunk with a model of L levels; ``decode`` undoes every step of ``encode``, the last one first.

    What is rounded on level i, from the top, has slot i under p and L + 1 + i under q; the data's slot is L.

    Attributes:
        model: in float64.
        grids: of the levels, from top to bottom.
        visits: the levels in the order in which ``model.infer`` visits them.
    """

    model: Model
    grids: tuple[Grid, ...]
    visits: tuple[int, ...]

    @abstractmethod
    def encode(self, chunk: Chunk, x: Tensor, c: Tensor | None) -> None:
        """Puts x ``(rows, *data)`` on the stack."""

    @abstractmethod
    def decode(self, chunk: Chunk, data: tuple[int, ...], c: Tensor | None) -> Tensor:
        """Takes x from the stack."""

    def _p(self, level: int) -> Place:
        return Place(level, self.grids[level], Scored)

    def _q(self, level: int) -> Place:
        return Place(len(self.grids) + 1 + level, self.grids[level], Drawn)

    def _draw(self, chunk: Chunk, level: int, q: Distribution) -> Tensor:
        """z of a level, popped under its posterior."""
        chunk.stack.stir(f"{chunk.index} {level}")
        return pop_latent(chunk, self._q(level), q)

    def _put_back(self, chunk: Chunk, level: int, q: Distribution, z: Tensor) -> None:
        """What undoes it."""
        push_latent(chunk, self._q(level), q, z)
        chunk.stack.stir(f"{chunk.index} {level}")

    def _at(self, x: Tensor, z: dict[int, Tensor], c: Tensor | None, q: bool = True) -> Trace:
        """The model's distributions where z is known; zeros stand for the rest."""
        shapes = self.model.latent_shapes
        given = [z.get(i, torch.zeros(1, dtype=x.dtype).expand(len(x), *shape)) for i, shape in enumerate(shapes)]
        return self.model.at(x, tuple(value[None] for value in given), c, q)


@final
@dataclass(frozen=True)
class BitsBack(Order):
    """All latents are popped under q, then x and all latents are pushed under p.

    The first datum needs as many bits on the stack as all its latents have under q.

    References:
        Townsend, Bird and Barber 2019, arXiv:1901.04866.
    """

    def encode(self, chunk: Chunk, x: Tensor, c: Tensor | None) -> None:
        z: dict[int, Tensor] = {}

        def pick(i: int, q: Distribution) -> Tensor:
            level = self.visits[len(z)]
            z[level] = self._draw(chunk, level, q)
            return z[level][None]

        trace = self.model.infer(x, c, pick)
        push_data(chunk, len(self.grids), trace.p_x, x)
        for level in reversed(range(len(self.grids))):
            push_latent(chunk, self._p(level), trace.levels[level].p, z[level])

    def decode(self, chunk: Chunk, data: tuple[int, ...], c: Tensor | None) -> Tensor:
        z: dict[int, Tensor] = {}

        def pick(i: int, p: Distribution) -> Tensor:
            z[len(z)] = pop_latent(chunk, self._p(len(z)), p)
            return z[len(z) - 1]

        made = self.model.generate(chunk.rows, c, pick)
        x = pop_data(chunk, len(self.grids), made.p_x)
        if z:
            trace = self._at(x, z, c)
            for level in reversed(self.visits):
                self._put_back(chunk, level, trace.levels[level].q, z[level])
        return x


@final
@dataclass(frozen=True)
class BitSwap(Order):
    """For chains: what is below a level is pushed before the level above is popped.

    So the first datum needs bits for its largest level only, not for all of them.

    References:
        Kingma, Abbeel and Ho 2019, arXiv:1905.06845.
    """

    def encode(self, chunk: Chunk, x: Tensor, c: Tensor | None) -> None:
        z: dict[int, Tensor] = {}

        def pick(i: int, q: Distribution) -> Tensor:
            level = self.visits[len(z)]
            if z:
                self._push_known(chunk, level + 1, x, z, c)
            z[level] = self._draw(chunk, level, q)
            return z[level][None]

        self.model.infer(x, c, pick)
        self._push_known(chunk, 0, x, z, c)
        push_latent(chunk, self._p(0), self._at(x, z, c, q=False).levels[0].p, z[0])

    def _push_known(self, chunk: Chunk, level: int, x: Tensor, z: dict[int, Tensor], c: Tensor | None) -> None:
        """Pushes what is below a level, given the level."""
        trace = self._at(x, z, c, q=False)
        if level + 1 < len(self.grids):
            push_latent(chunk, self._p(level + 1), trace.levels[level + 1].p, z[level + 1])
        else:
            push_data(chunk, len(self.grids), trace.p_x, x)

    def decode(self, chunk: Chunk, data: tuple[int, ...], c: Tensor | None) -> Tensor:
        z: dict[int, Tensor] = {}
        x = torch.zeros(chunk.rows, *data, dtype=torch.float64)

        def pick(i: int, p: Distribution) -> Tensor:
            level = len(z)
            z[level] = pop_latent(chunk, self._p(level), p)
            if level:
                self._put_back(chunk, level - 1, self._at(x, z, c).levels[level - 1].q, z[level - 1])
            return z[level]

        made = self.model.generate(chunk.rows, c, pick)
        x = pop_data(chunk, len(self.grids), made.p_x)
        last = len(self.grids) - 1
        self._put_back(chunk, last, self._at(x, z, c).levels[last].q, z[last])
        return x
