"""Schedules: a hyper-parameter as a pure function of the training step."""

__all__ = ["SCHEDULES", "Constant", "Cyclic", "Linear", "Logistic", "Schedule", "Steps", "parse_schedule"]

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from math import exp

from .._checks import unknown


class Schedule(ABC):
    """A value for every training step, counted from 0."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The value at this step."""


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same value throughout."""

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Linear(Schedule):
    """From ``start`` to ``end`` in a straight line over ``steps`` steps, then ``end``.

    Example:
        >>> Linear(0, 1, 100)(25), Linear(0, 1, 100)(500)
        (0.25, 1.0)
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(1.0, step / max(self.steps, 1))


@dataclass(frozen=True, slots=True)
class Logistic(Schedule):
    """``end`` / (1 + exp(−slope · (step − midpoint))): the annealing of Bowman et al. 2015, arXiv:1511.06349.

    Example:
        >>> Logistic(1, 2500, 0.0025)(2500)
        0.5
    """

    end: float
    midpoint: int
    slope: float

    def __call__(self, step: int) -> float:
        return self.end / (1 + exp(min(700.0, -self.slope * (step - self.midpoint))))


@dataclass(frozen=True, slots=True)
class Cyclic(Schedule):
    """Again and again from 0 to ``end``: linear over the first half of each period, constant over the second.

    Fu et al. 2019, arXiv:1903.10145.

    Example:
        >>> [Cyclic(1, 100)(s) for s in (0, 25, 75, 100)]
        [0.0, 0.5, 1.0, 0.0]
    """

    end: float
    period: int

    def __call__(self, step: int) -> float:
        return self.end * min(1.0, 2 * (step % self.period) / self.period)


@dataclass(frozen=True, slots=True)
class Steps(Schedule):
    """``start`` multiplied by ``factor`` once every ``every`` steps, as in "start very high and decrease".

    Example:
        >>> Steps(8, 0.5, 100)(250)
        2.0
    """

    start: float
    factor: float
    every: int

    def __call__(self, step: int) -> float:
        return self.start * self.factor ** (step // self.every)


#: Schedules by name, for the command line: ``linear:0:1:5000``.
SCHEDULES: dict[str, type] = {
    "constant": Constant,
    "cyclic": Cyclic,
    "linear": Linear,
    "logistic": Logistic,
    "steps": Steps,
}


def parse_schedule(text: str) -> Schedule:
    """A schedule from its written form ``name:value:value…``, the values in the order of the class's fields.

    Example:
        >>> parse_schedule("linear:0:1:5000")
        Linear(start=0.0, end=1.0, steps=5000)
    """
    name, *values = text.split(":")
    if name not in SCHEDULES:
        raise ValueError(f"schedule: {unknown('schedule', name, SCHEDULES)} Write for example linear:0:1:5000.")
    wanted = fields(SCHEDULES[name])
    form = f"{name}:" + ":".join(f.name for f in wanted)
    if len(values) != len(wanted):
        raise ValueError(f"schedule {text!r}: wanted {form}, got {len(values)} values.")
    try:
        given = [int(v) if f.type is int else float(v) for f, v in zip(wanted, values, strict=True)]
    except ValueError:
        raise ValueError(f"schedule {text!r}: wanted numbers in {form}.") from None
    whole = [f.name for f, v in zip(wanted, given, strict=True) if f.type is int and v < 1]
    if whole:
        raise ValueError(f"schedule {text!r}: {', '.join(whole)} must be at least 1.")
    return SCHEDULES[name](*given)
