"""What evaluation asks of data, and how the draws of z are split so that memory stays flat."""

__all__ = ["BatchLike", "PerDraw", "chunks", "first", "ready"]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..models import Model
from ..noise import Noise, NoiseSource, Request


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
class _Part:
    x: Tensor
    c: Tensor | None
    mask: Tensor | None


class PerDraw(NoiseSource):
    """Noise drawn one draw of z at a time, so that S draws are the same S draws however they are chunked.

    Every request of a pass has its own stream, from which each draw takes its part in turn.

    Args:
        noise: the source; its forks become the streams.

    Example:
        >>> from fourfold.noise import Noise
        >>> whole, parts = PerDraw(Noise(0)), PerDraw(Noise(0))
        >>> together = whole.pass_of(4).normal((4, 5, 2), batch=1)
        >>> apart = [parts.pass_of(n).normal((n, 5, 2), batch=1) for n in (3, 1)]
        >>> torch.cat(apart).equal(together)
        True
    """

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._streams: list[Noise] = []
        self._draws, self._next = 1, 0

    def pass_of(self, draws: int) -> "PerDraw":
        """Itself, ready for one pass through a model with this many draws."""
        self._draws, self._next = draws, 0
        return self

    def draw(self, request: Request) -> Tensor:
        if self._next == len(self._streams):
            self._streams.append(self._noise.fork(str(self._next)))
        stream = self._streams[self._next]
        self._next += 1
        if not request.shape or request.shape[0] % self._draws:
            return stream.draw(request)
        part = replace(request, shape=(request.shape[0] // self._draws, *request.shape[1:]))
        return torch.cat([stream.draw(part) for _ in range(self._draws)])


def chunks(total: int, most: int) -> Iterator[int]:
    """Numbers that add up to ``total``, each at most ``most`` (and at least 1)."""
    most = max(most, 1)
    while total > 0:
        yield min(most, total)
        total -= most


def first(batches: Iterable[BatchLike], n: int | None) -> Iterator[BatchLike]:
    """The batches up to the n-th datum, the last one cut; all of them where n is ``None``."""
    for batch in batches:
        size = len(batch.x)
        if n is None or size <= n:
            yield batch
        else:
            c, mask = batch.c, batch.mask
            shared = mask is None or mask.ndim < batch.x.ndim
            yield _Part(batch.x[:n], None if c is None else c[:n], mask if shared else mask[:n])
        n = None if n is None else n - size
        if n is not None and n <= 0:
            return


def ready(model: Model, name: str) -> None:
    """Refuses a model in training mode: its dropout and batch statistics would be part of the number."""
    if model.training:
        raise ValueError(f"{name}: the model is in training mode. Call model.eval() first.")
