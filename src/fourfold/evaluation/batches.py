"""What evaluation asks of data, and how the draws of z are split so that memory stays flat."""

__all__ = ["BatchLike", "ChunkedNoise", "Part", "first", "ready", "rows"]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..models import Model
from ..noise import Noise, NoiseSource, Request


@runtime_checkable
class BatchLike(Protocol):
    """Anything with these three: x of shape ``(B, *data)``, c and the mask of what is modelled, or ``None``."""

    @property
    def x(self) -> Tensor:
        """The data, ``(B, *data)``."""
        ...

    @property
    def c(self) -> Tensor | None:
        """The conditioning, ``(B, …)``."""
        ...

    @property
    def mask(self) -> Tensor | None:
        """1 on the elements that are modelled, ``(*data)`` or ``(B, *data)``."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Data from elsewhere, or some of a batch."""

    x: Tensor
    c: Tensor | None
    mask: Tensor | None


class ChunkedNoise(NoiseSource):
    """Noise for a batch whose draws of z are made in several passes: the same numbers however many passes there are.

    Every request of a pass has its own stream, from which the draws take their parts in turn, in grains of a fixed
    number of draws (one, unless the batch is small).

    Args:
        noise: the source; its forks become the streams.
        size: the number of data in the batch.

    Example:
        >>> def drawn(rows):
        ...     noise = ChunkedNoise(Noise(0), size=100)
        ...     return torch.cat([noise.normal((n, 100, 2), batch=1) for n in noise.passes(5, rows)])
        >>> drawn(rows=200).equal(drawn(rows=1000))
        True
    """

    def __init__(self, noise: Noise, size: int) -> None:
        self._noise, self._size = noise, size
        self._grain = max(64 // size, 1)  # fewer numbers than these at once cost more to ask for than to draw
        self._streams: list[Noise] = []
        self._draws, self._next = 1, 0

    def passes(self, draws: int, rows: int) -> Iterator[int]:
        """How many draws each pass makes: whole grains, of at most ``rows`` rows (draws × batch) if one grain fits."""
        most = max(rows // (self._size * self._grain), 1) * self._grain
        while draws > 0:
            self._draws, self._next = min(most, draws), 0
            yield self._draws
            draws -= self._draws

    def draw(self, request: Request) -> Tensor:
        if self._next == len(self._streams):
            self._streams.append(self._noise.fork(str(self._next)))
        stream = self._streams[self._next]
        self._next += 1
        each, rest = divmod(request.shape[0], self._draws) if request.shape else (0, 1)
        if rest:
            return stream.draw(request)
        grains = [min(self._grain, self._draws - i) for i in range(0, self._draws, self._grain)]
        return torch.cat([stream.draw(replace(request, shape=(n * each, *request.shape[1:]))) for n in grains])


def first(batches: Iterable[BatchLike], n: int | None) -> Iterator[BatchLike]:
    """The batches up to the n-th datum, the last one cut; all of them where n is ``None``."""
    for batch in batches:
        size = len(batch.x)
        if n is None or size <= n:
            yield batch
        else:
            yield rows(batch, slice(n))
        n = None if n is None else n - size
        if n is not None and n <= 0:
            return


def rows(batch: BatchLike, where: slice) -> Part:
    """Some data of a batch."""
    c, mask = batch.c, batch.mask
    if mask is not None and mask.ndim == batch.x.ndim:
        mask = mask[where]
    return Part(batch.x[where], None if c is None else c[where], mask)


def ready(model: Model, name: str) -> None:
    """Refuses a model in training mode: its dropout and batch statistics would be part of the number."""
    if model.training:
        raise ValueError(f"{name}: the model is in training mode. Call model.eval() first.")
