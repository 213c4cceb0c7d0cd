"""What a sweep trains: every combination of some arguments and options, each with every seed."""

__all__ = ["Grid", "Trial", "grid_of"]

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from torch import nn

from .._checks import unknown
from ..plan import Plan, RecipeFunction
from ..training import Training
from .trust import network_of, recipe_of

_LONGEST = 200  # letters of a folder's name; systems of files allow 255 bytes
_TAKEN = ("member", "state", "step", "why")  # columns of the table of members
#: Options that all members of a sweep share.
_SHARED = ("accelerator", "checkpoint_seconds", "devices", "precision", "quiet", "workers")


@dataclass(frozen=True, slots=True)
class Trial:
    """One member of a sweep, before it is trained.

    Attributes:
        name: of its folder, such as ``beta=4,seed=0``.
        values: of the grid's axes, and the seed.
        plan: its recipe with all arguments.
        training: its options.
    """

    name: str
    values: dict[str, Any]
    plan: Plan
    training: Training


@dataclass(frozen=True)
class Grid:
    """Every combination of the values of some arguments and options, each with every seed.

    Args:
        recipe: what is trained.
        axes: values by the name of an argument of the recipe, or of an option of training.
        seeds: all of them different.
        arguments: of the recipe, for all.
        training: options, for all.

    Raises:
        TypeError, ValueError: for a name that is neither, values that are none, or twice the same.

    Example:
        >>> import fourfold as ff
        >>> made = Grid(ff.recipes.beta_vae, {"beta": [1.0, 4.0], "lr": [1e-3]}, [0, 1], {}, Training())
        >>> [trial.name for trial in made.trials]
        ['beta=1,lr=0.001,seed=0', 'beta=1,lr=0.001,seed=1', 'beta=4,lr=0.001,seed=0', 'beta=4,lr=0.001,seed=1']
    """

    recipe: RecipeFunction
    axes: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    arguments: Mapping[str, Any]
    training: Training

    def __post_init__(self) -> None:
        own, options = self.recipe.signature, Training.__dataclass_fields__
        for name, values in self.axes.items():
            if name == "seed":
                raise ValueError("grid: seed is no axis of the grid. Say seeds=10, or seeds=[0, 3, 5].")
            if name in _TAKEN:
                raise ValueError(f"grid: {name} is a column of a sweep's table already. Call the argument otherwise.")
            if name in _SHARED:
                raise ValueError(f"grid: {name} is one for the whole sweep. Give it as an option.")
            if name not in own and name not in options:
                raise ValueError(f"grid: {unknown('argument or option', name, [*own, *options])}")
            if name in self.arguments:
                raise ValueError(
                    f"grid: {name} has values in the grid, and is {self.arguments[name]!r}. Leave one out."
                )
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(f"grid: {name}: wanted some values in a list, got {values!r}.")
            _all_different(f"grid: {name}", [json.dumps(value, default=repr) for value in values], values)
        for name, value in [*self.arguments.items(), *((name, v) for name, axis in self.axes.items() for v in axis)]:
            if isinstance(value, nn.Module):
                raise TypeError(f"sweep: {name}: one network cannot be every member's. Give fourfold.own(…).")
        for seed in self.seeds:
            if isinstance(seed, bool) or not isinstance(seed, int):
                raise ValueError(f"seeds: wanted whole numbers, got {seed!r}.")
        if not self.seeds:
            raise ValueError("seeds: wanted at least one.")
        _all_different("seeds", self.seeds, self.seeds)
        names = [trial.name for trial in self.trials]
        _all_different("grid: names of folders", names, names)
        if len(longest := max(names, key=len)) > _LONGEST:
            raise ValueError(
                f"grid: a member's folder has its values as its name, at most {_LONGEST} letters, got {longest!r}. "
                "Leave out axes with one value (give these as arguments), or vary fewer of them."
            )

    @cached_property
    def trials(self) -> list[Trial]:
        """All members; the seeds change fastest."""
        made = []
        for values in product(*self.axes.values()):
            chosen = dict(zip(self.axes, values, strict=True))
            plan = self.recipe(**self.arguments, **{k: v for k, v in chosen.items() if k in self.recipe.signature})
            options = {k: v for k, v in chosen.items() if k not in self.recipe.signature}
            for seed in self.seeds:
                own = {**chosen, "seed": seed}
                name = ",".join(f"{key}={_worded(value)}" for key, value in own.items())
                made.append(Trial(name, own, plan, self.training.but(**options, seed=seed)))
        return made

    def corners(self) -> Iterator[Trial]:
        """Enough members to meet every value of every axis once: what cannot be built shows in one of them."""
        met: set[tuple[str, str]] = set()
        for trial in self.trials:
            fresh = {(key, repr(value)) for key, value in trial.values.items() if key != "seed"} - met
            if fresh or not met:
                met |= fresh or {("", "")}
                yield trial

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        recorded = {trial.name: trial.plan.to_dict()["arguments"] for trial in self.corners()}
        first = next(iter(recorded.values()))
        axes: dict[str, list[Any]] = {}
        for name, values in self.axes.items():
            of = {
                repr(trial.values[name]): recorded[trial.name].get(name, trial.values[name]) for trial in self.corners()
            }
            axes[name] = [of[repr(value)] for value in values]
        return {
            "recipe": self.recipe.path,
            "arguments": {name: first[name] for name in self.arguments},
            "training": self.training.to_dict(),
            "axes": axes,
            "seeds": list(self.seeds),
        }


def _worded(value: Any) -> str:
    """A value as part of the name of a folder."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple | list):
        return "-".join(map(_worded, value)) or "none"
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-") or "none"


def _all_different(what: str, keys: Sequence[Any], values: Sequence[Any]) -> None:
    met: set[Any] = set()
    for key, value in zip(keys, values, strict=True):
        if key in met:
            raise ValueError(f"{what}: {value!r} is there twice. Name each once.")
        met.add(key)


def grid_of(record: Mapping[str, Any], trust: tuple[str, ...] = ()) -> Grid:
    """The grid that a sweep's record describes; nothing outside fourfold is imported unless its package is trusted."""
    axes = {name: [network_of(value, trust) for value in values] for name, values in record["axes"].items()}
    arguments = {name: network_of(value, trust) for name, value in record["arguments"].items()}
    return Grid(recipe_of(record["recipe"], trust), axes, record["seeds"], arguments, Training(**record["training"]))
