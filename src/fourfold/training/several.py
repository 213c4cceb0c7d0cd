"""Several jobs in one process: those of one program as one, the others one after another; killed ones taken up."""

__all__ = ["TOGETHER", "Told", "train_several"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from ..data import order_of
from .alike import alone, program
from .checkpoint import load_state
from .interrupt import Interrupts
from .job import Job, feeds_of, same_rows
from .loop import Loop, Outcome
from .members import Member, Members
from .meter import NonFinite
from .room import room_for

TOGETHER = ("auto", "on", "off")


@final
@dataclass(frozen=True)
class Told:
    """Who is told what, while it happens.

    Args:
        steps: called with the number of steps that were taken, counted over members.
        line: called with a line for a user: what was found out, who is trained alone and why.
        ended: called with the place of a job among all, and how it ended, as soon as it has.
    """

    steps: Callable[[int], None] = lambda steps: None
    line: Callable[[str], None] = lambda text: None
    ended: Callable[[int, Member], None] = lambda place, member: None


@final
class _Run:
    """Jobs on their way, with what is known of each."""

    def __init__(self, jobs: Sequence[Job], fabric: Any, told: Told) -> None:
        self.jobs, self.fabric, self.told = list(jobs), fabric, told
        self.found: dict[int, Member] = {}
        self.interrupted = False

    def ended(self, place: int, member: Member) -> None:
        """Notes how a job stands; its end is told once."""
        before = self.found.get(place)
        self.found[place] = member
        if _over(member) and not (before and _over(before)):
            self.told.ended(place, member)

    def solo(self, place: int, loop: Loop, reason: str) -> None:
        """One job to its end by itself."""
        done, frozen = loop.state.step, ""
        try:
            for state in loop.run():
                self.told.steps(state.step - done)
                done = state.step
        except NonFinite as error:
            frozen = NonFinite.at(error)
            loop.state.interrupted = True
        self.told.steps(loop.state.step - done)
        self.interrupted |= loop.state.interrupted and not frozen
        self.ended(place, Member(loop.state, frozen, reason))

    def group(self, places: list[int], measured: bool) -> None:
        """Jobs of one program; those behind are brought to the step of the next ones first."""
        standing = {place: _standing(self.jobs[place]) for place in places}
        levels = sorted({step for step, over in standing.values() if not over})
        if over := [place for place, (_, over) in standing.items() if over]:
            self._together(over, None, measured)
        going: list[int] = []
        for level, until in zip(levels, [*levels[1:], None], strict=False):
            going = sorted([*going, *(place for place in places if standing[place] == (level, False))])
            going = self._together(going, until, measured)
            if self.interrupted:
                return

    def _together(self, places: list[int], until: int | None, measured: bool) -> list[int]:
        """As one, up to a step, or to the end for those who are to go on apart; who is still on the way."""
        jobs = [self.jobs[place] for place in places]
        members = Members(jobs, self.fabric, measured=measured, told=self.told.steps, say=self.told.line)
        done = members.run(until)
        self.interrupted |= members.interrupted
        apart = [i for i, member in enumerate(done) if member.apart and not self.interrupted]
        for i, member in enumerate(done):
            if i not in apart:
                self.ended(places[i], member)
        if apart:
            self.told.line(f"{len(apart)} go on one after another: {done[apart[0]].apart}")
        for i in apart:
            if self.interrupted:
                self.ended(places[i], done[i])
            else:
                self.solo(places[i], members.loops[i], done[i].apart)
        going = [place for place in places if not _over(self.found[place])]
        for place in going:
            self.jobs[place] = replace(self.jobs[place], resume=True)
        return going


def _over(member: Member) -> bool:
    return member.outcome.finished or bool(member.frozen)


def _standing(job: Job) -> tuple[int, bool]:
    """The step at which a job is taken up, and whether nothing is left to do."""
    path = job.folder / "checkpoints" / "last.safetensors" if job.folder and job.resume else None
    if path is None or not path.exists():
        return 0, False
    state, options = load_state(path), job.options
    order = order_of(job.train.x, options.batch_size, options.seed, options.shuffle)
    return state["step"], state["stopped_early"] or state["step"] >= order.steps(options.epochs)


def train_several(
    jobs: Sequence[Job], fabric: Any, told: Told | None = None, *, together: str = "auto", processes: int = 1
) -> list[Member]:
    """Trains all jobs in this process; each leaves the files that ``train`` would have left.

    Jobs of one program are trained as one (as several, where memory is too small for one), but for those that cannot
    be, and where one after another is faster. Jobs that were killed at different steps are taken up: those behind come
    to the step of the others first. An interrupt saves all and ends; what was not begun has step 0.

    Args:
        jobs: on the same rows.
        fabric: the engine, of one process.
        told: who is told of what happens.
        together: auto; on: no matter how fast; off: one after another.
        processes: how many processes of this kind share the machine's memory.

    Returns:
        How each ended, in the order of the jobs.
    """
    run = _Run(jobs, fabric, told or Told())
    feeds = next((job.feeds for job in jobs if job.feeds), None) or (feeds_of(jobs[0], fabric.device) if jobs else None)
    run.jobs = [replace(job, feeds=feeds) if same_rows(job, jobs[0]) else job for job in jobs]
    groups: dict[str, list[int]] = {}
    singles: dict[int, str] = {}
    for place, job in enumerate(run.jobs):
        reason = "so it was asked for" if together == "off" else alone(job, fabric.world_size)
        if reason is None and same_rows(job, jobs[0]):
            groups.setdefault(program(job), []).append(place)
        else:
            singles[place] = reason or "its rows are others"
    with Interrupts() as interrupts:
        for places in groups.values():
            if len(places) == 1:
                singles[places[0]] = "no other is of its program"
                continue
            most = room_for(run.jobs[places[0]], fabric, processes)
            packs = -(-len(places) // most)
            for i in range(packs):
                if not (interrupts.asked or run.interrupted):
                    run.group(places[i::packs], together == "auto")
        for reason in dict.fromkeys(singles.values()):
            count = sum(one == reason for one in singles.values())
            run.told.line(f"{count} of {len(jobs)} trained one after another: {reason}")
        for place, reason in singles.items():
            if not (interrupts.asked or run.interrupted):
                run.solo(place, Loop(run.jobs[place], fabric), reason)
    waiting = [Member(Outcome(step=_standing(job)[0], interrupted=True)) for job in run.jobs]
    return [run.found.get(place, one) for place, one in enumerate(waiting)]
