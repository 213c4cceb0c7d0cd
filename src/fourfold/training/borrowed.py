"""Torch's global generator, borrowed: for the dropout in a user's own network, which can draw from nothing else."""

__all__ = ["Borrowed"]

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import nn

# Homes of torch's modules that never draw after they are made.
_QUIET = ("activation", "batchnorm", "container", "conv", "flatten", "linear", "normalization", "padding", "upsampling")


class Borrowed:
    """While entered, ``key`` sets torch's global generators by what it is given; they are put back at the end.

    Modules of fourfold draw from the noise they are handed. A user's network may hold ``nn.Dropout``, which draws from
    the global generator; keyed by seed and step, it too is the same in a run that was killed and resumed. Where no
    module can draw, nothing is touched: threads that train side by side share the global generator.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.generators = [torch.default_generator] if any(map(_may_draw, module.modules())) else []
        if self.generators and device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        self._kept: list[torch.Tensor] = []

    def __enter__(self) -> "Borrowed":
        self._kept = [generator.get_state() for generator in self.generators]
        return self

    @contextmanager
    def again(self) -> Iterator[None]:
        """Borrowed for this block, within another borrowing or outside; then as it was before the block."""
        states = [generator.get_state() for generator in self.generators]
        try:
            yield
        finally:
            for generator, state in zip(self.generators, states, strict=True):
                generator.set_state(state)

    def key(self, *parts: object) -> None:
        """Sets the generators by this key."""
        if not self.generators:
            return
        number = int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")
        for generator in self.generators:
            generator.manual_seed(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for generator, state in zip(self.generators, self._kept, strict=True):
            generator.set_state(state)


def _may_draw(module: nn.Module) -> bool:
    """Whether a module is one that could draw: dropout and the like, and every class that is not known here."""
    home = type(module).__module__
    if home.startswith("torch.nn.modules."):
        return home.removeprefix("torch.nn.modules.") not in _QUIET or type(module) in (nn.RReLU, nn.MultiheadAttention)
    return not home.startswith(("fourfold.", "zuko."))  # zuko's draw in their distributions' own methods alone
