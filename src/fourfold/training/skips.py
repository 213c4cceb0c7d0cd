"""Updates that are not made, because their gradient is too large or not finite; none is left out in silence."""

__all__ = ["Skips"]

from typing import TYPE_CHECKING, Any

from torch import Tensor

from .course import Actor
from .meter import NonFinite

if TYPE_CHECKING:
    from .loop import Outcome

_PATIENCE = 100


class Skips:
    """Decides on each update, all processes together, and counts those that are not made.

    Args:
        most: the largest norm of the gradient, before clipping, with which an update is made.
        fabric: the engine.

    References:
        Child 2020, arXiv:2011.10650, section 3.
    """

    def __init__(self, most: float, fabric: Any) -> None:
        self.most, self.fabric = most, fabric
        self.in_a_row: dict[str, int] = {}

    def skip(self, actor: Actor, state: "Outcome") -> bool:
        """Whether this update is left out; then its gradients are gone, and it is counted.

        Numbers of a step whose gradient is not finite are no part of the interval's means.

        Raises:
            NonFinite: after a hundred in a row: nothing is learnt any more.
        """
        norm = actor.norm()
        if not self._any(~(norm <= self.most)):  # what is not a number is not below anything
            self.in_a_row[actor.mark] = 0
            return False
        actor.spend()
        state.skipped += 1
        self.in_a_row[actor.mark] = self.in_a_row.get(actor.mark, 0) + 1
        if self._any(~norm.isfinite()):
            actor.meter.drop()
        if self.in_a_row[actor.mark] >= _PATIENCE:
            raise NonFinite(
                f"Training stopped at step {state.step + 1}: the last {_PATIENCE} updates were left out, the norm of "
                f"the gradient being {float(norm):.3g} and skip_grad {self.most:g}. Raise skip_grad, or lower lr."
            )
        return True

    def _any(self, flag: Tensor) -> bool:
        """Whether it is so in any process: where gradients are the same, so are the answers, but for rounding."""
        if self.fabric.world_size == 1:
            return bool(flag)
        return bool(self.fabric.all_reduce(flag.float(), reduce_op="sum") > 0)
