"""Several steps of one program as one: their tensors stacked, one pass, one optimiser."""

__all__ = ["NotTogether", "Stack"]

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, final

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
from .step import untouched

_Passed = tuple[Tensor, Tensor, dict[str, Tensor]]
_Found = tuple[tuple[Tensor | None, ...], Tensor, dict[str, Tensor]]
# What a gradient may be off: rounding is far below, and another computation far above.
_NEAR = 1e-2


class NotTogether(RuntimeError):
    """Members whose pass cannot be made as one, and why."""


@final
class Stack:
    """Members of one program: parameter ``(…)`` of each is a row of one tensor ``(K, …)``, and shares its memory.

    Each member's module, optimiser and average go on being what a loop of its own would have: whatever reads or writes
    them (validation, checkpoints, schedules, ``after_step``) needs to know nothing of the others.

    Args:
        loops: of jobs that are one program, at one step; those of one learning rate next to each other.

    Attributes:
        compiled: whether the gradient of all is one compiled program.
    """

    def __init__(self, loops: Sequence[Loop]) -> None:
        self.loops = list(loops)
        self.template = self.loops[0].step
        self.actors = [loop.acts[0].first for loop in self.loops]
        self.options = self.loops[0].options
        self.moved = any(
            type(loop.step.model).after_step is not Model.after_step
            or type(loop.step.objective).after_step is not Objective.after_step
            for loop in self.loops
        )
        self.trained: dict[str, Tensor] = {}
        self.others: dict[str, Tensor] = {}
        self.homes = _homes(self.template)
        self._join()
        self.blocks = self._blocks()
        self.means = self._averages()
        self.compiled = False
        self._program: Callable[..., _Found] | None = None
        self._asked: dict[tuple[bool, int], list[Request]] = {}
        self._before: list[tuple[int, Tensor]] = []
        self._taken: list[Tensor | None] = []

    def __len__(self) -> int:
        return len(self.loops)

    @torch.no_grad()
    def _join(self) -> None:
        """Stacks every parameter, and every buffer that is not the same in all members for good."""
        trained = {name for name, p in self.template.named_parameters() if p.requires_grad}
        every = [_own(loop.step) for loop in self.loops]
        for name, first in every[0].items():
            rows = [own[name] for own in every]
            if name not in trained and not self.moved and first.ndim and all(map(first.equal, rows)):
                continue
            whole = torch.stack(rows)
            for tensor, row in zip(rows, whole, strict=True):
                tensor.data = row
            (self.trained if name in trained else self.others)[name] = whole
        for whole in self.trained.values():
            whole.requires_grad_()

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
        owns = [_own(loop.step) for loop in self.loops]
        for rows, optimiser, own in self.blocks:
            for name, parameter in own:
                state = optimiser.state.get(parameter, {})
                for i in range(rows.start, rows.stop) if state else ():
                    mine = {key: value if key == "step" else value[i - rows.start] for key, value in state.items()}
                    self.actors[i].raw_optimiser.state[owns[i][name]] = mine
        self.shared = any(optimiser.state for _, optimiser, _ in self.blocks)

    def _averages(self) -> dict[str, Tensor]:
        """The averages of the weights, stacked; each member's own are rows of them."""
        names = list(self.loops[0].average.mean)
        means = {name: torch.stack([loop.average.mean[name] for loop in self.loops]) for name in names}
        for i, loop in enumerate(self.loops):
            loop.average.mean = {name: whole[i] for name, whole in means.items()}
            _look_again(loop)
        return means

    def release(self, i: int) -> None:
        """What member i has is its own from here on."""
        loop, actor = self.loops[i], self.actors[i]
        for tensor in _own(loop.step).values():
            tensor.data = tensor.data.clone()
        for state in actor.raw_optimiser.state.values():
            state |= {key: value.clone() for key, value in state.items()}
        loop.average.mean = {name: mean.clone() for name, mean in loop.average.mean.items()}
        _look_again(loop)

    def draws(self, raw: Tensor, labels: Tensor | None, sources: Sequence[Noise]) -> tuple[Tensor, ...]:
        """The noise of one pass, each member's from its own source; what is asked for is asked of the first one once.

        Args:
            raw: the first member's rows.
            labels: and labels.
            sources: one for each member.
        """
        key = self.template.training, len(raw)
        if key not in self._asked:
            recorder = Recorder(sources[0].at(sources[0].step))
            with untouched(self.template):
                self.template(raw, labels, recorder)
            self._asked[key] = recorder.requests
        return stacked(sources, self._asked[key])

    def gradients(self, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]) -> _Found:
        """Of every trained tensor ``(K, …)`` or ``None``, with each member's numbers ``(K, N)`` and its summary.

        Args:
            raw: each member's rows, ``(K, B, *shape)``.
            labels: ``(K, B)`` or ``None``.
            noise: what ``draws`` gave.
        """
        trained, others = list(self.trained.values()), list(self.others.values())
        try:
            if not self.compiled:
                return self._found(trained, others, raw, labels, noise)
            if self._program is None:
                from torch._dynamo import config

                self._program = _compiled(self._found)
                with config.patch(trace_autograd_ops=True):
                    found, numbers, summary = self._program(trained, others, raw, labels, noise)
            else:
                found, numbers, summary = self._program(trained, others, raw, labels, noise)
            return found, numbers.clone(), summary  # a replayed graph writes the next ones to the same place
        finally:
            self.template.summary = {}  # what is left there belongs to the inside of vmap

    def _found(
        self,
        trained: list[Tensor],
        others: list[Tensor],
        raw: Tensor,
        labels: Tensor | None,
        noise: tuple[Tensor, ...],
    ) -> _Found:
        tensors = {**dict(zip(self.trained, trained, strict=True)), **dict(zip(self.others, others, strict=True))}
        loss, numbers, summary = self._passed(tensors, raw, labels, noise)
        found = torch.autograd.grad(loss.sum(), trained, allow_unused=True)
        return found, numbers.detach(), {name: value.detach() for name, value in summary.items()}

    def _passed(
        self, tensors: dict[str, Tensor], raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]
    ) -> _Passed:
        template = self.template

        def one(own: dict[str, Tensor], x: Tensor, c: Tensor | None, *numbers: Tensor) -> _Passed:
            source = Replay(numbers)
            every = {home: tensor for name, tensor in own.items() for home in self.homes[name]}
            # Torch's own way with a module that is met under two names leaves in it what belongs to this pass.
            loss, seen = functional_call(template, every, (x, c, source), tie_weights=False)
            if source.left:
                raise ValueError(f"it asked for {source.left} random tensors fewer than the pass before")
            return loss, seen, dict(template.summary)

        return vmap(one, (0, 0, None if labels is None else 0, *[0] * len(noise)))(tensors, raw, labels, *noise)

    def check(self, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...], found: _Found) -> None:
        """Compares the first and the last member with a pass of their own.

        Args:
            raw: what ``gradients`` was given,
            labels: and this,
            noise: and this.
            found: what it gave.

        Raises:
            NotTogether: where a gradient is another one: something in the model is not meant for several at once.
        """
        for i in {0, len(self) - 1}:
            step, own = self.loops[i].step, _own(self.loops[i].step)
            alone = Replay([numbers[i] for numbers in noise])
            with untouched(step):
                loss, _ = step(raw[i], None if labels is None else labels[i], alone)
                wanted = torch.autograd.grad(loss, [own[name] for name in self.trained], allow_unused=True)
            pairs = [(w, g[i]) for w, g in zip(wanted, found[0], strict=True) if w is not None and g is not None]
            whole = torch.stack([w.norm() for w, _ in pairs]).norm()
            for name, w, g in zip(self.trained, wanted, found[0], strict=True):
                other = torch.zeros(()) if w is None else w
                got = torch.zeros(()) if g is None else g[i]
                if (got - other).norm() > _NEAR * other.norm().clamp(min=_NEAR * float(whole)):
                    raise NotTogether(f"the gradient of {name} is another one than alone")

    @torch.no_grad()
    def scored(self, rows: slice, raw: Tensor, labels: Tensor | None, noise: tuple[Tensor, ...]) -> Tensor:
        """The numbers of these members on rows that all of them see, with averaged weights where an average is kept."""
        tensors = {**self.trained, **self.others, **self.means}
        count = rows.stop - rows.start
        seen = raw.expand(count, *raw.shape), None if labels is None else labels.expand(count, *labels.shape)
        try:
            return self._passed({name: whole[rows] for name, whole in tensors.items()}, *seen, noise)[1]
        finally:
            self.template.summary = {}

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

    @torch.no_grad()
    def after(self, summary: dict[str, Tensor]) -> None:
        """What changes outside the optimiser, for each member from its own means."""
        for i, loop in enumerate(self.loops) if self.moved else ():
            loop.after(self.actors[i], {name: value[i] for name, value in summary.items()})
            for name, buffer in loop.step.named_buffers():
                row = self.others[name][i]
                if buffer.data_ptr() != row.data_ptr():  # it has got a new tensor for the old one
                    row.copy_(buffer)
                    buffer.data = row

    def rate(self, i: int, factor: float | None) -> float:
        """Member i's learning rate."""
        return self.loops[i].options.lr * self.actors[i].player.lr * (1.0 if factor is None else factor)

    def _changing(self) -> list[tuple[int, Tensor]]:
        """All that training changes: weights, state, averages, what optimisers keep; each with its first member."""
        whole = [*self.trained.values(), *self.others.values(), *self.means.values()]
        found = [(0, tensor.detach()) for tensor in whole]
        for rows, optimiser, own in self.blocks:
            for _, parameter in own:
                state = optimiser.state.get(parameter, {})
                found += [(rows.start, value) for key, value in state.items() if key != "step"]
        return found

    @torch.no_grad()
    def mark(self) -> None:
        """Remembers everything as it stands, for ``back``."""
        now = self._changing()
        if len(self._before) == len(now):
            torch._foreach_copy_([kept for _, kept in self._before], [tensor for _, tensor in now])
        else:
            self._before = [(first, tensor.clone()) for first, tensor in now]
        self._taken = [next((state["step"].clone() for state in o.state.values()), None) for _, o, _ in self.blocks]

    @torch.no_grad()
    def back(self, i: int) -> None:
        """Member i stands where it was at the last ``mark``, and has what it has for itself."""
        for (first, tensor), (_, kept) in zip(self._changing(), self._before, strict=False):
            if first <= i < first + len(tensor):
                tensor[i - first].copy_(kept[i - first])
        self.release(i)
        taken = next(t for t, (rows, _, _) in zip(self._taken, self.blocks, strict=True) if rows.start <= i < rows.stop)
        optimiser = self.actors[i].raw_optimiser
        if taken is None:
            optimiser.state.clear()
        for state in optimiser.state.values():
            state["step"] = torch.as_tensor(taken).clone()

    def sound(self) -> Tensor:
        """Whether all weights of a member are finite, ``(K,)``."""
        largest = [whole.detach().reshape(len(self), -1).abs().amax(1) for whole in self.trained.values()]
        return torch.stack(largest).isfinite().all(0)

    def tell_names(self) -> None:
        """Every member calls its numbers as the one that went through the pass."""
        for loop in self.loops[1:]:
            loop.step.names, loop.step.weights = self.template.names, self.template.weights
            loop.step.units = self.template.units


