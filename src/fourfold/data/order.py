"""The order of the data in training: an endless stream of fresh permutations, a pure function of seed and step."""

__all__ = ["Order"]

import hashlib
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from .._checks import positive_int


@final
class Order:
    """Permutations of the data laid end to end, cut into batches of one size.

    Step t takes the entries t*B to (t+1)*B of the stream, so that a batch may straddle two passes, every batch has B
    rows, and every row is seen once in each pass. Nothing of torch's global generator is used: pass e is permuted by
    a generator keyed by (seed, e), so that a resumed run finds the same order without any stored state.

    Args:
        n: how many rows there are.
        batch: B, how many rows a step takes (over all processes), at most n.
        seed: any integer.

    Raises:
        ValueError: if the batch is larger than the data.

    Example:
        >>> order = Order(n=5, batch=2, seed=0)
        >>> sorted(torch.cat([order.indices(t) for t in range(5)]).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        >>> order.steps(epochs=2)
        5
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n = positive_int(n, "Order: n")
        self.batch = positive_int(batch, "Order: batch")
        self.seed = int(seed)
        if self.batch > self.n:
            raise ValueError(
                f"Order: batch must be at most the {n} rows of the data, got {batch}. Lower the batch size."
            )
        self._passes: dict[int, Tensor] = {}

    def indices(self, step: int) -> Int[Tensor, " B"]:
        """The rows of the global batch at a step, counted from 0."""
        if step < 0:
            raise ValueError(f"Order.indices: step must be at least 0, got {step}.")
        number, start = divmod(step * self.batch, self.n)
        head = self._permutation(number)[start : start + self.batch]
        if len(head) == self.batch:
            return head
        return torch.cat([head, self._permutation(number + 1)[: self.batch - len(head)]])

    def steps(self, epochs: int | float) -> int:
        """How many steps come closest to this many passes over the data."""
        if not 0 <= epochs < float("inf"):
            raise ValueError(f"Order.steps: epochs must be a finite number of at least 0, got {epochs!r}.")
        return round(epochs * self.n / self.batch)

    def _permutation(self, number: int) -> Tensor:
        if number not in self._passes:
            key = hashlib.blake2b(f"order|{self.seed}|{number}".encode(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key, "little"))
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = torch.randperm(self.n, generator=generator)
        return self._passes[number]
