"""The engine underneath: devices, processes and precision, through Lightning Fabric."""

__all__ = ["launch"]

import logging
import warnings
from typing import TYPE_CHECKING

from .options import Training

if TYPE_CHECKING:
    from lightning.fabric import Fabric  # pragma: no cover
else:
    Fabric = object

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "64": "64-true"}


def launch(options: Training, loggers: tuple[object, ...] = ()) -> "Fabric":
    """A started engine. With several devices the program itself is started once for each of them.

    Under ``torchrun`` the processes are there already, and are used.
    """
    import os

    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    parallel = options.devices > 1 or world > 1
    # Buffers are the same everywhere already: synchronising them at each step would only cost time.
    strategy = DDPStrategy(broadcast_buffers=False) if parallel else "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            strategy=strategy,
            precision=_PRECISION[options.precision],
            loggers=list(loggers),
        )
        fabric.launch()
    return fabric
