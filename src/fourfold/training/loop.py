"""The training loop: one for every recipe."""

__all__ = ["Outcome", "intervals", "train"]

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..data import feed, order_of
from ..noise import Noise
from .average import Average
from .borrowed import Borrowed
from .checkpoint import load_tensors, module_tensors, save_tensors
from .course import Act, Actor, course_of, kept
from .interrupt import Interrupts
from .job import Job, check_job
from .meter import MetricsLog, NonFinite
from .optimisers import parse_lr_schedule
from .progress import Progress
from .saved import gathered, restored
from .skips import Skips
from .statistics import Statistics
from .step import readable

_CHUNK = 1000
_CAUSES = (
    "Three likely causes: data of another range than the likelihood's (divide 8-bit values by 255, or bring features "
    "to a scale near 1); a learning rate too high (try --lr ten times smaller, or --clip 10); "
    "a scale or variance that collapses (give the Gaussian likelihood a fixed scale or a higher floor)."
)


@dataclass
class Outcome:
    """Where training stands."""

    step: int = 0
    epoch: float = 0.0
    best: float = float("-inf")
    best_step: int = 0
    waited: int = 0
    seconds: float = 0.0
    finished: bool = False
    interrupted: bool = False
    stopped_early: bool = False
    skipped: int = 0
    compiled: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def train(job: Job, fabric: Any) -> Outcome:
    """Trains to the end, to an early stop or to an interrupt; a killed run takes up its last checkpoint."""
    loop = _Loop(job, fabric)
    for _ in loop.run():
        pass
    return loop.state


def intervals(job: Job, fabric: Any) -> Iterator[Outcome]:
    """``train``, pausing after every interval: for those who measure it. Close it, or go on to its end."""
    return _Loop(job, fabric).run()


