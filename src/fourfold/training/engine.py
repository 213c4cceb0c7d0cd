"""The engine underneath: devices, processes and precision, through Lightning Fabric."""

__all__ = ["launch"]

import logging
import warnings
from typing import TYPE_CHECKING, Any

from .options import Training
from .together import supervise

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "64": "64-true"}


def launch(options: Training, loggers: tuple[Any, ...] = ()) -> "Fabric":
    """A started engine. With several devices the program itself is started once for each of them.

    Under ``torchrun`` the processes are there already, and are used. A process waits ten minutes for the others, then
    gives up: longer than any of them has to compile, to check its data or to write a checkpoint.
    """
    import atexit
    import os
    from datetime import timedelta

    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    parallel = options.devices > 1 or world > 1
    strategy = DDPStrategy(timeout=timedelta(minutes=10), **_own_buffers()) if parallel else "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=_accelerator(options.accelerator),
            devices=options.devices,
            num_nodes=max(1, world // options.devices),
            strategy=strategy,
            precision=_PRECISION[options.precision],
            loggers=list(loggers),
        )
        fabric.launch()
    if parallel:
        # Gloo's threads must be joined before the interpreter goes, or now and then it aborts at the very end.
        atexit.register(_part)
        supervise(fabric)
    return fabric


def _part() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _accelerator(wanted: str) -> str:
    """CUDA where there is some, else the CPU. Apple's MPS has no float64, in which sums over data are taken."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _own_buffers() -> dict[str, Any]:
    """Buffers are the same everywhere already: synchronising them at each step would only cost time."""
    import inspect

    from torch.nn.parallel import DistributedDataParallel

    renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
