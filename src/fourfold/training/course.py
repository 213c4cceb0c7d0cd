"""The course of training: its stages, and in each the players that are stepped in turn."""

__all__ = ["Act", "Actor", "check_course", "course_of", "kept", "parameters_of", "steps_of"]

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..plan import Player, Stage
from .kernel import Kernel
from .meter import Meter
from .optimisers import make_optimiser
from .options import Training
from .program import Program
from .step import Step


class Actor:
    """One player of one stage, ready to be stepped.

    Args:
        player: who.
        step: what is trained; for the last stage's first player the run's own step.
        marks: the prefix of its numbers, ``""`` for the run's own step; and the stream of its noise, ``""`` for the
            first player of a stage, who has the run's own.
        before: the stage before, where a player that continues finds its optimiser.
        options: how.
        fabric: the engine.
    """

    def __init__(
        self, player: Player, step: Step, marks: tuple[str, str], before: "Act | None", options: Training, fabric: Any
    ) -> None:
        self.player, self.step, (self.mark, self.stream) = player, step, marks
        self.parameters = parameters_of(player, step)
        self._all = _unique(p for p in step.parameters() if p.requires_grad)
        self.apart = len(self.parameters) < len(self._all)
        self.raw_optimiser = (
            next(one.raw_optimiser for one in before.actors if one.player.name == player.name)
            if player.continues and before is not None
            else make_optimiser(self.parameters, options, player.lr, player.betas)
        )
        self.take_turn()  # the engine synchronises what is trained: nothing else may look trainable to it
        self.wrapped, _ = fabric.setup(step, self.raw_optimiser)
        self.leave()
        self.kernel = Kernel(self.raw_optimiser)
        self.program = Program(step, self.wrapped, self.parameters, options, fabric)
        self.meter = Meter(options.log_steps, fabric.device)

    def take_turn(self) -> None:
        """Everything that is not this player's stands still."""
        if self.apart:
            own = set(map(id, self.parameters))
            for parameter in self._all:
                parameter.requires_grad_(id(parameter) in own)

    def leave(self) -> None:
        """What stood still may be another's."""
        if self.apart:
            for parameter in self._all:
                parameter.requires_grad_(True)

    def update(self, options: Training, factor: float | None) -> None:
        """One step of the optimiser, at this factor on the learning rate where it moves; the gradients are spent."""
        if factor is not None or self.player.continues:  # the stage before may have left another rate
            factor = 1.0 if factor is None else factor
            for group in self.raw_optimiser.param_groups:
                group["lr"] = options.lr * self.player.lr * factor
        if options.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, options.clip)
        self.kernel.step()
        self.spend()

    def norm(self) -> torch.Tensor:
        """Of the gradient; not finite where one of its elements is not."""
        return torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])

    def spend(self) -> None:
        """The gradients are gone."""
        for parameter in self.parameters:
            parameter.grad = None


@dataclass(frozen=True)
class Act:
    """A stage as it is played: from the step ``start`` up to, and without, ``end``.

    ``planned`` is how long it was to be when it was begun: a run that goes on for longer moves its model no other way.
    """

    stage: Stage
    start: int
    end: int
    actors: tuple[Actor, ...]
    planned: int

    @property
    def first(self) -> Actor:
        """Whose objective is validated."""
        return self.actors[0]


def parameters_of(player: Player, step: Step) -> list[nn.Parameter]:
    """What is trained in a player's turn.

    Raises:
        ValueError: if there is nothing.
    """
    parts = player.parts or (step.model, step.objective)
    found = _unique(p for part in parts for p in part.parameters() if p.requires_grad)
    if not found:
        raise ValueError(f"Player {player.name!r}: none of its parts has a parameter to train. Name other parts.")
    return found


def check_course(stages: tuple[Stage, ...], made: list[list[Step]]) -> None:
    """Refuses a player who has nothing to train, or continues what is not his.

    Args:
        stages: of the recipe.
        made: what ``steps_of`` gave for them.

    Raises:
        ValueError: by the player's name.
    """
    before: dict[str, tuple[Any, ...]] = {}
    for stage, steps in zip(stages, made, strict=True):
        own = {
            player.name: (player.betas, *map(id, parameters_of(player, one)))
            for player, one in zip(stage.players, steps, strict=True)
        }
        for player in stage.players:
            if player.continues and before.get(player.name) != own[player.name]:
                raise ValueError(
                    f"Player {player.name!r}: continues: wanted a player of that name in the stage before, with the "
                    f"same parameters and betas, got {'another one' if player.name in before else 'none'}. "
                    "Leave continues out."
                )
        before = own


def steps_of(step: Step, stages: tuple[Stage, ...]) -> list[list[Step]]:
    """For each stage the step of each player; the last stage's first is the one that is given."""
    made: list[list[Step]] = []
    for stage in stages:
        model: Any = step.model if stage.model is None else stage.model
        objectives: list[Any] = [player.objective for player in stage.players]
        made.append([Step(step.view, model, objective) for objective in objectives])
    made[-1][0] = step
    return made


def course_of(step: Step, stages: tuple[Stage, ...], steps: int, options: Training, fabric: Any) -> list[Act]:
    """The stages with their share of the steps, every player with its optimiser."""
    total, done, start = sum(stage.share for stage in stages), 0.0, 0
    acts = []
    made = steps_of(step, stages)
    check_course(stages, made)
    for stage, players in zip(stages, made, strict=True):
        done += stage.share
        end = steps if stage is stages[-1] else round(steps * done / total)
        actors = []
        for i, (player, one) in enumerate(zip(stage.players, players, strict=True)):
            names = [stage.name] * (stage is not stages[-1]) + [player.name] * (i > 0)
            mark = "".join(f"{name}/" for name in names)
            marks = (mark, player.name if i else "")
            actors.append(Actor(player, one, marks, acts[-1] if acts else None, options, fabric))
        acts.append(Act(stage, start, end, tuple(actors), end - start))
        start = end
    return acts


def kept(acts: list[Act], ends: list[int], planned: list[int] | None = None) -> list[Act]:
    """The course with the ends it had when it was saved, but for the last: a run's other length is its last stage's."""
    starts = [0, *ends[:-1]]
    lengths = planned or [end - start for start, end in zip(starts, ends, strict=True)]
    stops = [*ends[:-1], max(acts[-1].end, starts[-1])]
    parts = zip(acts, starts, stops, lengths, strict=True)
    return [replace(act, start=a, end=b, planned=n) for act, a, b, n in parts]


def _unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(p): p for p in parameters}.values())
