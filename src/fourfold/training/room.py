"""How many members of one program have room in memory at once."""

__all__ = ["free_bytes", "room_for"]

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import order_of
from ..noise import Noise
from .job import Job, feeds_of
from .step import untouched

_COPIES = 9  # of weights: themselves, gradient, two moments, an average, and the first, moments and average marked
_PASSES = 3  # times what a pass keeps for its backward: gradients of it, and what is computed in between
_GROUPS = Path("/sys/fs/cgroup")


def room_for(job: Job, fabric: Any, processes: int = 1) -> int:
    """At least 1; measured by one pass of one member, to be doubled by nobody else: half of the free memory is taken.

    Args:
        job: one of the members.
        fabric: the engine.
        processes: how many share the memory.
    """
    free = free_bytes(fabric.device)
    return 1 << 30 if free is None else max(1, int(free / (2 * processes) / _needed(job, fabric.device)))


def _needed(job: Job, device: torch.device) -> int:
    """Bytes of one member, roughly: its weights as often as they are kept, and what its backward needs."""
    rows, _ = job.feeds or feeds_of(job, device)
    order = order_of(job.train.x, job.options.batch_size, job.options.seed, job.options.shuffle)
    raw, labels = next(rows.batches(order, 0, 1))
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    step = job.step.to(device).train()
    with untouched(step), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step(raw, labels, Noise(job.options.seed, device=device))
    own = sum(tensor.numel() * tensor.element_size() for tensor in (*step.parameters(), *step.buffers()))
    return _COPIES * own + _PASSES * (sum(seen.values()) + raw.nbytes) + 1


def free_bytes(device: torch.device) -> int | None:
    """Memory that nobody uses, as the system tells it; ``None`` where it does not."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # of a container; "max" is none
        most, now = ((_GROUPS / f"memory.{name}").read_text() for name in ("max", "current"))
        found.append(max(int(most) - int(now), 0))
    if not found and hasattr(os, "sysconf"):
        with suppress(ValueError, OSError):
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)
