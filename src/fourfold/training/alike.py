"""Which jobs are one program: the same modules, attributes, shapes and options, but for numbers held in tensors."""

__all__ = ["FREE", "alone", "described", "program"]

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..data import fits
from ..models import SemiAmortised
from ..networks.normalisation import norms
from ..objectives import Objective
from .borrowed import Borrowed
from .job import Job
from .step import Step

#: Options of training in which jobs of one program may differ.
FREE = ("lr", "seed")
# Of torch's modules and of our own: what is told apart elsewhere, and what a pass leaves behind.
_OF_MODULES = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"}
_OF_OBJECTIVES = {"schedules", "values"}  # the values are in buffers, and schedules set these from outside
_OF_STEPS = {"names", "weights", "units", "summary"}


def alone(job: Job, world: int = 1) -> str | None:
    """Why this job can only be trained by itself; ``None`` where nothing speaks against a program of several."""
    options = job.options
    stage = job.stages[-1]
    player = stage.players[0]
    if len(job.stages) > 1:
        return f"it is trained in {len(job.stages)} stages"
    if len(stage.players) > 1:
        return f"{len(stage.players)} players take turns"
    if stage.model is not None or stage.moving is not None:
        return "its model moves with the steps"
    if player.parts is not None or player.every > 1 or player.until is not None:
        return "only some of its parameters are trained at each step"
    if norms(job.step):
        return "it gathers the statistics of batch normalisation"
    if player.objective.input_gradient:
        return "its objective differentiates by x within the pass"
    if isinstance(job.step.model, SemiAmortised):
        return "its posterior is refined by gradients within the pass"
    if Borrowed(job.step, torch.device("cpu")).generators:
        return "a network of its own may draw from torch's global generator"
    if not fits(job.train) or (job.validation is not None and not fits(job.validation)):
        return "its data are larger than memory"
    named = {
        "devices": world > 1 or options.devices > 1,
        "accumulate": options.accumulate > 1,
        "skip_grad": options.skip_grad > 0,
        "precision": options.precision != "32",
    }
    asked = [name for name, differs in named.items() if differs]
    return f"{asked[0]} {getattr(options, asked[0])} is for one model at a time" if asked else None


def program(job: Job) -> str:
    """A text that jobs of one program share: values of parameters, buffers and schedules, lr and seed are not in it."""
    options = {name: value for name, value in job.options.to_dict().items() if name not in FREE}
    player = job.stages[0].players[0]
    return "\n".join([repr(options), repr((player.lr, player.betas, len(job.train))), described(job.step)])


def described(module: nn.Module) -> str:
    """A module's structure: every part with its class, its attributes, and the shapes of its tensors."""
    return "\n".join(_lines(module))


def _lines(module: nn.Module) -> Iterator[str]:
    seen: dict[int, str] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if id(part) in seen:
            yield f"{name}: {seen[id(part)]} again"
            continue
        seen[id(part)] = name or "the whole"
        kind = type(part)
        left_out = _OF_MODULES | (_OF_OBJECTIVES if isinstance(part, Objective) else set())
        left_out |= _OF_STEPS if isinstance(part, Step) else set()
        said = {key: value for key, value in vars(part).items() if key not in left_out and value is not None}
        told = ", ".join(f"{key}={_worded(value, ())}" for key, value in sorted(said.items()) if _tells(key, value))
        own = [(key, p, p.requires_grad) for key, p in part._parameters.items() if p is not None]
        own += [(key, b, None) for key, b in part._buffers.items() if b is not None]
        shapes = ", ".join(f"{key} {tuple(t.shape)} {t.dtype} {trained}" for key, t, trained in own)
        yield f"{name}: {kind.__module__}.{kind.__qualname__}({told}) {shapes}"


def _tells(key: str, value: Any) -> bool:
    """Hooks that are not there say nothing, nor does what torch keeps for itself."""
    return not (key.startswith("_") and isinstance(value, Mapping | set | bool) and not value)


def _worded(value: Any, above: tuple[int, ...]) -> str:
    """An attribute by what it holds, down to plain values."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if id(value) in above:
        return "…"
    above = (*above, id(value))
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)} {value.detach().flatten().tolist()}"
    if isinstance(value, nn.Module):
        return f"[{described(value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_worded(one, above)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list | set | frozenset):
        return f"{type(value).__name__}({', '.join(_worded(one, above) for one in value)})"
    if isinstance(value, partial):
        return f"partial({_worded((value.func, value.args, value.keywords), above)})"
    if isinstance(value, FunctionType | MethodType):
        function = value if isinstance(value, FunctionType) else value.__func__
        code = function.__code__  # two of one name may differ: made in one place by a condition, or with other defaults
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        owner = getattr(value, "__self__", None)
        owner = type(owner) if isinstance(owner, nn.Module) else owner  # which is described where it stands
        held = cells, function.__defaults__, function.__kwdefaults__, owner
        own = code.co_code.hex(), code.co_names, [one for one in code.co_consts if not hasattr(one, "co_code")]
        return f"{value.__module__}.{value.__qualname__}{_worded((*held, *own), above)}"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    inside = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else _attributes(value)
    return f"{type(value).__module__}.{type(value).__qualname__}{_worded(inside, above)}"


def _attributes(value: Any) -> dict[str, Any]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots if hasattr(value, name)}}
