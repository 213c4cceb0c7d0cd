"""Feeds: rows as tensors on a device, in the order of training or of evaluation, from memory or from disk."""

__all__ = ["Feed", "Raw", "RawStream", "Resident", "Streaming", "feed", "fits"]

import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._checks import positive_int
from .dataset import Split
from .order import Order
from .rows import RESIDENT_BYTES, Array, Rows, nbytes

Raw = tuple[Tensor, Tensor | None]
"""Stored values ``(B, *shape)``, and labels ``(B,)`` or None."""

RawStream = Generator[Raw, None, None]

_HANDOVER = 1 << 20  # bytes
_AHEAD = 1 << 16  # bytes: little enough to lie in the cache until it is used


class Feed(ABC):
    """Where a training loop gets its rows: raw values ``(B, *shape)`` and labels ``(B,)`` or None.

    Both kinds give the same rows in the same order. Close the iterators (``contextlib.closing``) or exhaust them:
    a streaming one has worker processes, which end with it.
    """

    def __init__(self, split: Split, device: torch.device | str) -> None:
        self.split = split
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.split)

    @abstractmethod
    def _read(self, picks: Iterator[Tensor]) -> RawStream:
        """The rows at each of the indices, on the device."""

    def batches(self, order: Order, start: int, stop: int, shard: tuple[int, int] = (0, 1)) -> RawStream:
        """The batches of the steps from start up to, but not including, stop.

        Args:
            order: which rows a step takes.
            start: the first step.
            stop: one past the last step.
            shard: ``(rank, world)``: the contiguous part ``rank`` of ``world`` equal parts of every batch.

        Raises:
            ValueError: if the order is of other data, or a batch has no equal parts.
        """
        rank, world = _check_shard(shard)
        if order.n != len(self):
            raise ValueError(f"Feed.batches: order is of {order.n} rows, the data have {len(self)}.")
        if order.batch % world:
            raise ValueError(
                f"Feed.batches: a batch of {order.batch} has no {world} equal parts, one a process. "
                f"Choose a batch size that {world} divides."
            )
        part = order.batch // world
        picks = (order.indices(step)[rank * part : (rank + 1) * part] for step in range(start, stop))
        return self._read(picks)

    def chunks(
        self, size: int, shard: tuple[int, int] = (0, 1)
    ) -> Generator[tuple[int, Tensor, Tensor | None], None, None]:
        """All rows once, in order: ``(start, raw, labels)``, of at most ``size`` rows; chunk i is of rank i % world."""
        rank, world = _check_shard(shard)
        size = positive_int(size, "Feed.chunks: size")
        starts = range(rank * size, len(self), world * size)
        picks = (torch.arange(start, min(start + size, len(self))) for start in starts)
        rows = self._read(picks)
        try:
            for start, (raw, labels) in zip(starts, rows, strict=True):
                yield start, raw, labels
        finally:
            rows.close()


def _check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    rank, world = shard
    if not 0 <= rank < world:
        raise ValueError(f"Feed: shard must be (rank, world) with 0 <= rank < world, got {shard}.")
    return rank, world


