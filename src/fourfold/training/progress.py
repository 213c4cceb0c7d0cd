"""Live progress of a run."""

__all__ = ["Progress"]

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Order


class Progress:
    """A bar with the epoch, −ELBO, distortion, rate, images a second and time left; redrawn on a timer.

    Args:
        order: batch size and number of data.
        steps: how many steps there will be.
        start: steps already done.
        quiet: show nothing.
    """

    def __init__(self, order: "Order", steps: int, start: int, *, quiet: bool) -> None:
        self.order, self.steps, self.start, self.quiet = order, steps, start, quiet
        self.done = start
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        from tqdm import tqdm

        batch = self.order.batch
        self._bar = tqdm(
            total=self.steps * batch,
            initial=self.start * batch,
            unit=" images",
            unit_scale=True,
            disable=self.quiet,
            mininterval=0.2,
            dynamic_ncols=True,
            desc=self._epoch(),
        )
        return self

    def advance(self) -> None:
        """One step more."""
        self.done += 1
        self._bar.update(self.order.batch)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if not self.quiet:
            self._bar.write(text, file=sys.stderr)

    def show(self, metrics: dict[str, float]) -> None:
        """The newest numbers: of validation where there are some, else of training."""
        for split in ("validation", "train"):
            if f"{split}/distortion [nats]" in metrics:
                break
        names = {"elbo [nats]": "ELBO", "distortion [nats]": "distortion", "rate [nats]": "rate"}
        shown = {label: metrics.get(f"{split}/{name}") for name, label in names.items()}
        text = ", ".join(f"{label} {value:.2f}" for label, value in shown.items() if value is not None)
        self._bar.set_description(self._epoch(), refresh=False)
        self._bar.set_postfix_str(f"{split}: {text} nats", refresh=False)

    def _epoch(self) -> str:
        per_epoch = self.order.n / self.order.batch
        return f"epoch {min(self.done, self.steps) / per_epoch:.1f}/{self.steps / per_epoch:.1f}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
