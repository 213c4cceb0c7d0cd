"""The loop of several members at once: one program, each with its own seed, data order, noise and numbers."""

__all__ = ["Member", "Members"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from ..data import Resident
from ..noise import Noise
from .interrupt import Interrupts
from .job import Job, feeds_of, same_rows
from .loop import Loop, Outcome
from .meter import NonFinite
from .pace import Pace, single_step
from .scoring import means_of
from .stack import Stack
from .step import readable

_NONE = torch.zeros(0, 0)
_RARELY = 20  # times as long as a checkpoint takes is between two of them at least: many members have many files


@final
@dataclass(frozen=True)
class Member:
    """How one of several ended.

    Args:
        outcome: where its training stands; ``seconds`` is its share of the time that all took.
        frozen: what was not finite, and when; empty for a member that is well.
        apart: why it was not trained together with the others, or is not to be from here on; empty if it was.
    """

    outcome: Outcome
    frozen: str = ""
    apart: str = ""


@final
class Members:
    """Trains jobs of one program as one; every member leaves the files that ``train`` would have left.

    Numbers of a member equal those of its job trained alone within the rounding of its type: noise and data order are
    the same, products of several matrices round otherwise than products of one. A member whose numbers are not finite
    any more is frozen: it is saved as it stood when the numbers were last read, and the others go on without it.

    Where the pass cannot be made for several at once, or would be slower than one after another, nothing is lost: all
    are saved as they stand and say why they are to go on ``apart``, each by its loop.

    Args:
        jobs: of one ``program``, none of them ``alone``; to be taken up at one step.
        fabric: the engine, of one process.
        measured: whether to find out if one after another would be faster.
        told: called after every step with the number of members that it took further.
        say: called with a line on what was found out, once.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        fabric: Any,
        *,
        measured: bool = True,
        told: Callable[[int], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        feeds = jobs[0].feeds or feeds_of(jobs[0], fabric.device)
        if not isinstance(feeds[0], Resident):
            raise ValueError("Members: rows are too large for memory: such jobs are trained one after another.")
        if not all(same_rows(job, jobs[0]) for job in jobs):
            raise ValueError("Members: wanted jobs on the same rows, got others. Train them one after another.")
        self.rows: Resident = feeds[0]
        self.loops = [Loop(replace(job, feeds=feeds), fabric) for job in jobs]
        self.fabric, self.measured = fabric, measured
        self.told, self.say = told or (lambda members: None), say or (lambda line: None)
        self.ended: dict[int, str] = {}
        self.apart, self.interrupted = "", False
        self.places = sorted(range(len(jobs)), key=lambda i: jobs[i].options.lr)
        self.saving = 0.0
        self.one_by_one = False  # in validation
        self.pace = Pace("off", None)
        self.until: int | None = None

    def run(self, until: int | None = None) -> list[Member]:
        """To the end, to an interrupt, or to this step; every member is saved."""
        for loop in self.loops:
            if loop.job.resume:
                loop.take_up()
            loop.log.cut(loop.state.step)
            loop.step.train()
            if self._over(loop) and not loop.state.finished:
                self._finish(loop)
        self.places = [i for i in self.places if not self._over(self.loops[i])]
        steps = {self.loops[i].state.step for i in self.places}
        if len(steps) > 1:
            raise ValueError(f"Members: wanted members at one step, got some at {sorted(steps)}.")
        if not steps or (until is not None and until <= min(steps)):
            return self._told()
        self.until = until
        self.prepare()
        self.pace = self._pace()
        self.stack.compiled = self.pace.compiled
        if self.pace.decided.startswith("apart"):
            self.apart = self.pace.decided
        self.clock = self.saved = time.monotonic()
        with Interrupts() as interrupts:
            self._go(interrupts, until)
            self._end()
        self.interrupted = interrupts.asked
        return self._told()

    def _go(self, interrupts: Interrupts, until: int | None) -> None:
        """From interval to interval; ends with those who are left, if any, at one step."""
        lead = self.stack.loops[0]
        stops = lead.stops()
        while self.places and not self.apart:
            if lead is not self.stack.loops[0]:
                lead = self.stack.loops[0]
                stops = lead.stops()
            stop = next(stops)
            while lead.state.step < min(stop, until or stop) and not interrupts.asked and not self.apart:
                self.advance()
            self._share_time()
            if lead.state.step == stop:
                self._boundary()
            over = all(self._over(self.loops[i]) for i in self.places)
            if over or interrupts.asked or lead.state.step == until:
                return

    def _told(self) -> list[Member]:
        pairs = enumerate(self.loops)
        return [Member(one.state, self.ended.get(i, ""), self.apart if i in self.places else "") for i, one in pairs]

    def _over(self, loop: Loop) -> bool:
        return loop.state.step >= loop.steps or loop.state.stopped_early

    def _share_time(self) -> None:
        now = time.monotonic()
        for loop in self.stack.loops:
            loop.state.seconds += (now - self.clock) / len(self.stack)
        self.clock = now

    def prepare(self) -> None:
        """One stack of those who are left, each with its part of the interval so far."""
        loops = [self.loops[i] for i in self.places]
        if not loops:
            return
        meters = [loop.acts[0].first.meter for loop in loops]
        self.stack = Stack(loops)
        self.checked = False
        self.noise = [Noise(loop.options.seed, stream="train", device=self.fabric.device) for loop in loops]
        self.steps = list(meters[0].steps)
        kept = [meter.filled() for meter in meters]
        self.numbers = list(torch.stack(kept, 1)) if self.steps else []
        self._mark()
        if len(loops) == 1 and self.until is None:
            self.apart = "it is the only one left"

    def _mark(self) -> None:
        """Here a member will stand again that breaks before the next mark."""
        self.stack.mark()
        self.since, self.marked = self.stack.loops[0].state.step, len(self.steps)

    def _pace(self) -> Pace:
        lead = self.stack.loops[0]
        single = single_step(lead.job, self.fabric, self._clock) if self.measured else None
        return Pace(lead.options.compile, single, lead.state.compiled.get("together", ""))

    def _clock(self) -> float:
        if self.fabric.device.type == "cuda" and not self.pace.decided:
            torch.cuda.synchronize(self.fabric.device)
        return time.perf_counter()

    def advance(self) -> None:
        """One step for all."""
        started, stack, lead = self._clock(), self.stack, self.stack.loops[0]
        step, act = lead.state.step, lead.acts[0]
        raw, labels = self._batch(step)
        for loop in stack.loops:
            if loop.step.objective.schedules:
                loop.step.objective.advance(step)
        try:
            noise = stack.draws(raw[0], None if labels is None else labels[0], [one.at(step) for one in self.noise])
            gradients, numbers, summary = self._gradients(raw, labels, noise)
        except Exception as error:  # vmap's, or the model's own; what is wrong with it alone it tells alone
            self.apart = f"it cannot be computed for several at once ({_first_line(error)})"
            return
        stack.update(gradients, lead.lr.moved(step, act.end, lead.options.lr_warmup))
        stack.after(summary)
        self.numbers.append(numbers)
        self.steps.append(step)
        for loop in stack.loops:
            loop.state.step += 1
        self.told(len(stack))
        if not self.pace.decided:
            self._measure(self._clock() - started, lead.steps - step)

    def _gradients(self, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]) -> Any:
        stack = self.stack
        try:
            found = stack.gradients(raw, labels, noise)
        except Exception as error:
            if not stack.compiled:
                raise
            stack.compiled = False
            self.pace.cannot(_first_line(error))
            self.say(f"compile: not possible here ({_first_line(error)}); going on without")
            found = stack.gradients(raw, labels, noise)
        if not self.checked:
            stack.check(raw, labels, noise, found)
            self.checked = True
        return found

    def _measure(self, seconds: float, left: int) -> None:
        """Tells the pace what a step took, and does what it decides."""
        pace = self.pace
        pace.seen(seconds, len(self.stack), left)
        self.stack.compiled = pace.compiled
        if pace.decided:
            pace.single = None  # its copy has done its service
            self.say(pace.decided)
            for loop in self.stack.loops:
                loop.state.compiled["together"] = pace.decided
            self.apart = pace.decided if pace.decided.startswith("apart") else ""

    def _batch(self, step: int) -> tuple[Tensor, Tensor | None]:
        """The rows of each member's own order, ``(K, B, *shape)``."""
        orders = [loop.order for loop in self.stack.loops]
        index = torch.cat([order.indices(step) for order in orders]).to(self.rows.device, non_blocking=True)
        form = (len(orders), orders[0].batch)
        labels = None if self.rows.labels is None else self.rows.labels.index_select(0, index).unflatten(0, form)
        return self.rows.x.index_select(0, index).unflatten(0, form), labels

    def _fill(self) -> None:
        """Gives every member's meter its numbers of the interval so far."""
        self.stack.tell_names()
        for i, actor in enumerate(self.stack.actors):
            actor.meter.restore(torch.stack([row[i] for row in self.numbers]) if self.steps else _NONE, self.steps)

    def _sift(self) -> None:
        """Freezes who has a number, or a weight, that is not finite; the others are as if it had never been there."""
        rows = torch.stack(self.numbers).isfinite().all(2).all(0) if self.steps else True
        well = (self.stack.sound() & rows).tolist()
        if not all(well):
            self._fill()
            self._freeze({i: self._reason(i) for i, good in enumerate(well) if not good})

    def _reason(self, i: int) -> str:
        actor = self.stack.actors[i]
        rows = actor.meter.filled(), list(actor.meter.steps)
        try:
            actor.meter.read(actor.step.names)
        except NonFinite as error:
            return str(error)
        finally:
            actor.meter.restore(*rows)
        return f"step {self.stack.loops[i].state.step}: a weight is not finite"

    def _freeze(self, reasons: dict[int, str]) -> None:
        """They stand again where the interval began, and are saved so; the others go on without them.

        Args:
            reasons: why, by their place in the stack.
        """
        stack = self.stack
        for i, reason in reasons.items():
            loop, meter = stack.loops[i], stack.actors[i].meter
            self.ended[self.places[i]] = reason
            stack.back(i)
            rows, steps = meter.filled()[: self.marked], meter.steps[: self.marked]
            meter.restore(rows, steps)
            loop.state.step = self.since
            loop.state.epoch = loop.state.step * loop.order.batch / loop.order.n
            loop.state.interrupted = True
            loop.checkpoint()
        self._leave(set(reasons))

    def _leave(self, rows: set[int]) -> None:
        """Those who are left make a smaller stack."""
        lead = self.stack.loops[0]
        self.places = [place for i, place in enumerate(self.places) if i not in rows]
        self.prepare()
        self.pace.fewer(lead.steps - lead.state.step)
        self.stack.compiled = self.pace.compiled

    def _boundary(self) -> None:
        """Reads the interval's numbers, validates at the end of an epoch, logs, and saves if it is time."""
        self._sift()
        if not self.places:
            return
        stack, lead = self.stack, self.stack.loops[0]
        self._fill()
        means = torch.stack(self.numbers).double().mean(0).tolist() if self.steps else []
        for loop in stack.loops:
            state = loop.state
            state.epoch = state.step * loop.order.batch / loop.order.n
            row = readable(loop.step, means.pop(0)) if means else {}
            state.metrics = {f"train/{name}": value for name, value in row.items()}
        factor = lead.lr.moved(lead.state.step - 1, lead.acts[0].end, lead.options.lr_warmup)
        reasons = self._validate() if lead.validates() else {}
        for i, loop in enumerate(stack.loops):
            if i not in reasons:
                loop.write(stack.rate(i, factor))
        if reasons:
            self._freeze(reasons)
        self.numbers, self.steps = [], []
        for actor in self.stack.actors:
            actor.meter.restore(_NONE, [])
        self._dismiss()
        if self.places:
            self._begin()

    def _dismiss(self) -> None:
        """Those who have stopped early have come to their end, unless it is that of all."""
        over = {i for i, place in enumerate(self.places) if self._over(self.loops[place])}
        if 0 < len(over) < len(self.places):
            for i in over:
                self.stack.release(i)
                self._finish(self.stack.loops[i])
            self._leave(over)

    def _begin(self) -> None:
        """An interval of those who are left."""
        self._mark()
        options = self.stack.options
        if time.monotonic() - self.saved >= max(options.checkpoint_seconds, _RARELY * self.saving):
            started = time.monotonic()
            for loop in self.stack.loops:
                loop.checkpoint()
            self.saved = time.monotonic()
            self.saving = self.saved - started

    def _validate(self) -> dict[int, str]:
        """The objective and the plain ELBO of all on the held-out rows; who is frozen by it, and why."""
        reasons: dict[int, str] = {}
        means = self._scored()
        for i, loop in enumerate(self.stack.loops):
            try:
                if means is None:
                    loop.validate(loop.acts[0])
                else:
                    row = readable(loop.step, means[i])
                    loop.state.metrics |= {f"validation/{name}": value for name, value in row.items()}
                    loop.judge(row["objective [nats]"], loop.acts[0])
            except NonFinite as error:
                reasons[i] = NonFinite.at(error)
        return reasons

    def _scored(self) -> list[list[float]] | None:
        """Every member's numbers on the held-out rows; ``None`` where they cannot be computed for several at once."""
        held_out = self.stack.loops[0].held_out
        if held_out is None or self.one_by_one:
            return None
        try:
            return means_of(self.stack, held_out)
        except Exception as error:
            self.one_by_one = True
            self.say(f"validated one after another: not possible for several at once ({_first_line(error)})")
            return None

    def _end(self) -> None:
        """Everyone who is left has what it has for itself, and is saved: finished or as it stands."""
        if self.places and self.steps:
            self._sift()
        if not self.places:
            return
        self._fill()
        for i, loop in enumerate(self.stack.loops):
            self.stack.release(i)
            self._finish(loop)

    def _finish(self, loop: Loop) -> None:
        loop.state.interrupted = not self._over(loop)
        loop.state.finished = not loop.state.interrupted
        loop.checkpoint(whole=loop.state.finished)


def _first_line(error: Exception) -> str:
    """The first telling line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
