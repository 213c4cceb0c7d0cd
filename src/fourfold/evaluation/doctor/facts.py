"""What the doctor is told of a run besides its numbers: what was asked for, and how training went."""

__all__ = ["Facts", "History", "Standing"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model's making.

    Args:
        run: the run as commands name it.
        recipe: its name; ``None`` where it is not known.
        flags: every argument of the recipe.
        objective: the name of the objective's class; empty where it is not known.
        weights: the objective's hyper-parameters as they stood at the end of training.
        steps: of training.
        levels: of the data, if they are 8-bit.
        dequantised: whether noise is added to these levels.
        binarize: how grey data are made binary; empty where they are not.
        fresh: whether training began with new weights.
        underway: whether a schedule of the objective's weights had not come to its end.
    """

    run: str = "RUN"
    recipe: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    objective: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    levels: int | None = None
    dequantised: bool = False
    binarize: str = ""
    fresh: bool = True
    underway: bool = False

    @property
    def beta(self) -> float | None:
        """The weight of the rate at the end, if the objective has one weight."""
        return self.weights.get("beta", self.weights.get("rate_weight"))

    @property
    def importance(self) -> bool:
        """Whether the objective is a bound of several draws, whose best posteriors are wider than those of the ELBO."""
        return self.objective in ("IWAE", "MIWAE", "CIWAE")


@dataclass(frozen=True, slots=True)
class History:
    """The objective as training went, in nats per datum, where its values are of one and the same objective.

    Args:
        epochs: when, ``(T,)``.
        objective: on the validation data, ``(T,)``; on the training data where ``held_out`` is false.
        train: on the training data, ``(T,)``.
        held_out: whether there were validation data.
        whole: whether it goes back to the first weights, and not to the end of a warm-up or of an earlier stage.
    """

    epochs: np.ndarray
    objective: np.ndarray
    train: np.ndarray
    held_out: bool = True
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """Where training stands.

    Args:
        step: the last one that was taken.
        steps: that were planned, if that is known.
        epochs: that were planned.
        finished: it came to its end, or to an early stop.
        interrupted: it was stopped from outside, and saved.
        early: it was stopped early, since the objective did not improve.
        checkpoint: which one is looked at, ``"last"`` or ``"best"``.
        pending: schedules and phases that were not through: (what, the step at which it ends).
        weights: hyper-parameters that were still on their way: name to (value at the end, value it was to have).
    """

    step: int
    steps: int | None = None
    epochs: float = 0.0
    finished: bool = True
    interrupted: bool = False
    early: bool = False
    checkpoint: str = "last"
    pending: tuple[tuple[str, int], ...] = ()
    weights: Mapping[str, tuple[float, float]] = field(default_factory=dict)
