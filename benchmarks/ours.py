"""Fourfold's own `fit`, held at the end of each piece so that it can be raced against others."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["fourfold_fit"]


class _Gate:
    """A logger of Fabric's kind: `fit` calls it at the end of each interval, and waits there to be let on."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """The end of a piece."""
        self.done.release()
        self.go.acquire()

    def piece(self) -> float:
        """Seconds of the next piece."""
        start = time.perf_counter()
        self.go.release()
        self.done.acquire()
        return time.perf_counter() - start


def fourfold_fit(images: Tensor, batch: int, steps: int, threads: int, held_out: int = 0) -> Callable[[], float]:
    """A function that lets `fit` train `steps` steps more and returns the seconds an image of them took.

    All that `fit` does for a step is in it: data order, view, trace, terms, metrics.jsonl. Images are binary already,
    as for the others. With `held_out`, the piece is an epoch, and ends with a validation on so many images.
    """
    import fourfold as ff
    from fourfold.data import DataSet, Split

    x = images.view(-1, 1, 28, 28).numpy()
    train = Split(x[: steps * batch] if held_out else x)
    data = DataSet("binary", train, Split(x[:held_out]) if held_out else None, None, levels=2, classes=None)
    gate = _Gate()
    recipe = ff.recipes.vae(latent=50, hidden=(200, 200), activation="tanh")
    options: dict[str, Any] = {"epochs": 10_000, "batch_size": batch, "log_steps": steps, "quiet": True}

    def run() -> None:
        torch.set_num_threads(threads)  # a setting of each thread
        with tempfile.TemporaryDirectory() as folder:
            ff.fit(recipe, data, out=f"{folder}/run", loggers=(gate,), **options)

    threading.Thread(target=run, daemon=True).start()
    gate.done.acquire()  # the first piece is start-up
    return lambda: gate.piece() / (steps * batch)
