"""Numbers of the steps, kept on the device and read once an interval; and the file they end in."""

__all__ = ["Meter", "MetricsLog", "NonFinite"]

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._files import whole


class NonFinite(RuntimeError):
    """A loss that is not a number, or infinite."""

    @staticmethod
    def at(error: "NonFinite") -> str:
        """Where and what, without what to do about it: ``step 12: rate is nan``."""
        return str(error).removeprefix("Training stopped at ").split(". ")[0].removesuffix(".")


class Meter:
    """Collects one row of numbers a step without waiting for the device.

    Args:
        capacity: how many steps an interval can have.
        device: where the numbers are.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.rows: Tensor | None = None
        self.count = 0
        self.steps: list[int] = []

    def add(self, numbers: Tensor, step: int) -> None:
        """The numbers of one step."""
        if self.rows is None:
            self.rows = torch.zeros(self.capacity, len(numbers), dtype=numbers.dtype, device=self.device)
        self.rows[self.count].copy_(numbers)
        self.count += 1
        self.steps.append(step)

    def drop(self) -> None:
        """Forgets the numbers of the last step."""
        self.count -= 1
        self.steps.pop()

    def filled(self) -> Tensor:
        """The rows of the interval so far, ``(count, numbers)``."""
        return self.rows[: self.count].clone() if self.rows is not None and self.count else torch.zeros(0, 0)

    def restore(self, rows: Tensor, steps: list[int]) -> None:
        """Takes up an interval where a checkpoint left it."""
        self.count, self.steps = 0, []
        for row, step in zip(rows.to(self.device), steps, strict=True):
            self.add(row, step)

    def read(self, names: tuple[str, ...]) -> list[float]:
        """The means over the interval, which then starts anew; nothing where there was no step.

        Raises:
            NonFinite: naming the first step and the first term that is not finite.
        """
        if not self.count:
            return []
        rows = self.filled().to("cpu", torch.float64)
        bad = ~rows.isfinite()
        if bad.any():
            first = int(bad.any(1).nonzero()[0])
            order = [i for i, n in enumerate(names) if n != "objective"] + [0]
            term = next(names[i] for i in order if bad[first, i])
            raise NonFinite(f"step {self.steps[first] + 1}: {term} is {rows[first, names.index(term)]}")
        self.count, self.steps = 0, []
        return rows.mean(0).tolist()


class MetricsLog:
    """``metrics.jsonl``: one JSON object a line, each step once.

    Args:
        path: the file; ``None`` keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def cut(self, step: int) -> None:
        """Drops what was written after this step: a resumed run writes it again. A torn last line goes too."""
        if self.path is None or not self.path.exists():
            return
        kept = [line for line in self.path.read_text().splitlines(keepends=True) if _step(line) <= step]
        with whole(self.path) as file:
            file.write("".join(kept).encode())

    def write(self, row: dict[str, Any]) -> None:
        """Appends one row."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
