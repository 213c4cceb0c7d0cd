"""What a checkpoint holds of a course of training, and how it gets back to where it was."""

__all__ = ["gathered", "restored"]

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .average import Average
from .checkpoint import module_tensors, restore_module
from .course import Act, Actor


def gathered(acts: list[Act], average: Average) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every tensor of every player under a name of its own, with what belongs to them in words."""
    main = acts[-1].first
    tensors = {f"weights/{k}": v for k, v in module_tensors(main.step).items()}
    tensors |= {f"average/{k}": v for k, v in average.mean.items()}
    for actor, extra in _actors(acts):
        place = _place(actor)
        tensors |= {f"weights{place}/{k}": v for k, v in extra.items()}
        tensors[f"meter{place}"] = actor.meter.filled()
    for place, optimiser in _optimisers(acts):
        tensors |= {f"optimiser{place}/{k}": v for k, v in _optimiser_tensors(optimiser).items()}
    # An interval that goes on after an interruption may end without another turn of an actor, and tells its numbers.
    told: dict[str, dict[str, Any]] = {"names": {}, "weights": {}, "units": {}, "metered": {}}
    for actor, _ in _actors(acts):
        place, step = _place(actor), actor.step
        told["names"][place], told["weights"][place], told["units"][place] = list(step.names), step.weights, step.units
        told["metered"][place] = actor.meter.steps
    return tensors, {**told, "ends": [act.end for act in acts], "planned": [act.planned for act in acts]}


def restored(acts: list[Act], average: Average, tensors: dict[str, Tensor], state: dict[str, Any], source: str) -> None:
    """Puts everything that ``gathered`` took back where it was."""
    main = acts[-1].first
    restore_module(main.step, _under("weights/", tensors), source)
    average.restore(_under("average/", tensors))
    for actor, extra in _actors(acts):
        place = _place(actor)
        with torch.no_grad():
            for name, tensor in extra.items():
                tensor.copy_(tensors[f"weights{place}/{name}"])
        actor.meter.restore(tensors[f"meter{place}"], state["metered"][place])
        actor.step.names = tuple(state["names"][place])
        actor.step.weights, actor.step.units = state["weights"][place], state["units"][place]
    for place, optimiser in _optimisers(acts):
        _restore_optimiser(optimiser, _under(f"optimiser{place}/", tensors))


def _place(actor: Actor) -> str:
    """Where an actor's tensors are: nothing for the run's own step, else ``:stage:player``."""
    return f":{actor.mark.strip('/').replace('/', ':')}" if actor.mark else ""


def _actors(acts: list[Act]) -> Iterator[tuple[Actor, dict[str, Tensor]]]:
    """Every actor, and the tensors of its step that no actor before it has: a discriminator, a layer's decoder."""
    main = acts[-1].first
    seen = {id(v) for v in main.step.state_dict(keep_vars=True).values()}
    yield main, {}
    for act in acts:
        for actor in act.actors:
            if actor is main:
                continue
            state = actor.step.state_dict(keep_vars=True)
            fresh = {k for k, v in state.items() if id(v) not in seen}
            seen |= {id(v) for v in state.values()}
            yield actor, {k: v for k, v in module_tensors(actor.step).items() if k in fresh}


def _optimisers(acts: list[Act]) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    """Every optimiser once, with the place of the first actor that has it: some go on over stages."""
    seen: set[int] = set()
    for actor, _ in _actors(acts):
        if id(actor.raw_optimiser) not in seen:
            seen.add(id(actor.raw_optimiser))
            yield _place(actor), actor.raw_optimiser


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: Iterable[tuple[int, dict[str, Any]]] = optimiser.state_dict()["state"].items()
    return {f"{i}/{key}": torch.as_tensor(v) for i, values in state for key, v in values.items()}


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