@final
class Resident(Feed):
    """All rows on the device, as stored (one byte a level), picked there.

    Small batches are picked several at a time: to begin to pick costs more than a small batch does.
    """

    def __init__(self, split: Split, device: torch.device | str = "cpu") -> None:
        super().__init__(split, device)
        self.x = _tensor(split.x).to(self.device)
        self.labels = None if split.labels is None else _tensor(split.labels).to(self.device)

    def _read(self, picks: Iterator[Tensor]) -> RawStream:
        for group in _grouped(picks, _AHEAD * len(self) // max(self.x.nbytes, 1)):
            where = (group[0] if len(group) == 1 else torch.cat(group)).to(self.device, non_blocking=True)
            raw = self.x.index_select(0, where)
            labels = None if self.labels is None else self.labels.index_select(0, where)
            if len(group) == 1:
                yield raw, labels
                continue
            sizes = [len(index) for index in group]
            none = [None] * len(group)
            yield from zip(raw.split(sizes), none if labels is None else labels.split(sizes), strict=True)


@final
class Streaming(Feed):
    """Rows read from a memory-mapped file by worker processes, ahead of their use.

    Several small batches are read and handed over together, about a MiB at a time: a hand-over between processes costs
    more than a small batch does.

    Args:
        split: best with :class:`~fourfold.data.Rows`, which travel to the workers as a path.
        device: where the tensors go.
        workers: how many processes read; 0 reads in this one.
    """

    def __init__(self, split: Split, device: torch.device | str = "cpu", workers: int = 2) -> None:
        super().__init__(split, device)
        if workers < 0:
            raise ValueError(f"Streaming: workers must be at least 0, got {workers}.")
        self.workers = workers
        self.labels = None if split.labels is None else _tensor(split.labels).to(self.device)

    def _read(self, picks: Iterator[Tensor]) -> RawStream:
        asked: deque[list[Tensor]] = deque()  # what is being read, in order: the loader asks ahead
        loader = iter(
            DataLoader(
                _Table(self.split.x),
                batch_size=None,
                sampler=self._requests(picks, asked),  # type: ignore[arg-type]
                num_workers=self.workers,
                collate_fn=_as_it_is,
                worker_init_fn=_ignore_interrupt,
                generator=torch.Generator(),  # without one, every iterator draws from the global generator
            )
        )
        try:
            for block in loader:
                group = asked.popleft()
                parts = torch.from_numpy(block).to(self.device).split([len(index) for index in group])
                for raw, index in zip(parts, group, strict=True):
                    yield raw, None if self.labels is None else self.labels.index_select(0, index.to(self.device))
        finally:
            del loader  # the last reference: its workers end here, also when the loop above is left by an exception

    def _requests(self, picks: Iterator[Tensor], asked: deque[list[Tensor]]) -> Iterator[np.ndarray]:
        for group in _grouped(picks, _HANDOVER * len(self) // nbytes(self.split.x)):
            asked.append(group)
            yield torch.cat(group).numpy()


def _grouped(picks: Iterator[Tensor], enough: int) -> Iterator[list[Tensor]]:
    """Indices of batches that follow one another, together as soon as they are of enough rows."""
    group: list[Tensor] = []
    rows = 0
    for index in picks:
        group.append(index)
        rows += len(index)
        if rows >= enough:
            yield group
            group, rows = [], 0
    if group:
        yield group


@final
class _Table(Dataset[Any]):
    """Rows by arrays of indices, as a worker process sees them: arrays travel through a pipe, need no shared memory."""

    def __init__(self, x: Array) -> None:
        self.x = x

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.x[index])


def _as_it_is(block: Any) -> Any:
    return block


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tensor(x: Array) -> Tensor:
    array = np.ascontiguousarray(x[:])
    # torch warns of arrays it may not write to (memory maps); they are copied.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def fits(split: Split) -> bool:
    """Whether the rows are held in memory: they are there already, or below 2 GiB."""
    return not isinstance(split.x, Rows | np.memmap) or nbytes(split.x) < RESIDENT_BYTES


def feed(
    split: Split, device: torch.device | str = "cpu", *, workers: int = 2, resident: bool | None = None
) -> Resident | Streaming:
    """The feed that fits: resident if the rows are in memory already or below 2 GiB, else streaming.

    Args:
        split: the rows.
        device: where the tensors go.
        workers: processes of a streaming feed.
        resident: True or False decides by hand.

    Example:
        >>> rows = feed(Split(np.arange(6, dtype=np.float32).reshape(3, 2)))
        >>> [raw.tolist() for _, raw, _ in rows.chunks(2)]
        [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0]]]
    """
    if resident is None:
        resident = fits(split)
    return Resident(split, device) if resident else Streaming(split, device, workers)
