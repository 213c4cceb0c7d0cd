"""The order of the data in training: an endless stream of fresh permutations, a pure function of seed and step."""

__all__ = ["Order", "order_of", "window_of"]

import hashlib
from bisect import bisect_right
from itertools import accumulate
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from .._checks import positive_int
from .rows import Array, Rows


@final
class Order:
    """Permutations of the data laid end to end, cut into batches of one size.

    Step t takes the entries t*B to (t+1)*B of the stream, so that a batch may straddle two passes, every batch has B
    rows, and every row is seen once in each pass. Nothing of torch's global generator is used: pass e is permuted by
    a generator keyed by (seed, e), so that a resumed run finds the same order without any stored state.

    A permutation is of all rows (and takes 8 bytes for each of them), unless there are windows: then the shards are
    shuffled, W of them at a time are a window, and rows are shuffled within each window. Data far larger than memory
    are then read a few files at a time, where a permutation of all rows waits for the disk at every row. The price:
    rows of one shard meet only rows of W − 1 others in a pass, so shards should be mixed when they are written.

    Args:
        n: how many rows there are.
        batch: B, how many rows a step takes (over all processes), at most n.
        seed: any integer.
        windows: how many rows lie in each shard, one after the other, n in all; and W. ``None`` permutes all rows.

    Raises:
        ValueError: if the batch is larger than the data, or the shards are not of n rows.

    Example:
        >>> order = Order(n=5, batch=2, seed=0)
        >>> sorted(torch.cat([order.indices(t) for t in range(5)]).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        >>> order.steps(epochs=2)
        5
        >>> rows = Order(n=6, batch=3, seed=0, windows=((3, 3), 1)).indices(0)
        >>> sorted(rows.tolist()) in ([0, 1, 2], [3, 4, 5])
        True
    """

    def __init__(self, n: int, batch: int, seed: int, windows: tuple[tuple[int, ...], int] | None = None) -> None:
        self.n = positive_int(n, "Order: n")
        self.batch = positive_int(batch, "Order: batch")
        self.seed = int(seed)
        if self.batch > self.n:
            raise ValueError(
                f"Order: batch must be at most the {n} rows of the data, got {batch}. Lower the batch size."
            )
        self._passes: dict[int, Tensor] = {}
        self._windows: dict[tuple[int, int], Tensor] = {}
        self._starts: dict[int, list[int]] = {}
        self._ends = [] if windows is None else list(accumulate(windows[0]))
        self.windows = windows
        if windows is not None and (sum(windows[0]) != n or positive_int(windows[1], "Order: windows: W") < 1):
            raise ValueError(f"Order: windows: wanted shards of {n} rows in all, got {sum(windows[0])}.")

    def indices(self, step: int) -> Int[Tensor, " B"]:
        """The rows of the global batch at a step, counted from 0."""
        if step < 0:
            raise ValueError(f"Order.indices: step must be at least 0, got {step}.")
        number, start = divmod(step * self.batch, self.n)
        head = self._slice(number, start)
        if len(head) == self.batch:
            return head
        return torch.cat([head, self._slice(number + 1, 0)[: self.batch - len(head)]])

    def steps(self, epochs: int | float) -> int:
        """How many steps come closest to this many passes over the data."""
        if not 0 <= epochs < float("inf"):
            raise ValueError(f"Order.steps: epochs must be a finite number of at least 0, got {epochs!r}.")
        return round(epochs * self.n / self.batch)

    def _slice(self, number: int, start: int) -> Tensor:
        """A batch of a pass, or what is left of the pass."""
        if self.windows is None:
            return self._permutation(number)[start : start + self.batch]
        begins, parts = self._begins(number), []
        i = bisect_right(begins, start) - 1
        while i < len(begins) - 1 and begins[i] < start + self.batch:
            here = slice(max(start - begins[i], 0), start + self.batch - begins[i])
            parts.append(self._window(number, i)[here])
            i += 1
        return torch.cat(parts)

    def _begins(self, number: int) -> list[int]:
        """Where in a pass each window begins, and where the last one ends."""
        if number not in self._starts:
            assert self.windows is not None
            sizes = torch.tensor(self.windows[0])[self._permutation(number)].split(self.windows[1])
            ends = torch.stack([part.sum() for part in sizes]).cumsum(0).tolist()
            self._starts = {k: v for k, v in self._starts.items() if k == number - 1}
            self._starts[number] = [0, *ends]
        return self._starts[number]

    def _window(self, number: int, i: int) -> Tensor:
        """The rows of a window, shuffled; the last few windows are kept, for a batch may straddle some."""
        if (number, i) not in self._windows:
            assert self.windows is not None
            sizes, width = self.windows
            shards = self._permutation(number)[i * width : (i + 1) * width].tolist()
            rows = torch.cat([torch.arange(self._ends[k] - sizes[k], self._ends[k]) for k in shards])
            mixed = rows[torch.randperm(len(rows), generator=_keyed(f"window|{self.seed}|{number}|{i}"))]
            self._windows = dict([*self._windows.items()][-2:]) | {(number, i): mixed}
        return self._windows[number, i]

    def _permutation(self, number: int) -> Tensor:
        """Of all rows; with windows, of the shards."""
        if number not in self._passes:
            name, n = ("order", self.n) if self.windows is None else ("shards", len(self.windows[0]))
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = torch.randperm(n, generator=_keyed(f"{name}|{self.seed}|{number}"))
        return self._passes[number]


def _keyed(text: str) -> torch.Generator:
    key = hashlib.blake2b(text.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little"))


def window_of(shuffle: str) -> int:
    """W of ``window:W``; 0 of ``global``, which permutes all rows.

    Raises:
        ValueError: for anything else.

    Example:
        >>> window_of("window:8")
        8
    """
    name, _, number = shuffle.partition(":")
    if shuffle == "global":
        return 0
    if name != "window" or not number.isdecimal() or not int(number):
        raise ValueError(
            f"shuffle must be global, or window:W with W shards at a time, such as window:8; got {shuffle!r}."
        )
    return int(number)


def order_of(x: Array, batch: int, seed: int, shuffle: str = "global") -> Order:
    """The order of rows in training, as ``shuffle`` has it.

    Raises:
        ValueError: windows of data that are not in shards.
    """
    window = window_of(shuffle)
    if window and (not isinstance(x, Rows) or len(x.paths) < 2):
        raise ValueError(
            f"shuffle: {shuffle} is for data in shards, a folder of .npy files (fourfold.data.write_shards), and these "
            "are one array. Leave --shuffle out."
        )
    return Order(len(x), batch, seed, (x.shards, window) if window and isinstance(x, Rows) else None)
