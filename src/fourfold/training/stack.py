"""Several steps of one program as one: their tensors stacked, one pass, one optimiser."""

__all__ = ["Stack"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from ..models import Model
from ..noise import Noise, Recorder, Replay, Request, stacked
from ..objectives import Objective
from .checkpoint import module_tensors
from .loop import Loop
from .optimisers import make_optimiser


class Stack:
    """Members of one program: parameter ``(…)`` of each is a row of one tensor ``(K, …)``, and shares its memory.

    Each member's module, optimiser and average go on being what a loop of its own would have: whatever reads or writes
    them (validation, checkpoints, schedules, ``after_step``) needs to know nothing of the others.

    Args:
        loops: of jobs that are one program, at one step; those of one learning rate next to each other.
    """

    def __init__(self, loops: Sequence[Loop]) -> None:
        self.loops = list(loops)
        self.template = self.loops[0].step
        self.actors = [loop.acts[0].first for loop in self.loops]
        self.options = self.loops[0].options
        trained = {name for name, p in self.template.named_parameters() if p.requires_grad}
        self.trained: dict[str, Tensor] = {}
        self.others: dict[str, Tensor] = {}
        with torch.no_grad():
            for name in _own(self.template):
                rows = [_own(loop.step)[name] for loop in self.loops]
                whole = torch.stack(rows)
                for tensor, row in zip(rows, whole, strict=True):
                    tensor.data = row
                (self.trained if name in trained else self.others)[name] = whole
        for whole in self.trained.values():
            whole.requires_grad_()
        self.blocks = self._blocks()
        self.means = self._averages()
        self.moved = any(
            type(loop.step.model).after_step is not Model.after_step
            or type(loop.step.objective).after_step is not Objective.after_step
            for loop in self.loops
        )
        self.asked: dict[tuple[bool, int], list[Request]] = {}

    def __len__(self) -> int:
        return len(self.loops)

    def _blocks(self) -> list[tuple[slice, Optimizer, list[tuple[str, Tensor]]]]:
        """An optimiser for each run of equal learning rates, with the state that the members' own have so far."""
        made, start = [], 0
        for end in range(1, len(self) + 1):
            if end < len(self) and self.loops[end].options.lr == self.loops[start].options.lr:
                continue
            rows, player = slice(start, end), self.actors[start].player
            own = [(name, whole.detach()[rows].requires_grad_()) for name, whole in self.trained.items()]
            optimiser = make_optimiser([p for _, p in own], self.loops[start].options, player.lr, player.betas)
            for name, parameter in own:
                states = [self._state(i, name) for i in range(start, end)]
                if states[0]:
                    optimiser.state[parameter] = {
                        key: states[0][key].clone() if key == "step" else torch.stack([state[key] for state in states])
                        for key in states[0]
                    }
            made.append((rows, optimiser, own))
            start = end
        self.blocks = made
        self._share()
        return made

    def _state(self, i: int, name: str) -> dict[str, Tensor]:
        """What member i's own optimiser keeps of a parameter."""
        return self.actors[i].raw_optimiser.state.get(_own(self.loops[i].step)[name], {})

    def _share(self) -> None:
        """The members' optimisers hold the rows of what the stacked ones hold."""
        for rows, optimiser, own in self.blocks:
            for name, parameter in own:
                state = optimiser.state.get(parameter, {})
                for i in range(rows.start, rows.stop) if state else ():
                    mine = {key: value if key == "step" else value[i - rows.start] for key, value in state.items()}
                    self.actors[i].raw_optimiser.state[_own(self.loops[i].step)[name]] = mine
        self.shared = any(optimiser.state for _, optimiser, _ in self.blocks)

    def _averages(self) -> dict[str, Tensor]:
        """The averages of the weights, stacked; each member's own are rows of them."""
        means = {}
        for name in self.loops[0].average.mean:
            means[name] = torch.stack([loop.average.mean[name] for loop in self.loops])
        for i, loop in enumerate(self.loops):
            tensors = module_tensors(loop.step)
            loop.average.live = {name: tensors[name] for name in loop.average.live}
            loop.average.mean = {name: whole[i] for name, whole in means.items()}
        return means

    def draws(self, raw: Tensor, labels: Tensor | None, sources: Sequence[Noise]) -> tuple[Tensor, ...]:
        """The noise of one pass, each member's from its own source; what is asked for is asked of the first one once.

        Args:
            raw: the first member's rows.
            labels: and labels.
            sources: one for each member.
        """
        key = self.template.training, len(raw)
        if key not in self.asked:
            recorder = Recorder(sources[0].at(sources[0].step))
            with torch.no_grad():
                self.template(raw, labels, recorder)
            self.asked[key] = recorder.requests
        return stacked(sources, self.asked[key])

    def gradients(
        self, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]
    ) -> tuple[list[Tensor | None], Tensor, dict[str, Tensor]]:
        """Of every trained tensor ``(K, …)`` or ``None``, with each member's numbers ``(K, N)`` and its summary.

        Args:
            raw: each member's rows, ``(K, B, *shape)``.
            labels: ``(K, B)`` or ``None``.
            noise: what ``draws`` gave.
        """
        loss, numbers, summary = self._passed({**self.trained, **self.others}, raw, labels, noise)
        found = torch.autograd.grad(loss.sum(), list(self.trained.values()), allow_unused=True)
        return list(found), numbers.detach(), {k: v.detach() for k, v in summary.items()}

    @torch.no_grad()
    def scored(self, rows: slice, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]) -> Tensor:
        """The numbers of these members on rows that all of them see, with averaged weights where an average is kept."""
        tensors = {**self.trained, **self.others, **self.means}
        count = rows.stop - rows.start
        seen = raw.expand(count, *raw.shape), None if labels is None else labels.expand(count, *labels.shape)
        return self._passed({name: whole[rows] for name, whole in tensors.items()}, *seen, noise)[1]

    def _passed(
        self, tensors: dict[str, Tensor], raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        template = self.template

        def one(own: dict[str, Tensor], x: Tensor, c: Tensor | None, *numbers: Tensor) -> tuple[Any, ...]:
            source = Replay(numbers)
            loss, seen = functional_call(template, own, (x, c, source))
            if source.left:
                raise ValueError(f"it asked for {source.left} random tensors fewer than the pass before.")
            return loss, seen, dict(template.summary)

        try:
            return vmap(one, (0, 0, None if labels is None else 0, *[0] * len(noise)))(tensors, raw, labels, *noise)
        finally:
            template.summary = {}  # what is left there belongs to the inside of vmap

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor | None], factor: float | None) -> None:
        """One step of the optimiser, at this factor on the learning rates where they move.

        Args:
            gradients: of the trained tensors; they are spent.
            factor: on the learning rates, ``None`` where these are as they were made.
        """
        if self.options.clip:
            _clip([g for g in gradients if g is not None], self.options.clip)
        for rows, optimiser, own in self.blocks:
            if factor is not None:
                for group in optimiser.param_groups:
                    group["lr"] = self.rate(rows.start, factor)
            for (_, parameter), gradient in zip(own, gradients, strict=True):
                parameter.grad = None if gradient is None else _as_it_lies(gradient[rows], parameter)
            optimiser.step()
            for _, parameter in own:
                parameter.grad = None
        if not self.shared:
            self._share()
        if self.means:
            live = {**self.trained, **self.others}
            torch._foreach_lerp_(
                list(self.means.values()), [live[name].detach() for name in self.means], 1 - self.options.ema
            )

    def rate(self, i: int, factor: float | None) -> float:
        """Member i's learning rate."""
        return self.loops[i].options.lr * self.actors[i].player.lr * (1.0 if factor is None else factor)

    def tell_names(self) -> None:
        """Every member calls its numbers as the one that went through the pass."""
        for loop in self.loops[1:]:
            loop.step.names, loop.step.weights = self.template.names, self.template.weights
            loop.step.units = self.template.units


def _own(step: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by the first name it has."""
    return {**dict(step.named_parameters()), **dict(step.named_buffers())}


def _as_it_lies(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Fused optimisers take both as they lie in memory."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _clip(gradients: list[Tensor], largest: float) -> None:
    """Each member's gradient to a norm of its own of at most this."""
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
