"""A warning where a run is too short for what its recipe has planned."""

__all__ = ["shortfalls", "warn_of_unfinished"]

import warnings
from collections.abc import Iterator
from math import ceil, log

from ..objectives import Linear, Logistic, Objective, Schedule
from ..plan import Player, Stage
from .prepare import Prepared


def warn_of_unfinished(prepared: Prepared, steps: int) -> None:
    """One ``UserWarning`` for schedules, and turns of players, that would end after the run does.

    Args:
        prepared: what is trained.
        steps: of the run.
    """
    found: dict[str, None] = {}  # players may share a schedule: it is told once, in order
    for what, end, where, own in shortfalls(prepared.stages, steps):
        found[f"{what} ends at step {end:,}, {where} at {own:,}"] = None
    if steps and found:
        warnings.warn(
            f"{prepared.name}: {'; '.join(found)}. Train for longer (epochs), or plan for less (such as the recipe's "
            "ramp, aggressive_steps or beta_schedule).",
            UserWarning,
            stacklevel=3,
        )


def shortfalls(course: tuple[Stage, ...], steps: int) -> Iterator[tuple[str, int, str, int]]:
    """What ends after its stage of a run of so many steps: what, at which step of the stage, the stage, and its end."""
    total = sum(stage.share for stage in course)
    for stage in course:
        own = round(steps * stage.share / total)
        where = "the run" if len(course) == 1 else f"its stage {stage.name!r}"
        for player in stage.players:
            for what, end in _ends(player):
                if end > own:
                    yield what, end, where, own


def _ends(player: Player) -> Iterator[tuple[str, int]]:
    if player.until is not None:
        yield ("its phase in turns" if player.every > 1 else f"the turn of player {player.name!r}"), player.until
    if isinstance(player.objective, Objective):
        for name, schedule in player.objective.schedules.items():
            if (end := _end(schedule)) is not None:
                yield f"the schedule of {name}", end


def _end(schedule: Schedule) -> int | None:
    """The step from which the schedule stands still, the logistic one to 1 %; ``None`` where it never does."""
    if isinstance(schedule, Linear):
        return schedule.steps
    if isinstance(schedule, Logistic) and schedule.slope > 0:
        return max(0, ceil(schedule.midpoint + log(99) / schedule.slope))
    return None
