"""Randomness as an argument: every random number of a model comes from a source that the caller hands in."""

__all__ = ["Noise", "NoiseSource", "Recorder", "Replay", "Request", "stacked"]

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Request:
    """One draw that was asked for: its kind, its shape, which dimension is the batch, its type."""

    kind: str
    shape: tuple[int, ...]
    batch: int
    dtype: torch.dtype


class NoiseSource(ABC):
    """Where random numbers come from; ``batch`` names the dimension that runs over the data."""

    @abstractmethod
    def draw(self, request: Request) -> Tensor:
        """Fulfil one request."""

    def normal(self, shape: tuple[int, ...], batch: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        """Independent draws of N(0, 1)."""
        return self.draw(Request("normal", tuple(shape), batch, dtype or torch.get_default_dtype()))

    def uniform(self, shape: tuple[int, ...], batch: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        """Independent draws, uniform on [0, 1)."""
        return self.draw(Request("uniform", tuple(shape), batch, dtype or torch.get_default_dtype()))

    def levels(self, shape: tuple[int, ...], batch: int = 0) -> Tensor:
        """Independent integers, uniform on 0, 1 … 254, as uint8: ``levels < v`` is 1 with probability v / 255.

        Several times cheaper than comparing floats: dynamic binarisation is the largest draw of a training step.
        """
        return self.draw(Request("levels", tuple(shape), batch, torch.uint8))


class Noise(NoiseSource):
    """A stream of random numbers keyed by seed, stream name and step.

    The same key gives the same numbers on any process, whatever was drawn elsewhere; the state of torch's global
    generator is neither read nor changed. With ``shard=(i, n)`` every request is drawn for the whole global batch
    of n equal parts and part i is returned, so that n processes (or n accumulated pieces) see what one would see.

    Args:
        seed: any integer; ``None`` takes fresh entropy from the operating system.
        stream: names an independent stream of the same seed.
        step: the position in training; each step is its own key.
        device: where the numbers are drawn. Devices differ in their generators: a CPU and a GPU disagree.
        shard: ``(index, count)``.

    Example:
        >>> Noise(0).normal((2,)).equal(Noise(0).normal((2,)))
        True
        >>> whole = Noise(0).normal((4, 3))
        >>> whole[2:].equal(Noise(0, shard=(1, 2)).normal((2, 3)))
        True
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        stream: str = "",
        step: int = 0,
        device: torch.device | str = "cpu",
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.seed = int.from_bytes(os.urandom(6), "little") if seed is None else int(seed)
        self.stream, self.step, self.shard = stream, step, shard
        self.device = torch.device(device)
        self._generator: torch.Generator | None = None

    def at(self, step: int, shard: tuple[int, int] | None = None) -> "Noise":
        """The same stream at another step (and, if given, for another shard)."""
        return Noise(self.seed, stream=self.stream, step=step, device=self.device, shard=shard or self.shard)

    def fork(self, name: str) -> "Noise":
        """An independent stream, keyed by this one's key and the name."""
        stream = f"{self.stream}/{name}"
        return Noise(self.seed, stream=stream, step=self.step, device=self.device, shard=self.shard)

    def draw(self, request: Request) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(device=self.device)
            self._generator.manual_seed(self.key())
        index, count = self.shard
        shape = list(request.shape)
        if count > 1:
            shape[request.batch] *= count
        numbers = self._numbers(request.kind, shape, request.dtype)
        if count > 1:
            part = request.shape[request.batch]
            numbers = numbers.narrow(request.batch, index * part, part)
        return numbers

    def _numbers(self, kind: str, shape: list[int], dtype: torch.dtype) -> Tensor:
        if kind == "levels":
            return self._levels(shape)
        if kind == "normal":
            return torch.randn(shape, generator=self._generator, device=self.device, dtype=dtype)
        return torch.rand(shape, generator=self._generator, device=self.device, dtype=dtype)

    def _levels(self, shape: list[int]) -> Tensor:
        """From 16-bit words, in bytes: 257 or 258 of the 65,536 words lead to each level, so 1/255 to within 2⁻¹⁶."""
        if self.device.type != "cpu":
            return torch.randint(0, 255, shape, generator=self._generator, device=self.device, dtype=torch.uint8)
        count = prod(shape)
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=self._generator)
        return _levels_of(words, count).view(shape)

    def key(self) -> int:
        """What a generator is seeded by."""
        text = f"{self.seed}|{self.stream}|{self.step}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")


