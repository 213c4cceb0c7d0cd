"""The training loop: one for every recipe."""

__all__ = ["Job", "Outcome", "intervals", "train"]

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import Order, Split, feed
from ..noise import Noise
from .average import Average
from .borrowed import Borrowed
from .checkpoint import load_tensors, module_tensors, restore_module, save_tensors
from .interrupt import Interrupts
from .meter import Meter, MetricsLog, NonFinite
from .optimisers import make_optimiser, parse_lr_schedule
from .options import Training
from .progress import Progress
from .step import Step, readable

_CHUNK = 1000
_CAUSES = (
    "Three likely causes: data of another range than the likelihood's (divide 8-bit values by 255, or bring features "
    "to a scale near 1); a learning rate too high (try --lr ten times smaller, or --clip 10); "
    "a scale or variance that collapses (give the Gaussian likelihood a fixed scale or a higher floor)."
)


@dataclass(frozen=True)
class Job:
    """What the loop is given.

    Args:
        step: the module that is trained.
        train: rows to learn from.
        validation: rows held out, or ``None``.
        options: how.
        folder: where checkpoints and metrics go; ``None`` writes nothing.
        resume: take up the folder's last checkpoint, if there is one.
        quiet: no progress bar.
    """

    step: Step
    train: Split
    validation: Split | None
    options: Training
    folder: Path | None = None
    resume: bool = False
    quiet: bool = False


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
        _check(job, fabric.world_size)
        self.job, self.fabric, self.options = job, fabric, options
        self.order = Order(len(job.train), options.batch_size, options.seed)
        self.steps = self.order.steps(options.epochs)
        self.noise = Noise(options.seed, stream="train", device=fabric.device)
        self.generator = Borrowed(job.step, fabric.device)
        self.feed = feed(job.train, fabric.device, workers=options.workers)
        self.held_out = feed(job.validation, fabric.device, workers=options.workers) if job.validation else None
        self.step = job.step
        optimiser = make_optimiser(self.step.parameters(), options)
        self.wrapped, self.optimiser = fabric.setup(self.step, optimiser)
        self.raw_optimiser = optimiser
        self.parameters = list(self.step.parameters())
        # The engine's wrappers cost a few percent of a small step; one process in float32 needs none of them.
        self.bare = fabric.world_size == 1 and options.precision == "32"
        self.lr = parse_lr_schedule(options.lr_schedule)
        self.average = Average(self.step, options.ema)
        self.meter = Meter(min(options.log_steps, max(self.steps, 1)), fabric.device)
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
        self.step.train()
        shard = (self.fabric.global_rank, self.fabric.world_size)
        progress = Progress(self.order, self.steps, self.state.step, quiet=self.job.quiet or not self.main)
        rows = self.feed.batches(self.order, self.state.step, self.steps, shard)
        with progress, Interrupts() as interrupts, closing(rows):
            for stop in self._intervals():
                with self.generator:
                    while self.state.step < stop and not (interrupts.asked and self._alone()):
                        self._advance(*next(rows))
                        progress.advance()
                    self.state.seconds = before + time.monotonic() - started
                    if self.state.step == stop:
                        self._boundary(progress)
                if self._agreed(interrupts.asked) or self.state.stopped_early:
                    break
                yield self.state
        self.state.interrupted = self.state.step < self.steps and not self.state.stopped_early
        self.state.finished = not self.state.interrupted
        if self.meter.filled().isfinite().all():  # an interrupt may come between a bad loss and its discovery
            self._checkpoint()

    def _intervals(self) -> Iterator[int]:
        """Steps at which numbers are read: every ``log_steps``, at the end of each epoch, and at the last step."""
        epoch, every = 1, self.options.log_steps
        step = self.state.step
        while step < self.steps and not self.state.stopped_early:
            while (end := self.order.steps(epoch)) <= step:
                epoch += 1
            step = min((step // every + 1) * every, end, self.steps)
            yield step

    def _advance(self, raw: Tensor, labels: Tensor | None) -> None:
        """One optimiser step; a batch that is accumulated in pieces sees the noise the whole would see."""
        step, pieces = self.state.step, self.options.accumulate
        self.step.objective.advance(step)
        if self.lr.kind != "constant":
            for group in self.raw_optimiser.param_groups:
                group["lr"] = self.options.lr * self.lr(step, self.steps)
        rank, world = self.fabric.global_rank, self.fabric.world_size
        self.generator.key(self.options.seed, step, rank)
        numbers: Tensor | None = None
        for i, (part, marks) in enumerate(_pieces(raw, labels, pieces)):
            noise = self.noise.at(step, (rank * pieces + i, world * pieces))
            waiting = self.fabric.no_backward_sync(self.wrapped) if i < pieces - 1 else nullcontext()
            with waiting:
                loss, seen = (self.step if self.bare else self.wrapped)(part, marks, noise)
                (Tensor.backward if self.bare else self.fabric.backward)(loss / pieces if pieces > 1 else loss)
            numbers = seen if numbers is None else numbers + seen
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.options.clip)
        (self.raw_optimiser if self.bare else self.optimiser).step()
        for parameter in self.parameters:
            parameter.grad = None
        with torch.no_grad():
            self.step.model.after_step(None)
            self.average.update()
        assert numbers is not None
        self.meter.add(numbers / pieces if pieces > 1 else numbers)
        self.state.step += 1

    def _boundary(self, progress: Progress) -> None:
        """Reads the interval's numbers, validates at the end of an epoch, logs, and saves if it is time."""
        state = self.state
        state.epoch = state.step * self.order.batch / self.order.n
        try:
            row = readable(self.step, self._mean(self.meter.read(self.step.names, state.step)))
        except NonFinite as error:
            raise NonFinite(f"Training stopped at {error}. {self._last_good()} {_CAUSES}") from None
        state.metrics = {f"train/{name}": value for name, value in row.items()}
        epoch = round(state.epoch)
        at_end = state.step == self.order.steps(epoch) and epoch % self.options.validate_epochs == 0
        if self.held_out is not None and (at_end or state.step == self.steps):
            self._validate()
        rate = self.optimiser.param_groups[0]["lr"]
        line = {"step": state.step, "epoch": round(state.epoch, 6), **state.metrics, "lr": rate}
        self.log.write({**line, "seconds": round(state.seconds, 3)})
        self.fabric.log_dict(state.metrics, state.step)
        progress.show(state.metrics)
        if time.monotonic() - self.saved_at >= self.options.checkpoint_seconds:
            self._checkpoint()

    @torch.no_grad()
    def _validate(self) -> None:
        """The training objective and the plain ELBO on the held-out rows, with the same noise every time."""
        assert self.held_out is not None
        self.step.eval()
        total = torch.zeros((), device=self.fabric.device, dtype=torch.float64)
        count = torch.zeros((), device=self.fabric.device, dtype=torch.float64)
        shard = (self.fabric.global_rank, self.fabric.world_size)
        with self.average.borrowed(), closing(self.held_out.chunks(_CHUNK, shard)) as chunks:
            for start, raw, labels in chunks:
                noise = Noise(self.options.seed, stream="validation", step=start, device=self.fabric.device)
                self.generator.key(self.options.seed, "validation", start)
                with self.fabric.autocast():
                    _, numbers = self.step(raw, labels, noise)
                total, count = total + numbers.double() * len(raw), count + len(raw)
            if self.fabric.world_size > 1:
                total = self.fabric.all_reduce(total.expand(len(self.step.names)).contiguous(), reduce_op="sum")
                count = self.fabric.all_reduce(count, reduce_op="sum")
            row = readable(self.step, (total / count).tolist())
            self.step.train()
            self.state.metrics |= {f"validation/{name}": value for name, value in row.items()}
            self._judge(row["objective [nats]"])

    def _judge(self, objective: float) -> None:
        state = self.state
        if not torch.tensor(objective).isfinite():
            raise NonFinite(
                f"Training stopped at step {state.step}: the validation objective is {objective}. "
                f"{self._last_good()} {_CAUSES}"
            )
        if not self.step.objective.settled(state.step, self.steps):
            return  # values at different weights are not comparable: none is the best, and none is waited for
        if objective > state.best:
            state.best, state.best_step, state.waited = objective, state.step, 0
            self.best_tensors = {k: v.clone() for k, v in module_tensors(self.step).items()}
            return
        state.waited += 1
        state.stopped_early = bool(self.options.patience) and state.waited >= self.options.patience

    def _checkpoint(self) -> None:
        """The best weights, then everything; in this order a run killed in between finds the same best again."""
        self.saved_at = time.monotonic()
        if self.folder is None:
            return
        home = self.folder / "checkpoints"
        home.mkdir(exist_ok=True)
        if self.best_tensors is not None:
            weights = {f"weights/{k}": v for k, v in self.best_tensors.items()}
            facts = {"step": self.state.best_step, "seconds": self.state.seconds}
            save_tensors(home / "best.safetensors", weights, facts)
            self.best_tensors = None
        tensors = {f"weights/{k}": v for k, v in module_tensors(self.step).items()}
        tensors |= {f"average/{k}": v for k, v in self.average.mean.items()}
        tensors |= _optimiser_tensors(self.raw_optimiser)
        tensors["meter"] = self.meter.filled()
        state = {k: v for k, v in vars(self.state).items() if k != "metrics"}
        state |= {"names": self.step.names, "best": None if state["best"] == float("-inf") else state["best"]}
        save_tensors(home / "last.safetensors", tensors, state)

    def _take_up(self) -> None:
        """Continues from the last checkpoint; a run killed before its first one starts at step 0."""
        assert self.job.folder is not None
        path = self.job.folder / "checkpoints" / "last.safetensors"
        if not path.exists():
            return
        tensors, state = load_tensors(path)
        restore_module(self.step, _under("weights/", tensors), str(path))
        self.average.restore(_under("average/", tensors))
        _restore_optimiser(self.raw_optimiser, _under("optimiser/", tensors))
        self.step.names = tuple(state.pop("names"))
        best = state.pop("best")
        self.meter.restore(tensors["meter"])
        self.state = Outcome(**state, best=float("-inf") if best is None else best)
        self.state.interrupted = False

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
        """Whether any process was asked to stop; several processes stop together, between intervals."""
        if self._alone():
            return asked
        return bool(self.fabric.all_reduce(torch.tensor(float(asked)), reduce_op="sum") > 0)


def _check(job: Job, world: int) -> None:
    """Refuses what would silently be something else."""
    if job.options.patience and job.validation is None:
        raise ValueError(
            "patience: early stopping judges by the validation data, and these data have none. "
            "Leave --patience out, or take a split with validation data."
        )
    objective = job.step.objective
    if objective.batch_statistic and job.options.accumulate > 1:
        raise ValueError(
            f"accumulate: {type(objective).__name__} is a statistic of the whole batch, and would be another one on "
            "pieces of it. Leave --accumulate out."
        )
    if objective.batch_statistic and world > 1:
        raise ValueError(
            f"devices: {type(objective).__name__} is a statistic of the whole batch, which no process sees alone. "
            "Train it with one process."
        )


def _pieces(raw: Tensor, labels: Tensor | None, count: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    if count == 1:
        yield raw, labels
        return
    marks = [None] * count if labels is None else labels.chunk(count)
    yield from zip(raw.chunk(count), marks, strict=True)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"optimiser/{i}/{key}": torch.as_tensor(v) for i, values in state.items() for key, v in values.items()}


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
