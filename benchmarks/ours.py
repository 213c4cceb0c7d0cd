"""Fourfold's own training loop, an interval at a time, so that it can be raced against others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

__all__ = ["fourfold_loop"]


def fourfold_loop(images: Tensor, batch: int, steps: int, held_out: int = 0, **how: str) -> Callable[[], float]:
    """A function that trains `steps` steps more and returns the seconds an image of them took.

    All that `fit` does for a step is in it: data order, view, trace, terms, reading the numbers, metrics.jsonl. Images
    are binary already, as for the others. With `held_out`, the piece is an epoch that ends with a validation on so
    many images; ``how`` are other options of training: it is not compiled unless that is said.
    """
    import fourfold as ff
    from fourfold.data import DataSet, Split
    from fourfold.runs.prepare import prepare
    from fourfold.training import Job, Training, intervals, launch

    x = images.view(-1, 1, 28, 28).numpy()
    train = Split(x[: steps * batch] if held_out else x)
    data = DataSet("binary", train, Split(x[:held_out]) if held_out else None, None, levels=2, classes=None)
    options = Training(epochs=10_000, batch_size=batch, log_steps=steps, quiet=True).but(**{"compile": "off", **how})
    recipe = ff.recipes.vae(latent=50, hidden=(200, 200), activation="tanh")
    folder = Path(tempfile.mkdtemp())
    made = prepare(recipe, data, options)
    job = Job(made.step, data.train, data.validation, options, folder, quiet=True, stages=made.stages)
    loop = intervals(job, launch(options))

    def piece() -> float:
        nonlocal done
        start = time.perf_counter()
        now = next(loop).step  # the interval at the end of an epoch can be a short one
        seconds, trained = time.perf_counter() - start, now - done
        done = now
        return seconds / (trained * batch)

    done = 0
    piece()  # the first is start-up
    return piece