class Recorder(NoiseSource):
    """Passes requests on to another source and remembers them and their answers."""

    def __init__(self, source: NoiseSource) -> None:
        self.source = source
        self.requests: list[Request] = []
        self.tensors: list[Tensor] = []

    def draw(self, request: Request) -> Tensor:
        numbers = self.source.draw(request)
        self.requests.append(request)
        self.tensors.append(numbers)
        return numbers


class Replay(NoiseSource):
    """Hands out given tensors in order: how a compiled or vectorised step receives noise drawn outside it.

    Args:
        tensors: what is handed out.
        kinds: what each is a draw of, if another kind of draw is to be refused.
    """

    def __init__(self, tensors: tuple[Tensor, ...] | list[Tensor], kinds: tuple[str, ...] = ()) -> None:
        self.tensors, self.kinds = tuple(tensors), kinds
        self._next = 0

    @property
    def left(self) -> int:
        """How many were not asked for yet."""
        return len(self.tensors) - self._next

    def draw(self, request: Request) -> Tensor:
        if self._next >= len(self.tensors):
            raise ValueError(f"Replay: {len(self.tensors)} tensors were given, one more was asked for: {request}.")
        numbers = self.tensors[self._next]
        if tuple(numbers.shape) != request.shape:
            raise ValueError(f"Replay: tensor {self._next} has shape {tuple(numbers.shape)}, wanted {request.shape}.")
        if self.kinds and self.kinds[self._next] != request.kind:
            raise ValueError(f"Replay: tensor {self._next} is {self.kinds[self._next]}, wanted {request.kind}.")
        self._next += 1
        return numbers


def stacked(sources: Sequence[Noise], requests: Sequence[Request]) -> tuple[Tensor, ...]:
    """What each source would answer to these requests, one after the other: ``(sources, *shape)`` for each request.

    On a CPU one generator goes from key to key, and levels are made of all words at once: a third of the time that the
    sources take one by one, for the same numbers.

    Args:
        sources: fresh ones, of which nothing was drawn yet; whole batches, no shards.
        requests: as a ``Recorder`` took them down.

    Example:
        >>> asked = [Request("normal", (2,), 0, torch.float32)]
        >>> stacked([Noise(0), Noise(1)], asked)[0][1].equal(Noise(1).normal((2,)))
        True
    """
    if any(source.device.type != "cpu" for source in sources):
        drawn = [[source.draw(request) for request in requests] for source in sources]
        return tuple(torch.stack(numbers) for numbers in zip(*drawn, strict=True))
    count, generator = len(sources), torch.Generator()
    homes = [
        torch.empty(count, -(-prod(one.shape) // 4), dtype=torch.int64)
        if one.kind == "levels"
        else torch.empty(count, *one.shape, dtype=one.dtype)
        for one in requests
    ]
    rows = [(one.kind, home.unbind()) for one, home in zip(requests, homes, strict=True)]
    for i, source in enumerate(sources):
        generator.manual_seed(source.key())
        for kind, row in rows:
            if kind == "levels":
                row[i].random_(-(2**63), None, generator=generator)
            elif kind == "normal":
                row[i].normal_(generator=generator)
            else:
                row[i].uniform_(generator=generator)
    return tuple(
        _levels_of(home, prod(one.shape)).view(count, *one.shape) if one.kind == "levels" else home
        for one, home in zip(requests, homes, strict=True)
    )


def _levels_of(words: Tensor, count: int) -> Tensor:
    """``(…, count)`` levels of ``(…, words)`` random ones."""
    octets = words.view(torch.uint8)[..., : 2 * count].unflatten(-1, (2, count))
    low, high = octets.unbind(-2)
    # high − [low < high] runs over 0 … 254 almost evenly; only high = low = 255 leads beyond, to 255.
    return (high - (low < high).view(torch.uint8)).clamp_(max=254)
