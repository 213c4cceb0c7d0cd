"""The doctor's reading of a run: its record, its metrics and its recipe, for checks that know numbers only."""

__all__ = ["doctor"]

from collections.abc import Callable, Iterator, Mapping
from math import isclose
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Batch, Order, Split
from ..data.arrays import checksum
from ..evaluation.doctor import Checkup, Facts, History, Standing, checkup, examine
from ..noise import Noise
from ..objectives import Objective
from ..training import load_tensors
from .unfinished import shortfalls

if TYPE_CHECKING:
    from .run import Run


def doctor(
    run: "Run",
    split: str = "test",
    *,
    data: int = 500,
    gap_data: int = 0,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Checkup:
    """What is wrong with a run, in words, and what to try; nothing is written.

    Args:
        run: the run.
        split: the part of its data that it is examined on: one that it has not learnt from.
        data: how many of them, and of the training data, at most.
        gap_data: for so many of them the best posterior is searched for; 0 leaves that out.
        seed: of binarisation and draws.
        tell: told what is measured next.
    """
    batches = run.batches(_few(run.split(split), data), seed)
    noise = Noise(seed, stream="doctor", device=run.model.device)
    exam = examine(run.model, batches, noise, _taught(run, split, data, seed), gap_data, tell)
    return checkup(exam, _facts(run), _standing(run), _history(run))


def _taught(run: "Run", split: str, data: int, seed: int) -> Callable[[], Iterator[Batch]] | None:
    """Some of the training data, if they are at hand and are others."""
    found = run.dataset()
    learnt = run.folder.record()["data"]["protocol"].get("checksum")
    # Of other data than the run's own the model has learnt nothing.
    if split == "train" or (found.protocol.get("checksum") or checksum(found.parts)) != learnt:
        return None
    return run.batches(_few(found.train, data), seed)


def _few(split: Split, n: int) -> Split:
    return Split(split.x[:n], None if split.labels is None else split.labels[:n])


def _facts(run: "Run") -> Facts:
    """What the run's record and its recipe say."""
    record = run.folder.record()
    recipe, spec = record["recipe"], record["spec"]
    return Facts(
        run=str(run.path),
        recipe=recipe.get("recipe"),
        flags=recipe.get("arguments") or {},
        objective="" if run.recipe is None else type(run.recipe.objective).__name__,
        weights={name: value for name, (value, _) in _weights(run).items()},
        steps=run.outcome.step,
        levels=spec.get("levels"),
        dequantised=run.view.dequantize,
        binarize=(run.view.binarize or "") if spec.get("grey", False) else "",
        fresh="init_from" not in record,
        underway=not all(_there(*pair) for pair in _weights(run).values()),
    )


def _planned(run: "Run") -> int | None:
    """Steps of the whole run; ``None`` where the record does not tell how many data there were."""
    record = run.folder.record()
    n, training = record["spec"].get("n"), record["training"]
    if n is None:
        return None
    return Order(n, min(training["batch_size"], n), training["seed"]).steps(training["epochs"])


def _start(run: "Run") -> int:
    """The step at which the last stage begins."""
    stages = run.stages
    return stages[-2][1] if len(stages) > 1 else 0


def _weights(run: "Run") -> dict[str, tuple[float, float]]:
    """Hyper-parameters of the objective: as they stood at the last step that was taken, and where they were going."""
    if run.recipe is None or not isinstance(run.recipe.objective, Objective):
        return {}
    objective, step = run.recipe.objective, max(run.outcome.step - 1 - _start(run), 0)
    far = 10 * max(step, 10_000)
    moving = {name: (schedule(step), schedule(far)) for name, schedule in objective.schedules.items()}
    return {name: (value, value) for name, value in objective.values.items()} | moving


def _there(value: float, goal: float) -> bool:
    return isclose(value, goal, rel_tol=0.02, abs_tol=1e-9)


def _standing(run: "Run") -> Standing:
    """Where training stands, as its last checkpoint tells it."""
    path, training = run.folder.checkpoint("last"), run.folder.record()["training"]
    state: Mapping[str, Any] = load_tensors(path, to_train=False)[1] if path.exists() else {}
    step, steps = int(state.get("step", run.outcome.step)), _planned(run)
    pending = {}
    if run.recipe is not None and not state.get("stopped_early", False):
        pending = {what: end for what, end, _, _ in shortfalls(run.recipe.course, step)}
    going = {name: pair for name, pair in _weights(run).items() if not _there(*pair)}
    return Standing(
        step=step,
        steps=steps,
        epochs=float(training["epochs"]),
        finished=bool(state.get("finished", True)),
        interrupted=bool(state.get("interrupted", False)),
        early=bool(state.get("stopped_early", False)),
        checkpoint=run.checkpoint,
        pending=tuple(pending.items()),
        weights=going if pending else {},
    )


def _history(run: "Run") -> History | None:
    """The objective over the last stage, from where its schedules stood still on."""
    every = run.metrics
    rows = [row for row in every if row["step"] > _start(run) and _settled(run, row["step"])]
    for part in ("validation", "train"):
        key = f"{part}/objective [nats]"
        told = [row for row in rows if key in row and "train/objective [nats]" in row]
        if told:
            epochs, values, train = (
                np.array([row[name] for row in told], dtype=np.float64)
                for name in ("epoch", key, "train/objective [nats]")
            )
            return History(epochs, values, train, part == "validation", len(rows) == len(every))
    return None


def _settled(run: "Run", step: int) -> bool:
    """Whether values at this step are of the objective as it was at the end."""
    objective = None if run.recipe is None else run.recipe.objective
    if not isinstance(objective, Objective):
        return True
    start = _start(run)
    return objective.settled(step - start, max(run.outcome.step - start, step - start))
