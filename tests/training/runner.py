"""A small training run as a program: ``runner.py FOLDER [die-at-step] [options…]``; resumes a folder that is there.

With a step given, the process kills itself with SIGKILL in the middle of it; with the option ``dies``, only the one of
that rank; with ``stuck``, the others then wait for ever without looking at the connection. The option ``duel`` trains
the recipe of turns.py, ``codes`` a VQ-VAE, ``ladder`` a ladder VAE with batch normalisation; ``clocks`` gives each
process a clock of its own; ``identity`` puts a compiler that changes nothing in the place of the real one, on this
rank or on ``all``; on the others one that does not work.
"""

import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import torch
from turns import duel

import fourfold as ff
from fourfold.runs import resume
from fourfold.training import Step, loop

torch.set_num_threads(1)


def main(folder: str, die_at: int, options: dict[str, object]) -> None:
    """Starts or continues the run."""
    seen = 0
    dies, stuck = options.pop("dies", None), options.pop("stuck", False)
    forward = Step.forward

    def counted(self: Step, *args: object) -> object:
        nonlocal seen
        if self.training:
            seen += 1
            rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
            if seen == die_at and stuck and rank != dies:
                time.sleep(1000)
            if seen == die_at and dies in (None, rank):
                os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *args)  # type: ignore[arg-type]

    Step.forward = counted  # type: ignore[method-assign,assignment]
    if options.pop("clocks", False):
        pace, ticks = 1.0 + int(os.environ.get("LOCAL_RANK", "0")), count()
        loop.time = SimpleNamespace(monotonic=lambda: pace * next(ticks))  # type: ignore[assignment]
    if (which := options.pop("identity", None)) is not None:
        here = which == os.environ.get("LOCAL_RANK", "0") or which == "all"
        torch.compile = lambda made, **how: made if here else None  # type: ignore[assignment,return-value]
    if (Path(folder) / "run.json").exists():
        resume(folder, trust=("turns",))
        return
    if options.pop("duel", False):
        ff.fit(duel(every=3), ff.data.digits(), out=folder, quiet=True, **options)  # type: ignore[arg-type]
        return
    if options.pop("codes", False):
        sizes = {"codes": 8, "dim": 4, "hidden": (8,), "places": (4, 4), "layers": 2, "filters": 8}
        ff.fit(ff.recipes.vq_vae(**sizes), ff.data.digits(), out=folder, quiet=True, **options)  # type: ignore[arg-type]
        return
    recipe = ff.recipes.vae(latent=3, hidden=(16,), beta_schedule="linear:0:1:60")
    if options.pop("ladder", False):
        recipe = ff.recipes.lvae(latents=(4, 2), hidden=(12, 8), beta_schedule="linear:0.001:1:60")
    ff.fit(recipe, ff.data.digits(), out=folder, quiet=True, **options)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
