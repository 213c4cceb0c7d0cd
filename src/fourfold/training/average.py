"""An exponential moving average of the weights."""

__all__ = ["Average"]

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..networks import BatchNorm
from .checkpoint import module_tensors


class Average:
    """w̄ ← d·w̄ + (1 − d)·w after every step; evaluation borrows w̄ (Polyak and Juditsky 1992).

    Args:
        module: whose parameters are averaged.
        decay: d; 0 keeps no average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        # Running statistics too belong to the weights they were gathered with. All other state of our own (a codebook,
        # what a stage or a controller sets) is of no weights: an average of it would be of nothing that was ever used.
        ours = [part for part in module.modules() if type(part).__module__.startswith("fourfold.")]
        kept = {id(b) for part in ours if not isinstance(part, BatchNorm) for b in part.buffers(recurse=False)}
        own = module.state_dict(keep_vars=True)
        found = {k: v for k, v in module_tensors(module).items() if v.is_floating_point() and id(own[k]) not in kept}
        self.live = found if decay else {}
        self.mean = {name: p.detach().clone() for name, p in self.live.items()}

    def update(self) -> None:
        """Takes in the present weights; to be called without gradient."""
        if self.mean:
            torch._foreach_lerp_(list(self.mean.values()), list(self.live.values()), 1 - self.decay)

    def keep(self, module: nn.Module, names: Iterable[str]) -> None:
        """Takes some of the module's tensors as they are: statistics that were gathered with the average itself."""
        live = module_tensors(module)
        for name in self.mean.keys() & set(names):
            self.mean[name].copy_(live[name])

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Takes up an average that a checkpoint kept."""
        for name, mean in self.mean.items():
            mean.copy_(tensors[name])

    @contextmanager
    @torch.no_grad()
    def borrowed(self) -> Iterator[None]:
        """The module carries the averaged weights inside this block."""
        kept = {name: p.detach().clone() for name, p in self.live.items()}
        for name, p in self.live.items():
            p.copy_(self.mean[name])
        try:
            yield
        finally:
            for name, p in self.live.items():
                p.copy_(kept[name])
