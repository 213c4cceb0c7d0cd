"""Optimisers and learning-rate schedules by name."""

__all__ = ["OPTIMISERS", "LearningRate", "make_optimiser", "parse_lr_schedule"]

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING

from torch import Tensor
from torch.optim import Optimizer

from .._checks import unknown

if TYPE_CHECKING:
    from .options import Training

OPTIMISERS = ("adam", "adamax", "adamw")
_FORMS = {"burda": 0, "constant": 0, "cosine": 1, "decay": 2}


def make_optimiser(
    parameters: Iterable[Tensor], options: "Training", factor: float = 1.0, betas: tuple[float, float] | None = None
) -> Optimizer:
    """The optimiser, fused where torch can: the largest single gain of a small model's step.

    Args:
        parameters: what it changes.
        options: which one, and its numbers.
        factor: on the learning rate.
        betas: decays of its two averages, if not the usual ones.
    """
    from torch.optim import Adam, Adamax, AdamW

    lr, eps, betas = options.lr * factor, options.eps, betas or (0.9, 0.999)
    if options.optimiser == "adamax":
        return Adamax(parameters, lr=lr, betas=betas, eps=eps)
    if options.optimiser == "adamw":
        return AdamW(parameters, lr=lr, betas=betas, eps=eps, weight_decay=options.weight_decay, fused=True)
    return Adam(parameters, lr=lr, betas=betas, eps=eps, fused=True)


@dataclass(frozen=True, slots=True)
class LearningRate:
    """The factor on the learning rate, a pure function of the step.

    ``constant``; ``cosine:final``: down a half cosine to ``final``; ``decay:factor:share``: constant, then falling
    geometrically to ``factor`` over the last ``share`` of training; ``burda``: eight stages, each three times as long
    as the one before, at 10^(−i/7), i = 0…7 (Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519).
    """

    kind: str
    first: float = 0.0
    second: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The factor at this step of so many."""
        done = step / max(steps, 1)
        if self.kind == "cosine":
            return self.first + (1 - self.first) * 0.5 * (1 + cos(pi * min(done, 1.0)))
        if self.kind == "decay":
            return self.first ** max(0.0, (done - (1 - self.second)) / self.second)
        if self.kind == "burda":
            # Stage i ends after (3^(i+1) − 1)/2 of 3,280 parts: 1, 4, 13, 40, 121, 364, 1093, 3280.
            return 10 ** (-sum(2 * done * 3280 >= 3**i - 1 for i in range(1, 8)) / 7)
        return 1.0

    def moved(self, step: int, steps: int, warmup: int = 0) -> float | None:
        """The same with a straight rise over the first ``warmup`` steps; ``None`` where it is 1 throughout."""
        if self.kind == "constant" and not warmup:
            return None
        return self(step, steps) * min(1.0, (step + 1) / max(warmup, 1))


def parse_lr_schedule(text: str) -> LearningRate:
    """A learning-rate schedule from its written form.

    Example:
        >>> parse_lr_schedule("decay:0.1:0.5")(75, 100)
        0.31622776601683794
    """
    kind, *values = text.split(":")
    if kind not in _FORMS:
        raise ValueError(f"lr_schedule: {unknown('schedule', kind, _FORMS)} Write for example decay:0.1:0.4.")
    if len(values) > _FORMS[kind]:
        raise ValueError(f"lr_schedule {text!r}: {kind} takes at most {_FORMS[kind]} values.")
    defaults = {"burda": (), "constant": (), "cosine": (0.0,), "decay": (0.1, 0.4)}[kind]
    try:
        numbers = [float(v) for v in values] + list(defaults[len(values) :])
    except ValueError:
        raise ValueError(f"lr_schedule {text!r}: wanted numbers after {kind}.") from None
    if not all(0 <= v <= 1 for v in numbers) or (kind == "decay" and 0 in numbers):
        raise ValueError(f"lr_schedule {text!r}: factors and shares lie between 0 and 1.")
    return LearningRate(kind, *numbers)
