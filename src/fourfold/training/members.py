"""The loop of several members at once: one program, each with its own seed, data order, noise and numbers."""

__all__ = ["Member", "Members"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..data import Resident
from ..noise import Noise
from .interrupt import Interrupts
from .job import Job, feeds_of
from .loop import Loop, Outcome, chunk_of
from .meter import NonFinite
from .stack import Stack
from .step import readable

#: Elements of x that a validation takes at once, over all members: more would leave the processor's caches.
_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Member:
    """How one of several ended.

    Args:
        outcome: where its training stands.
        frozen: what was not finite, and when; empty for a member that is well. Its weights are those before.
    """

    outcome: Outcome
    frozen: str = ""


class Members:
    """Trains jobs of one program as one; every member leaves the files that ``train`` would have left.

    Numbers of a member equal those of its job trained alone within the rounding of its type: noise and data order are
    the same, products of several matrices round otherwise than products of one.

    Args:
        jobs: of one ``program``, none of them ``alone``; to be taken up at one step.
        fabric: the engine, of one process.
        told: called after every step with the number of members that it took further.
    """

    def __init__(self, jobs: Sequence[Job], fabric: Any, told: Callable[[int], None] | None = None) -> None:
        feeds = jobs[0].feeds or feeds_of(jobs[0], fabric.device)
        if not isinstance(feeds[0], Resident):
            raise ValueError("Members: rows are too large for memory: such jobs are trained one after another.")
        self.rows: Resident = feeds[0]
        self.loops = [Loop(replace(job, feeds=feeds), fabric) for job in jobs]
        self.fabric, self.told = fabric, told or (lambda members: None)
        self.ended: dict[int, str] = {}
        self.places = sorted(range(len(jobs)), key=lambda i: jobs[i].options.lr)

    def run(self, until: int | None = None) -> list[Member]:
        """To the end, to an interrupt, or to this step; every member is saved."""
        for loop in self.loops:
            if loop.job.resume:
                loop.take_up()
            loop.log.cut(loop.state.step)
            loop.step.train()
        steps = {loop.state.step for loop in self.loops}
        if len(steps) > 1:
            raise ValueError(f"Members: wanted members at one step, got some at {sorted(steps)}.")
        started, before = time.monotonic(), self.loops[0].state.seconds
        self.places = [i for i in self.places if not self._over(self.loops[i])]
        self._restack()
        with Interrupts() as interrupts:
            while self.places and not interrupts.asked:
                lead = self.stack.loops[0]
                stop = min(next(lead.stops()), until or lead.steps)
                with lead.generator:
                    while self.places and lead.state.step < stop and not interrupts.asked:
                        self.advance()
                        lead = self.stack.loops[0]
                    for loop in self.stack.loops:
                        loop.state.seconds = before + time.monotonic() - started
                    if self.places and lead.state.step == stop:
                        self._boundary()
                if all(self._over(self.loops[i]) for i in self.places) or lead.state.step == until:
                    break
            self._save()
        return [Member(loop.state, self.ended.get(i, "")) for i, loop in enumerate(self.loops)]

    def _over(self, loop: Loop) -> bool:
        return loop.state.step >= loop.steps or loop.state.stopped_early

    def _restack(self) -> None:
        """One stack of those who are left, each with its part of the interval so far."""
        loops = [self.loops[i] for i in self.places]
        meters = [loop.acts[0].first.meter for loop in loops]
        if not loops:
            return
        self.stack = Stack(loops)
        self.noise = [Noise(loop.options.seed, stream="train", device=self.fabric.device) for loop in loops]
        self.steps = list(meters[0].steps)
        kept = [meter.filled() for meter in meters]
        self.numbers = list(torch.stack(kept, 1)) if self.steps else []

    def advance(self) -> None:
        """One step for all; who has no finite gradient any more is frozen before it, and the others take it."""
        step = self.stack.loops[0].state.step
        while self.places:
            stack = self.stack
            raw, labels = self._batch(step)
            for loop in stack.loops:
                if loop.step.objective.schedules:
                    loop.step.objective.advance(step)
            sources = [source.at(step) for source in self.noise]
            noise = stack.draws(raw[0], None if labels is None else labels[0], sources)
            gradients, numbers, summary = stack.gradients(raw, labels, noise)
            if not (lost := _not_finite(gradients, numbers)):
                break
            stack.tell_names()
            self._freeze({self.places[i]: self._reason(i, numbers[i]) for i in lost})
        else:
            return
        lead = stack.loops[0]
        act = lead.acts[0]
        stack.update(gradients, lead.lr.moved(step, act.end, lead.options.lr_warmup))
        if stack.moved:
            for i, loop in enumerate(stack.loops):
                loop.after(stack.actors[i], {name: value[i] for name, value in summary.items()})
        self.numbers.append(numbers)
        self.steps.append(step)
        for loop in stack.loops:
            loop.state.step += 1
        self.told(len(stack))

    def _batch(self, step: int) -> tuple[Tensor, Tensor | None]:
        """The rows of each member's own order, ``(K, B, *shape)``."""
        orders = [loop.order for loop in self.stack.loops]
        index = torch.cat([order.indices(step) for order in orders]).to(self.rows.device, non_blocking=True)
        form = (len(orders), orders[0].batch)
        labels = None if self.rows.labels is None else self.rows.labels.index_select(0, index).unflatten(0, form)
        return self.rows.x.index_select(0, index).unflatten(0, form), labels

    def _reason(self, i: int, numbers: Tensor) -> str:
        names, values = self.stack.template.names, numbers.tolist()
        broken = [name for name, value in zip(names, values, strict=True) if not isfinite(value)]
        what = next((name for name in broken if name != "objective"), broken[0] if broken else "the gradient")
        value = f" is {values[names.index(what)]}" if broken else " is not finite"
        return f"step {self.stack.loops[i].state.step + 1}: {what}{value}"

    def _freeze(self, reasons: dict[int, str]) -> None:
        """They are saved as they stand, before what broke them, and the others go on without them."""
        self._fill()
        self.ended |= reasons
        for i in reasons:
            self.loops[i].state.interrupted = True
            self._release(i)
        self.places = [i for i in self.places if i not in reasons]
        self._restack()

    def _release(self, i: int, whole: bool = False) -> None:
        """What a member has is its own from here on, and saved."""
        loop = self.loops[i]
        for tensor in (*loop.step.parameters(), *loop.step.buffers()):
            tensor.data = tensor.data.clone()
        loop.checkpoint(whole=whole)

    def _fill(self) -> None:
        """Gives every member's meter its numbers of the interval so far."""
        self.stack.tell_names()
        for i, actor in enumerate(self.stack.actors):
            actor.meter.restore(torch.stack([row[i] for row in self.numbers]) if self.steps else _NONE, self.steps)

    def _boundary(self) -> None:
        """Reads the interval's numbers, validates at the end of an epoch, logs, and saves if it is time."""
        stack, lead = self.stack, self.stack.loops[0]
        stack.tell_names()
        means = torch.stack(self.numbers).double().mean(0).tolist() if self.steps else []
        for actor, loop in zip(stack.actors, stack.loops, strict=True):
            actor.meter.restore(_NONE, [])
            state = loop.state
            state.epoch = state.step * loop.order.batch / loop.order.n
            row = readable(loop.step, means.pop(0)) if means else {}
            state.metrics = {f"train/{name}": value for name, value in row.items()}
        factor = lead.lr.moved(lead.state.step - 1, lead.acts[0].end, lead.options.lr_warmup)
        self.numbers, self.steps = [], []
        reasons = self._validate() if lead.validates() else {}
        for i, loop in enumerate(stack.loops):
            if self.places[i] not in reasons:
                loop.write(stack.rate(i, factor))
        if reasons:
            self._freeze(reasons)
        over = [i for i in self.places if self._over(self.loops[i])]
        if over and len(over) < len(self.places):  # some have stopped early
            for i in over:
                self.loops[i].state.finished = True
                self._release(i, whole=True)
            self.places = [i for i in self.places if i not in over]
            self._restack()
        if time.monotonic() - self.loops[0].saved_at >= lead.options.checkpoint_seconds:
            self._save(on_the_way=True)

    @torch.no_grad()
    def _validate(self) -> dict[int, str]:
        """The objective and the plain ELBO of all on the held-out rows; who is frozen by it, and why."""
        stack, lead = self.stack, self.stack.loops[0]
        assert lead.held_out is not None
        stack.template.eval()
        total, rows = 0.0, len(lead.held_out)
        for start, raw, labels in lead.held_out.chunks(chunk_of(rows)):
            found = []
            some = max(1, _AT_ONCE // max(raw.numel(), 1))
            for first in range(0, len(stack), some):
                block = slice(first, min(first + some, len(stack)))
                sources = [self._held_out(loop, start) for loop in stack.loops[block]]
                found.append(stack.scored(block, raw, labels, stack.draws(raw, labels, sources)))
            total = total + torch.cat(found).double() * len(raw)
        stack.template.train()
        stack.tell_names()
        assert isinstance(total, Tensor)
        reasons = {}
        for i, (loop, numbers) in enumerate(zip(stack.loops, (total / rows).tolist(), strict=True)):
            row = readable(loop.step, numbers)
            loop.state.metrics |= {f"validation/{name}": value for name, value in row.items()}
            try:
                loop.judge(row["objective [nats]"], loop.acts[0])
            except NonFinite:
                value = row["objective [nats]"]
                reasons[self.places[i]] = f"step {loop.state.step}: the validation objective is {value}"
        return reasons

    def _held_out(self, loop: Loop, start: int) -> Noise:
        return Noise(loop.options.seed, stream="validation", step=start, device=self.fabric.device)

    def _save(self, on_the_way: bool = False) -> None:
        """Every member that is left: those of one group stand at one step in their checkpoints, or are brought to it."""
        if not self.places:
            return
        self._fill()
        for i in self.places:
            loop = self.loops[i]
            if not on_the_way:
                loop.state.interrupted = not self._over(loop)
                loop.state.finished = not loop.state.interrupted
            loop.checkpoint(whole=loop.state.finished)
        for loop in self.loops:
            loop.saved_at = time.monotonic()


_NONE = torch.zeros(0, 0)


def _not_finite(gradients: Sequence[Tensor | None], numbers: Tensor) -> list[int]:
    """Which members have a number, or an element of the gradient, that is not finite."""
    found = [g for g in gradients if g is not None]
    # One look at all first: a norm is finite where all elements are, but for values that would overflow it.
    norms = torch.stack(torch._foreach_norm(found)).sum() + numbers.sum()
    if bool(norms.isfinite()):
        return []
    good = numbers.isfinite().all(1)
    for gradient in found:
        good &= gradient.flatten(1).isfinite().all(1)
    return (~good).nonzero().flatten().tolist()
