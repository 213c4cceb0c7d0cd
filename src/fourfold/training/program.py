"""The gradient of a step: plainly, or as one compiled program of tensors."""

__all__ = ["COMPILE", "Program"]

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from types import FunctionType
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from ..noise import NoiseSource, Recorder, Replay, Request
from .step import Step, untouched

if TYPE_CHECKING:
    from .options import Training

COMPILE = ("auto", "on", "off")
_Outputs = tuple[tuple[Tensor | None, ...], Tensor, dict[str, Tensor]]
"""Gradients of all parameters, the numbers of the step, and the summary for what changes outside the optimiser."""
_WORTH = 120.0  # seconds of plain steps still to come, for which it is worth to find out
_SKIPPED, _TIMED = 20, 40  # steps: the first ones are slower than the rest, the next ones are measured
_GAIN = 1.05
_OFTEN = 4
_CODE = ("BUILTIN_MATCH", "CLASS_MATCH", "CLOSURE_MATCH", "FUNCTION_MATCH", "MODULE_MATCH", "TYPE_MATCH")
_KNOWN = ("fourfold.", "torch.nn.modules.")
_MODULES = ("DICT_NOT_CONTAINS", "DUPLICATE_INPUT", "EMPTY_NN_MODULE_HOOKS_DICT", "NOT_PRESENT_IN_GENERIC_DICT")


