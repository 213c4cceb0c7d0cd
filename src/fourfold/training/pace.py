"""How several members are trained fastest: as one, as one and compiled, or one after another. It is measured."""

__all__ = ["Pace", "single_step"]

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from statistics import median
from typing import Any, final

from .job import Job
from .loop import Loop

_WORTH = 120.0  # seconds of plain steps still to come, for which a compiler is worth its time
_SKIPPED, _TIMED = 3, 9  # steps: the first ones are slower than the rest, the next ones are measured
_EVERY, _WARM, _SINGLE = 3, 4, 8  # after so many steps single ones: some that fill the caches, some that are measured
_FEW = 40  # steps to come, below which nothing is gained by knowing
_GAIN = 1.03


@final
class Pace:
    """Decides from steps of training, and from single ones of a copy in between, so that a slow minute meets both.

    Args:
        compile: option of training: auto, on or off.
        single: takes one step of one member that counts for nothing, and gives its seconds; ``None``: the members stay
            together, whatever it costs.
        decided: what was decided before, for a run that is resumed.

    Attributes:
        decided: ``"together"``, ``"compiled"`` or ``"apart"``, and after a colon why; empty while it is not known.
        compiled: whether the steps are to be compiled now.
    """

    def __init__(self, compile: str, single: Callable[[], float] | None, decided: str = "") -> None:
        self.option, self.single, self.decided = compile, single, decided
        self.compiled = compile == "on" or decided.startswith("compiled")
        if compile == "off" and single is None and not decided:
            self.decided = "together"
        self._plain = 0.0
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._times: list[float] = []
        self._singles: list[float] = []

    def seen(self, seconds: float, members: int, left: int) -> None:
        """One step of all has taken so long.

        Args:
            seconds: of it.
            members: how many it took further.
            left: how many steps are still to come.
        """
        if self.decided:
            return
        if not self._count and left < _FEW and not self.compiled:
            self.decided = "together: few steps"
            return
        self._count += 1
        if self._count > _SKIPPED:
            self._times.append(seconds)
            if self.single and len(self._times) % _EVERY == 0:
                self._singles += [self.single() for _ in range(_WARM + _SINGLE)][_WARM:]
        if len(self._times) == _TIMED:
            self._decide(members, left)

    def cannot(self, reason: str) -> None:
        """It cannot be compiled: what is left to be found out is found out without."""
        known = self._plain or self.single is None
        self.compiled, self.option, self._plain = False, "off", 0.0
        self.decided = f"together: compiling is not possible here ({reason})" if known else ""
        self._begin()

    def fewer(self, left: int) -> None:
        """Some members have gone: what was compiled for all is of no use to the rest."""
        if self.option != "on":
            self.compiled = self.compiled and self._plain * left > _WORTH
        if not self.decided:
            self._begin()

    def _decide(self, members: int, left: int) -> None:
        each = median(self._times)
        alone = members * median(self._singles) if self._singles else float("inf")
        told = f"{1e3 * each:.1f} ms a step of {members}{' compiled' if self.compiled else ''}"
        told += f", {1e3 * alone:.1f} one after another" if self._singles else ""
        if alone < _GAIN * each:  # at equal speed one after another needs less memory
            self.decided, self.compiled = f"apart: {told}", False
        elif not self.compiled and self.option == "auto" and each * left > _WORTH:
            self._plain, self.compiled = each, True
            self._begin()
        elif self.compiled and self._plain and self._plain < _GAIN * each:
            self.decided, self.compiled = f"together: {told}, {1e3 * self._plain:.1f} plain", False
        elif self.compiled:
            self.decided = f"compiled: {told}" + (f", {1e3 * self._plain:.1f} plain" if self._plain else "")
        else:
            self.decided = f"together: {told}"


def single_step(job: Job, fabric: Any, clock: Callable[[], float]) -> Callable[[], float] | None:
    """Takes a step of a copy of the job, and gives its seconds; ``None`` where something in it has no copy.

    Args:
        job: one of several; nothing of it is changed.
        fabric: the engine.
        clock: seconds.
    """
    try:
        step = deepcopy(job.step)
    except (TypeError, ValueError, RuntimeError):
        return None
    options = job.options.but(compile="off")
    loop = Loop(replace(job, step=step, options=options, folder=None, resume=False), fabric)
    loop.step.train()
    rows = loop.feed.batches(loop.order, 0, 10**9)
    meter = loop.acts[0].first.meter

    def taken() -> float:
        started = clock()
        loop.advance(*next(rows))
        meter.count, meter.steps = 0, []
        return clock() - started

    return taken
