"""What the loop is given, and what of it is refused before anything is trained."""

__all__ = ["Job", "check_job"]

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import Split, order_of
from ..networks.normalisation import norms
from ..plan import Stage
from .course import steps_of
from .options import Training
from .step import Step


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
        stages: of training, as ``Recipe.course`` tells them: the last one's first player has the step's own objective.
    """

    step: Step
    train: Split
    validation: Split | None
    options: Training
    folder: Path | None = None
    resume: bool = False
    quiet: bool = False
    stages: tuple[Stage, ...] = field(kw_only=True)


def check_job(job: Job, world: int) -> None:
    """Refuses what would fail, or silently be something else.

    Raises:
        ValueError: that names the option.
    """
    order_of(job.train.x, job.options.batch_size, job.options.seed, job.options.shuffle)
    if job.options.patience and job.validation is None:
        raise ValueError(
            "patience: early stopping judges by the validation data, and these data have none. "
            "Leave --patience out, or take a split with validation data."
        )
    objectives: list[Any] = [player.objective for stage in job.stages for player in stage.players]
    objective = next((one for one in objectives if one.batch_statistic), None)
    if objective is not None and job.options.accumulate > 1:
        raise ValueError(
            f"accumulate: {type(objective).__name__} is a statistic of the whole batch, and would be another one on "
            "pieces of it. Leave --accumulate out."
        )
    steps = [job.step, *(step for stage in steps_of(job.step, job.stages) for step in stage)]
    if job.options.accumulate > 1 and any(norms(step) for step in steps):
        raise ValueError(
            "accumulate: batch normalisation takes its statistics from the whole batch, and would take others from "
            "pieces of it. Leave --accumulate out."
        )
    whole = next((m for step in steps for m in step.modules() if getattr(m, "whole_batch", False)), None)
    if job.options.accumulate > 1 and whole is not None:
        raise ValueError(
            f"accumulate: {type(whole).__name__} picks vectors from the whole batch, and cannot from pieces of it. "
            "Leave --accumulate out."
        )
    if objective is not None and world > 1:
        raise ValueError(
            f"devices: {type(objective).__name__} is a statistic of the whole batch, which no process sees alone. "
            "Train it with one process."
        )
    for one in objectives:
        one.check_batch(job.options.batch_size // (world * job.options.accumulate))