@final
class Program:
    """Loss, gradients and numbers of one player's step.

    Compiled, the whole of it (view, model, objective, backward) is one program of tensors: noise is drawn outside, as
    the plain step draws it, so that both see the same numbers and their results differ by rounding alone. What cannot
    be compiled, for want of a compiler or because of the model, is done plainly, and ``tell`` is told why.

    ``"auto"`` measures plain steps, which are steps of training like any other, and compiles where more than two
    minutes of them are to come; it then measures compiled ones, and keeps what is faster.

    Args:
        step: what is trained.
        wrapped: the same as the engine has it.
        parameters: whose gradient is taken.
        options: of training: ``compile``, ``precision``.
        fabric: the engine.

    Attributes:
        decided: ``"on"`` or ``"off"``, and after a colon why; empty as long as nothing is decided. A run that is
            resumed puts its former decision here.
        tell: takes the lines that a user is to read, when they are due.
        told: whether it was found out in this run what ``decided`` says.
    """

    def __init__(
        self, step: Step, wrapped: Any, parameters: list[nn.Parameter], options: "Training", fabric: Any
    ) -> None:
        self.step, self.wrapped, self.parameters, self.fabric = step, wrapped, parameters, fabric
        # The engine's wrappers cost a few percent of a small step; one process in float32 needs none of them.
        self.bare = fabric.world_size == 1 and options.precision == "32"
        self.clips = options.clip > 0
        self.decided, self.told = "" if options.compile == "auto" else options.compile, False
        self.tell: Callable[[str], None] = lambda text: None
        self._compiled: Callable[..., _Outputs] | None = None
        self._requests: tuple[Request, ...] = ()
        self._plain = self._seconds = 0.0
        self._steps = self._times = 0
        if not self.decided and fabric.world_size > 1:
            self.decided = "off: several processes, which auto leaves as they are"

    def gradient(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource, share: int = 1, left: int = 0) -> Tensor:
        """Adds the gradient of a part of a batch to ``grad``; the numbers that ``step.names`` names.

        Args:
            raw: rows.
            labels: theirs.
            noise: of this part.
            share: in how many parts the batch comes; the engine synchronises gradients with the last one.
            left: how many steps are still to come, this one included; 0 where another part follows.
        """
        if self.decided.startswith("on"):
            return self._fast(raw, labels, noise, share, left)
        if self.decided or not left:
            return self._slow(raw, labels, noise, share, left)
        return self._measured(raw, labels, noise, share, left)

    def _slow(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource, share: int, left: int) -> Tensor:
        with nullcontext() if left else self.fabric.no_backward_sync(self.wrapped):
            loss, numbers = (self.step if self.bare else self.wrapped)(raw, labels, noise)
            (Tensor.backward if self.bare else self.fabric.backward)(loss / share if share > 1 else loss)
        return numbers

    def _fast(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource, share: int, left: int) -> Tensor:
        fresh, cause, first = copy(noise), "", self._compiled is None
        try:
            if self._compiled is None:
                self.tell("compile: compiling the step, once for this run, for some seconds or a minute")
                self._requests = self._asked(raw, labels, noise)
                kinds = tuple(request.kind for request in self._requests)
                self._compiled = _compiled(self.step, self.parameters, kinds)
            tensors = tuple(noise.draw(request) for request in self._requests)
            gradients, numbers, self.step.summary = self._called(self._compiled, raw, labels, tensors)
        except Exception as error:  # whatever the compiler cannot do the plain step can, or tells what is wrong
            gradients, numbers, cause = (), torch.zeros(0), _cause(error)
        if first and self.fabric.world_size > 1:
            cause = self._of_all(cause)
        if cause:
            self._decided(f"off: not possible here ({cause})", "; going on without")
            self._compiled = None
            return self._slow(raw, labels, fresh, share, left)
        for parameter, gradient in zip(self.parameters, _apart(gradients) if self.clips else gradients, strict=True):
            if gradient is not None:
                gradient = gradient / share if share > 1 else gradient
                if gradient.stride() != parameter.stride():  # fused optimisers take both as they lie in memory
                    gradient = torch.empty_like(parameter).copy_(gradient)
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        if left and self.fabric.world_size > 1:
            self._shared()
        return numbers if self.bare else numbers.to(torch.get_default_dtype())  # as the engine gives them back

    def _asked(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource) -> tuple[Request, ...]:
        """Which noise a step asks for, by a pass that trains nothing: after a resumption too every step is compiled."""
        recorder = Recorder(copy(noise))
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self._as_the_engine_has_it(), untouched(self.step):
            self.step(self._typed(raw), labels, recorder)
        return tuple(recorder.requests)

    def _called(
        self, compiled: Callable[..., _Outputs], raw: Tensor, labels: Tensor | None, tensors: tuple[Tensor, ...]
    ) -> _Outputs:
        with self._as_the_engine_has_it():
            raw = self._typed(raw)
            try:
                return compiled(raw, labels, tensors)
            except RuntimeError as error:  # the first call, and after a change of what was taken to be fixed
                from torch._dynamo import config, exc

                self._times += 1
                if not isinstance(error, exc.Unsupported):
                    raise
                if self._times > _OFTEN:
                    raise RuntimeError(f"something in it that is no tensor changes: compiled {_OFTEN} times") from None
                # The switch costs a tenth of a millisecond, so that not every step can pay for it.
                with config.patch(trace_autograd_ops=True):
                    return compiled(raw, labels, tensors)

    def _as_the_engine_has_it(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.bare else self.fabric.autocast()

    @staticmethod
    def _typed(raw: Tensor) -> Tensor:
        """Rows of real numbers in the run's precision, as the engine hands them over."""
        return raw.to(torch.get_default_dtype()) if raw.is_floating_point() else raw

    def _of_all(self, cause: str) -> str:
        """Processes compile all or none: they share their gradients in another way then."""
        failed = torch.tensor(float(bool(cause)), device=self.fabric.device)
        others = bool(self.fabric.all_reduce(failed, reduce_op="sum") > 0)
        return cause or ("another process cannot" if others else "")

    def _shared(self) -> None:
        """The mean gradient over processes, in one message."""
        held = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in held])
        flat = self.fabric.all_reduce(flat, reduce_op="mean")
        for gradient, part in zip(held, flat.split([g.numel() for g in held]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _measured(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource, share: int, left: int) -> Tensor:
        """A step of training while it is being found out how steps are done best."""
        started = self._clock()
        fast = bool(self._plain)
        numbers = (self._fast if fast else self._slow)(raw, labels, noise, share, left)
        if self.decided:  # it cannot be compiled
            return numbers
        self._steps += 1
        if self._steps > _SKIPPED:
            self._seconds += self._clock() - started
        if self._steps == _SKIPPED + _TIMED:
            self._decide(left, fast)
        return numbers

    def _decide(self, left: int, fast: bool) -> None:
        each = self._seconds / _TIMED
        self._seconds, self._steps = 0.0, 0
        if fast:
            ratio = self._plain / each
            faster = ratio >= _GAIN
            said = f"{1e3 * each:.2f} ms a step compiled, {1e3 * self._plain:.2f} plain"
            self._decided(f"{'on' if faster else 'off'}: {said}")
            self._compiled = self._compiled if faster else None
        elif each * left < _WORTH:
            self.decided = f"off: about {each * left:.0f} seconds to come, too few for a compiler"
        else:
            self._plain = each

    def _decided(self, decided: str, and_so: str = "") -> None:
        self.decided, self.told = decided, True
        self.tell(f"compile: {decided}{and_so}")

    def _clock(self) -> float:
        if self.fabric.device.type == "cuda" and self._steps in (_SKIPPED, _SKIPPED + _TIMED):
            torch.cuda.synchronize(self.fabric.device)
        return time.perf_counter()


def _compiled(step: Step, parameters: list[nn.Parameter], kinds: tuple[str, ...]) -> Callable[..., _Outputs]:
    """One graph from rows and noise to gradients: on a GPU replayed without the processor's help."""

    def program(raw: Tensor, labels: Tensor | None, tensors: tuple[Tensor, ...]) -> _Outputs:
        loss, numbers = step(raw, labels, Replay(tensors, kinds))
        return torch.autograd.grad(loss, parameters, allow_unused=True), numbers, dict(step.summary)

    # Compiled code is kept with a function's code, eight of them at most: each program has code of its own.
    own = FunctionType(program.__code__.replace(), program.__globals__, closure=program.__closure__)
    graphs = {"triton.cudagraphs": True} if parameters[0].is_cuda else {}
    # A user's dropout draws from torch's generator, keyed by step: it is to draw the same when compiled.
    options: dict[str, Any] = {"fallback_random": True, **graphs}
    if all(type(part).__module__.startswith(_KNOWN) for part in step.modules()):
        options["guard_filter_fn"] = _may_change
    return torch.compile(own, fullgraph=True, dynamic=False, options=options)


def _may_change(guards: Sequence[Any]) -> list[bool]:
    """Values may change from step to step; code, and which modules there are, do not in modules that are known here.

    To look costs up to a thirtieth of a small step. A user's module may do anything between two: it is looked at.
    """
    return [guard.guard_type not in (*_CODE, *_MODULES) for guard in guards]


def _apart(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Each in memory of its own: parameters that are added have one gradient, which clipping would shrink twice."""
    seen: set[int] = set()
    found: list[Tensor | None] = []
    for gradient in gradients:
        again = gradient is not None and gradient.data_ptr() in seen
        found.append(gradient.clone() if gradient is not None and again else gradient)
        seen |= set() if gradient is None else {gradient.data_ptr()}
    return found


def _cause(error: Exception) -> str:
    """The first telling line of what a compiler had to say."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