class _Loop:
    def __init__(self, job: Job, fabric: Any) -> None:
        options = job.options
        check_job(job, fabric.world_size)
        self.job, self.fabric, self.options = job, fabric, options
        self.order = order_of(job.train.x, options.batch_size, options.seed, options.shuffle)
        self.steps = self.order.steps(options.epochs)
        self.noise = Noise(options.seed, stream="train", device=fabric.device)
        self.generator = Borrowed(job.step, fabric.device)
        self.feed = feed(job.train, fabric.device, workers=options.workers)
        self.held_out = feed(job.validation, fabric.device, workers=options.workers) if job.validation else None
        self.step = job.step
        self.acts = course_of(job.step, job.stages, self.steps, options, fabric)
        self.lr = parse_lr_schedule(options.lr_schedule)
        self.skips = Skips(options.skip_grad, fabric)
        self.average = Average(self.step, options.ema)
        self.statistics = Statistics(self.feed, self.order, options.seed, fabric, self.generator)
        self.state = Outcome()
        self.main = fabric.is_global_zero
        self.folder = job.folder if self.main else None
        self.log = MetricsLog(self.folder / "metrics.jsonl" if self.folder else None)
        self.best_tensors: dict[str, Tensor] | None = None
        self.saved_at = time.monotonic()

    def run(self) -> Iterator[Outcome]:
        """Everything, with a pause after every interval."""
        if self.job.resume:
            self._take_up()
        self.log.cut(self.state.step)
        started, before = time.monotonic(), self.state.seconds
        shard = (self.fabric.global_rank, self.fabric.world_size)
        progress = Progress(self.order, self.steps, self.state.step, quiet=self.job.quiet or not self.main)
        rows = self.feed.batches(self.order, self.state.step, self.steps, shard)
        for actor in self._actors():
            actor.step.train()
            actor.program.tell = progress.say
        with progress, Interrupts() as interrupts, closing(rows):
            for stop in self._intervals():
                with self.generator:
                    while self.state.step < stop and not (interrupts.asked and self._alone()):
                        self._advance(*next(rows))
                        progress.advance()
                    self.state.seconds = before + time.monotonic() - started
                    self._record()
                    if self.state.step == stop:
                        self._boundary(progress)
                if self._agreed(interrupts.asked) or self.state.stopped_early:
                    break
                yield self.state
        self.state.interrupted = self.state.step < self.steps and not self.state.stopped_early
        self.state.finished = not self.state.interrupted
        # An interrupt may come between a bad loss and its discovery.
        if not self._agreed(not all(actor.meter.filled().isfinite().all() for actor in self._actors())):
            self._checkpoint(whole=self.state.finished)

    def _intervals(self) -> Iterator[int]:
        """Steps at which numbers are read: every ``log_steps``, at the end of each epoch and stage, and at the last."""
        epoch, every = 1, self.options.log_steps
        step = self.state.step
        while step < self.steps and not self.state.stopped_early:
            while (end := self.order.steps(epoch)) <= step:
                epoch += 1
            step = min((step // every + 1) * every, end, self._act(step).end, self.steps)
            yield step

    def _act(self, step: int) -> Act:
        """The stage to which the update number ``step`` belongs; after the last one, still the last stage."""
        return next((act for act in self.acts if step < act.end), self.acts[-1])

    def _actors(self) -> list[Actor]:
        return [actor for act in self.acts for actor in act.actors]

    def _advance(self, raw: Tensor, labels: Tensor | None) -> None:
        """One step: each player whose turn it is takes an optimiser step on the same batch."""
        act = self._act(self.state.step)
        local = self.state.step - act.start
        factor = self.lr.moved(local, act.end - act.start, self.options.lr_warmup)
        if act.stage.moving is not None:
            act.stage.moving.advance(local, act.planned)
        moved = False
        for actor in act.actors:
            if actor.player.due(local):
                actor.take_turn()
                summary = self._turn(actor, local, raw, labels)
                if taken := not (self.options.skip_grad and self.skips.skip(actor, self.state)):
                    actor.update(self.options, factor)
                actor.leave()
                if taken:
                    moved = True
                    self._after(actor, summary)
        if moved:
            with torch.no_grad():
                self.average.update()
        self.state.step += 1

    def _turn(self, actor: Actor, local: int, raw: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """The gradient of one player, and its summary; a batch in pieces sees the noise the whole would see."""
        step, pieces = self.state.step, self.options.accumulate
        actor.step.objective.advance(local)
        rank, world = self.fabric.global_rank, self.fabric.world_size
        self.generator.key(self.options.seed, step, rank, *([actor.stream] if actor.stream else []))
        source = self.noise.fork(actor.stream) if actor.stream else self.noise
        numbers: Tensor | None = None
        summary: dict[str, Tensor] = {}
        for i, (part, marks) in enumerate(_pieces(raw, labels, pieces)):
            noise = source.at(step, (rank * pieces + i, world * pieces))
            left = self._act(step).end - step if i == pieces - 1 else 0
            seen = actor.program.gradient(part, marks, noise, pieces, left)
            numbers = seen if numbers is None else numbers + seen
            for name, value in actor.step.summary.items():
                summary[name] = summary[name] + value / pieces if i else value / pieces
        assert numbers is not None
        actor.meter.add(numbers / pieces if pieces > 1 else numbers, step)
        return summary

    @torch.no_grad()
    def _after(self, actor: Actor, summary: dict[str, Tensor]) -> None:
        """What changes outside the optimiser, from means over the whole batch."""
        if summary and self.fabric.world_size > 1:
            summary = {k: self.fabric.all_reduce(v, reduce_op="mean") for k, v in summary.items()}
        actor.step.model.after_step(summary)
        actor.step.objective.after_step(summary)

    def _record(self) -> None:
        """What was found out about compiling: a run that is resumed keeps to it."""
        for actor in self._actors():
            if actor.program.told or self.options.compile == "on":
                self.state.compiled[actor.mark] = actor.program.decided

    def _boundary(self, progress: Progress) -> None:
        """Reads the interval's numbers, validates at the end of an epoch, logs, and saves if it is time."""
        state = self.state
        state.epoch = state.step * self.order.batch / self.order.n
        act = self._act(state.step - 1)
        state.metrics = {}
        for actor in act.actors:
            try:
                numbers = actor.meter.read(actor.step.names)
            except NonFinite as error:
                raise NonFinite(f"Training stopped at {error}. {self._last_good()} {_CAUSES}") from None
            row = readable(actor.step, self._mean(numbers)) if numbers else {}
            state.metrics |= {f"train/{actor.mark}{name}": value for name, value in row.items()}
        epoch = round(state.epoch)
        at_end = state.step == self.order.steps(epoch) and epoch % self.options.validate_epochs == 0
        if self.held_out is not None and (at_end or state.step == self.steps):
            self._validate(act)
        rate = act.first.raw_optimiser.param_groups[0]["lr"]
        line = {"step": state.step, "epoch": round(state.epoch, 6), **state.metrics, "lr": rate}
        line |= {"skipped": state.skipped} if self.options.skip_grad else {}
        self.log.write({**line, "seconds": round(state.seconds, 3)})
        self.fabric.log_dict(state.metrics, state.step)
        progress.show(state.metrics)
        # No two clocks are the same, and statistics are gathered by all processes together or by none.
        if self._agreed(time.monotonic() - self.saved_at >= self.options.checkpoint_seconds):
            self._checkpoint()

    @torch.no_grad()
    def _validate(self, act: Act) -> None:
        """The stage's first objective and the plain ELBO on the held-out rows, with the same noise every time."""
        assert self.held_out is not None
        step = act.first.step
        self.statistics.gather(step, self.average if step is self.step else None)
        step.eval()
        total = torch.zeros((), device=self.fabric.device, dtype=torch.float64)
        count = torch.zeros((), device=self.fabric.device, dtype=torch.float64)
        shard = (self.fabric.global_rank, self.fabric.world_size)
        averaged = self.average.borrowed() if step is self.step else nullcontext()
        # Chunks of one size, or a last one of a single row could be too small for a statistic of the batch.
        size = -(-len(self.held_out) // -(-len(self.held_out) // _CHUNK))
        with averaged, closing(self.held_out.chunks(size, shard)) as chunks:
            for start, raw, labels in chunks:
                noise = Noise(self.options.seed, stream="validation", step=start, device=self.fabric.device)
                self.generator.key(self.options.seed, "validation", start)
                with self.fabric.autocast():
                    _, numbers = step(raw, labels, noise)
                total, count = total + numbers.double() * len(raw), count + len(raw)
            if self.fabric.world_size > 1:
                total = self.fabric.all_reduce(total.expand(len(step.names)).contiguous(), reduce_op="sum")
                count = self.fabric.all_reduce(count, reduce_op="sum")
            row = readable(step, (total / count).tolist())
            step.train()
            self.state.metrics |= {f"validation/{act.first.mark}{name}": value for name, value in row.items()}
            self._judge(row["objective [nats]"], act)

    def _judge(self, objective: float, act: Act) -> None:
        state = self.state
        if not torch.tensor(objective).isfinite():
            raise NonFinite(
                f"Training stopped at step {state.step}: the validation objective is {objective}. "
                f"{self._last_good()} {_CAUSES}"
            )
        if act is not self.acts[-1] or not self._settled():
            return  # values at different weights are not comparable: none is the best, and none is waited for
        if objective > state.best:
            state.best, state.best_step, state.waited = objective, state.step, 0
            self.best_tensors = {k: v.clone() for k, v in module_tensors(self.step).items()}
            return
        state.waited += 1
        state.stopped_early = bool(self.options.patience) and state.waited >= self.options.patience

    def _checkpoint(self, whole: bool = False) -> None:
        """The best weights, then everything; in this order a run killed in between finds the same best again."""
        self.saved_at = time.monotonic()
        self.statistics.gather(self.step, self.average, whole)
        if self.folder is None:
            return
        home = self.folder / "checkpoints"
        home.mkdir(exist_ok=True)
        if self.best_tensors is not None:
            weights = {f"weights/{k}": v for k, v in self.best_tensors.items()}
            facts = {"step": self.state.best_step, "seconds": self.state.seconds}
            save_tensors(home / "best.safetensors", weights, facts)
            self.best_tensors = None
        tensors, names = gathered(self.acts, self.average)
        state = {k: v for k, v in vars(self.state).items() if k != "metrics"}
        state |= {**names, "best": None if state["best"] == float("-inf") else state["best"]}
        save_tensors(home / "last.safetensors", tensors, state)

    def _take_up(self) -> None:
        """Continues from the last checkpoint; a run killed before its first one starts at step 0."""
        assert self.job.folder is not None
        path = self.job.folder / "checkpoints" / "last.safetensors"
        if not path.exists():
            return
        tensors, state = load_tensors(path)
        restored(self.acts, self.average, tensors, state, str(path))
        self.acts = kept(self.acts, state.pop("ends"), state.pop("planned", None))
        del state["names"], state["weights"], state["units"], state["metered"]
        best = state.pop("best")
        self.state = Outcome(**state, best=float("-inf") if best is None else best)
        self.state.interrupted = False
        for actor in self._actors():
            actor.program.decided = self.state.compiled.get(actor.mark, actor.program.decided)
        if not self._settled():
            # What was the end of a shorter run lies on the way now: its value was of another objective.
            self.state.best, self.state.waited = float("-inf"), 0

    def _settled(self) -> bool:
        """Whether the last stage's objective and model stand as they will at its end."""
        last = self.acts[-1]
        step, moving = self.state.step - last.start, last.stage.moving
        settled = self.step.objective.settled(step, last.end - last.start)
        # The model stands as the last step that was taken had it.
        return settled and (moving is None or moving.settled(max(step - 1, 0), last.planned))

    def _last_good(self) -> str:
        path = None if self.folder is None else self.folder / "checkpoints" / "last.safetensors"
        return f"Last good checkpoint: {path}." if path and path.exists() else "There is no checkpoint yet."

    def _mean(self, numbers: list[float]) -> list[float]:
        if self.fabric.world_size == 1:
            return numbers
        return self.fabric.all_reduce(torch.tensor(numbers, dtype=torch.float64), reduce_op="mean").tolist()

    def _alone(self) -> bool:
        return self.fabric.world_size == 1

    def _agreed(self, asked: bool) -> bool:
        """Whether it is so in any process: several stop, and save, together."""
        if self._alone():
            return asked
        return bool(self.fabric.all_reduce(torch.tensor(float(asked)), reduce_op="sum") > 0)


def _pieces(raw: Tensor, labels: Tensor | None, count: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    if count == 1:
        yield raw, labels
        return
    marks = [None] * count if labels is None else labels.chunk(count)
    yield from zip(raw.chunk(count), marks, strict=True)
