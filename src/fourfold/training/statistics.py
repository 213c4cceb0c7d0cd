"""The statistics of batch normalisation, gathered from training data with the weights as they stand."""

__all__ = ["Statistics"]

from contextlib import closing
from typing import Any

import torch

from ..data import Feed, Order
from ..networks.normalisation import gathering, norms
from ..noise import Noise
from .average import Average
from .borrowed import Borrowed
from .step import Step

_FEW = 100  # batches before a validation or a checkpoint on the way


class Statistics:
    """Gathers what batch normalisation needs in evaluation; where a model has none, nothing happens.

    Args:
        rows: training data.
        order: of training: the first batches of it are taken.
        seed: of the run.
        fabric: the engine.
        generator: torch's own, borrowed for a user's dropout.
    """

    def __init__(self, rows: Feed, order: Order, seed: int, fabric: Any, generator: Borrowed) -> None:
        self.rows, self.order, self.seed, self.fabric, self.generator = rows, order, seed, fabric, generator

    @torch.no_grad()
    def gather(self, step: Step, average: Average | None, whole: bool = False) -> None:
        """Passes over training data: 100 batches, or the whole of them for the last word.

        Args:
            step: whose model; its mode stays what it was.
            average: whose weights the statistics belong to, if evaluation takes the average; it keeps them.
            whole: take every batch of a pass over the data.
        """
        if not norms(step):
            return
        if average is not None and average.mean:
            with average.borrowed():
                self._passes(step, whole)
                average.keep(step, [name for name, _ in _buffers(step)])
        else:
            self._passes(step, whole)

    def _passes(self, step: Step, whole: bool) -> None:
        shard = (self.fabric.global_rank, self.fabric.world_size)
        count = max(self.order.n // self.order.batch, 1)
        training = step.training
        step.train()
        rows = self.rows.batches(self.order, 0, count if whole else min(count, _FEW), shard)
        with self.generator.again(), gathering(step), closing(rows):
            for i, (raw, labels) in enumerate(rows):
                self.generator.key(self.seed, "statistics", i, shard[0])
                noise = Noise(self.seed, stream="statistics", step=i, device=self.fabric.device, shard=shard)
                with self.fabric.autocast():
                    step(raw, labels, noise)
        step.train(training)


def _buffers(step: Step) -> list[tuple[str, torch.Tensor]]:
    inside = {id(buffer) for part in norms(step) for buffer in part.buffers()}
    return [(name, buffer) for name, buffer in step.named_buffers() if id(buffer) in inside]