def _own(step: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by the first name it has."""
    return {**dict(step.named_parameters()), **dict(step.named_buffers())}


def _homes(step: nn.Module) -> dict[str, list[str]]:
    """Of every parameter and buffer, by its first name, the names under which modules hold it, each module once."""
    first: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    for place, module in step.named_modules():
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                name = f"{place}.{key}" if place else key
                found.setdefault(first.setdefault(id(tensor), name), []).append(name)
    return found


def _look_again(loop: Loop) -> None:
    """The average follows tensors that have moved in memory."""
    tensors = module_tensors(loop.step)
    loop.average.live = {name: tensors[name] for name in loop.average.live}


def _as_it_lies(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Fused optimisers take both as they lie in memory."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _clip(gradients: list[Tensor], largest: float) -> None:
    """Each member's gradient to a norm of its own of at most this."""
    norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in {g.data_ptr(): g for g in gradients}.values():  # tensors that are added share theirs
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))


def _compiled(found: Callable[..., _Found]) -> Callable[..., _Found]:
    """One graph from rows and noise to gradients: on a GPU replayed without the processor's help."""

    def program(trained: list[Tensor], others: list[Tensor], *seen: Any) -> _Found:
        return found(trained, others, *seen)

    # Compiled code is kept with a function's code, eight of them at most: each program has code of its own.
    own = FunctionType(program.__code__.replace(), program.__globals__, closure=program.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False)
