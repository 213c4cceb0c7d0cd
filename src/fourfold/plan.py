"""Recipes: what is trained, by whom and to what end; plans: a recipe's name and arguments, waiting for data."""

__all__ = ["Own", "Plan", "Player", "Recipe", "RecipeFunction", "Stage", "argument_helps", "imported", "own", "recipe"]

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, local
from typing import Any

import torch
from torch import nn

from ._checks import unknown
from .networks import NETWORKS


class _Turn(local):
    """First weights come from torch's global generator, borrowed: one thread at a time, and it knows that it has it."""

    lock = Lock()
    held = False

    def __enter__(self) -> None:
        self.lock.acquire()
        self.held = True

    def __exit__(self, *error: object) -> None:
        self.held = False
        self.lock.release()


_BUILDING = _Turn()


@dataclass(frozen=True)
class Player:
    """One of those who are trained in turn: some parameters, the objective they maximise, and when it is their turn.

    At every step each player whose turn it is sees the same batch with noise of its own; parameters of the others
    stand still meanwhile.

    Args:
        objective: any ``fourfold.objectives.Objective``.
        parts: modules whose parameters are this player's; ``None`` takes those of the model and of the objective.
        name: marks its numbers in metrics.jsonl; those of a stage's first player are not marked.
        lr: factor on the run's learning rate.
        betas: of Adam, if not its usual ones.
        every: its turn comes at every so many steps of the stage, the first time at step ``every − 1``.
        until: step of the stage from which on its turn comes at every step (``every`` > 1), or never again.
        continues: it goes on with the optimiser of the player of this name in the stage before, moments and all.
    """

    objective: nn.Module
    parts: tuple[nn.Module, ...] | None = None
    name: str = "main"
    lr: float = 1.0
    betas: tuple[float, float] | None = None
    every: int = 1
    until: int | None = None
    continues: bool = False

    def due(self, step: int) -> bool:
        """Whether it is this player's turn at this step of the stage."""
        over = self.until is not None and step >= self.until
        return (self.every > 1) if over else (step + 1) % self.every == 0


@dataclass(frozen=True)
class Stage:
    """A stretch of training: who plays, for which share of it, on which model.

    Args:
        players: the first one's objective is validated and judged.
        name: marks its numbers in metrics.jsonl; those of the last stage are not marked.
        share: of the steps of the run; the shares of all stages are scaled to sum to 1.
        model: one that is trained on the way to the recipe's and shares weights with it; ``None`` is the recipe's.
        moving: sets what moves in the model with the stage's steps (``models.FadeIn``): ``advance(step, steps)`` before
            each, and ``settled(step, steps)`` tells whether from this one on all stands as at the end.
    """

    players: tuple[Player, ...]
    name: str = "main"
    share: float = 1.0
    model: nn.Module | None = None
    moving: Any = None


@dataclass(frozen=True)
class Recipe:
    """A model and the objective it is trained with; in stages and by several players, if one does not do.

    Args:
        model: any module that follows ``fourfold.models.Model``.
        objective: any ``fourfold.objectives.Objective``; with stages, that of the last one's first player.
        condition: what the data must give as c: ``None``, ``"label"``, or an object such as ``data.Quadrants``.
        stages: in their order; empty for the ordinary case, one stage with one player.
    """

    model: nn.Module
    objective: nn.Module
    condition: Any = None
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if self.stages and self.stages[-1].players[0].objective is not self.objective:
            raise ValueError("Recipe: objective must be that of the first player of the last stage.")
        for stage in self.stages:
            names = [player.name for player in stage.players]
            if len(set(names)) < len(names):
                raise ValueError(f"Recipe: the players of a stage need names of their own, got {names}.")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("Recipe: the stages need names of their own.")

    @property
    def course(self) -> tuple[Stage, ...]:
        """The stages; one with one player where none are given."""
        return self.stages or (Stage((Player(self.objective),)),)


@dataclass(frozen=True)
class Own:
    """A user's own network, by import path and arguments; made when the model is built, under the run's seed."""

    path: str
    cls: Callable[..., nn.Module] = field(compare=False, repr=False)
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, inputs: object = None, outputs: object = None, condition: object = None) -> nn.Module:
        """The network. The shapes that a room offers are ignored: the user's arguments say it all."""
        made = self.cls(*self.args, **self.kwargs)
        if not isinstance(made, nn.Module):
            raise TypeError(f"own({self.path!r}): wanted a torch.nn.Module, got {type(made).__name__}.")
        return made

    def to_dict(self) -> dict[str, Any]:
        """JSON form.

        Raises:
            TypeError: for an argument that JSON does not have.
        """
        place = f"own({self.path})"
        return {"own": self.path, "args": _plain(self.args, place), "kwargs": _plain(self.kwargs, place)}


def own(cls: type[nn.Module] | Callable[..., nn.Module], *args: Any, **kwargs: Any) -> Own:
    """A network of your own for any recipe: recorded by import path and arguments, so that a run can be loaded again.

    Args:
        cls: a class, or a function that gives a module, defined at the top of a module or script.
        args: plain values: numbers, text, lists of them.
        kwargs: the same, by name.

    Raises:
        ValueError: for a lambda, or what is defined inside a function: no import finds it again.
        TypeError: for what is neither a class nor a function.

    Example:
        >>> own(torch.nn.Linear, 784, 40).path
        'torch.nn.modules.linear:Linear'
    """
    if not inspect.isclass(cls) and not inspect.isfunction(cls):
        raise TypeError(f"own: wanted a class or a function, and then its arguments, got {type(cls).__name__}.")
    return Own(_path_of(cls, "own", "hand over the network itself"), cls, args, kwargs)


def _path_of(thing: Any, owner: str, instead: str) -> str:
    """``package.module:name``; what a script defines has the name under which the script can be imported."""
    module, name = thing.__module__, thing.__qualname__
    if "<" in name:  # <lambda>, <locals>
        raise ValueError(
            f"{owner}: {name} cannot be imported again. Define it at the top of a module or script, or {instead} "
            "(such a run is loaded with load(path, model=…))."
        )
    main = sys.modules["__main__"]
    if module == "__main__" and hasattr(main, name.partition(".")[0]):
        module = _importable(main) or module
    return f"{module}:{name}"


def _importable(main: Any) -> str | None:
    """The name of the script that runs, if importing that name finds this very file; none in a notebook."""
    if main.__spec__ is not None:  # python -m package.module
        return main.__spec__.name
    file = Path(getattr(main, "__file__", None) or "")
    try:
        spec = find_spec(file.stem) if file.stem.isidentifier() else None
    except (ImportError, ValueError):
        return None
    return file.stem if spec and spec.origin and Path(spec.origin).resolve() == file.resolve() else None


def imported(path: str) -> Any:
    """The object at ``package.module:name``."""
    module, _, name = path.partition(":")
    if not name:
        raise ValueError(f"{path!r}: wanted package.module:name.")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise ValueError(f"{path!r}: cannot import {module!r} ({error}). Is it on the Python path?") from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{path!r}: module {module!r} has no {part!r}.")
        found = getattr(found, part)
    return found


@dataclass(frozen=True)
class Plan:
    """A recipe with its arguments, waiting for the shape of the data."""

    recipe: "RecipeFunction"
    arguments: Mapping[str, Any]

    def build(self, data: Any, seed: int = 0) -> Recipe:
        """The recipe for this data: weights are drawn from ``seed``; torch's global generator is left as it was.

        A plan that is built within a recipe draws on with that recipe's own numbers: the seed is that of the outermost.
        """
        if _BUILDING.held:
            return self._made(data)
        with _BUILDING, torch.random.fork_rng():
            torch.manual_seed(seed)
            return self._made(data)

    def _made(self, data: Any) -> Recipe:
        """What the recipe gives; what a part of it refuses is told of the recipe's own argument of that name."""
        try:
            return self.recipe.function(data, **self.arguments)
        except (TypeError, ValueError) as error:
            found = re.match(r"(\w+): (\w+)(?=[ :])", str(error))
            if type(error) not in (TypeError, ValueError) or not found or found[2] not in self.recipe.signature:
                raise
            raise type(error)(f"{self.recipe.name}{str(error)[len(found[1]) :]}") from error

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the recipe's name (or import path) and every argument, defaults included.

        Raises:
            TypeError: for an argument that cannot be recorded.
        """
        arguments = {**self.recipe.defaults, **self.arguments}
        place = f"recipe {self.recipe.name}"
        recorded = {k: _recorded(v, f"{place}: {k}") for k, v in arguments.items()}
        return {"recipe": self.recipe.path, "arguments": recorded}


@dataclass(frozen=True)
class RecipeFunction:
    """A named system: calling it with keyword arguments gives a plan; what it is stands in its attributes."""

    function: Callable[..., Recipe]
    choices: Mapping[str, str] = field(default_factory=dict)
    equation: str = ""
    source: str = ""
    good_for: str = ""
    not_for: str = ""
    published: str = ""

    def __call__(self, **arguments: Any) -> Plan:
        known = self.signature
        for name in arguments:
            if name not in known:
                raise TypeError(f"recipe {self.name}: {unknown('argument', name, known)}")
        missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in arguments]
        if missing:
            raise TypeError(f"recipe {self.name}: missing argument {missing[0]!r}.")
        return Plan(self, arguments)

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.function.__name__

    @property
    def path(self) -> str:
        """The name, for a recipe of fourfold's own; else ``package.module:function``."""
        if self.function.__module__.startswith("fourfold."):
            return self.name
        return _path_of(self.function, "recipe", "fit a fourfold.Recipe(model, objective)")

    @property
    def signature(self) -> dict[str, inspect.Parameter]:
        """Keyword arguments by name."""
        return dict(list(inspect.signature(self.function, eval_str=True).parameters.items())[1:])

    @property
    def defaults(self) -> dict[str, Any]:
        """Default values by name."""
        return {n: p.default for n, p in self.signature.items() if p.default is not inspect.Parameter.empty}

    @property
    def doc(self) -> str:
        """The docstring, clean."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.doc.split("\n", 1)[0]

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Name, type, default and help of every argument."""
        helps = argument_helps(self.doc)
        return [
            {
                "name": name,
                "type": inspect.formatannotation(p.annotation),
                "default": None if p.default is inspect.Parameter.empty else p.default,
                "help": helps.get(name, ""),
            }
            for name, p in self.signature.items()
        ]


def recipe(function: Callable[..., Recipe] | None = None, *, equation: str = "", source: str = "", **told: str) -> Any:
    """Makes a function ``(data, **arguments) → Recipe`` into a recipe: call it with the arguments, and ``fit`` it.

    Args:
        function: its first parameter is the ``DataSpec`` (shape, levels, classes); the others become flags.
        equation: the objective in TeX.
        source: authors, year, arXiv.
        told: posterior=…, prior=…, likelihood=…, objective=… in words; and good_for=…, not_for=…, published=… (numbers,
            with where they stand).
    """
    more = {name: told.pop(name, "") for name in ("good_for", "not_for", "published")}
    if function is not None:
        return RecipeFunction(function, told, equation, source, **more)
    return lambda made: RecipeFunction(made, told, equation, source, **more)


def argument_helps(doc: str) -> dict[str, str]:
    """The help of each argument, as the section ``Args`` of a docstring tells it."""
    helps: dict[str, str] = {}
    name = ""
    for line in doc.partition("Args:\n")[2].splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            helps[name] = text
        elif line.startswith("        ") and name:
            helps[name] += " " + line.strip()
        elif line.strip():
            break
    return helps


def _recorded(value: Any, place: str) -> Any:
    """An argument of a recipe in JSON: plain, or the description of a network."""
    if isinstance(value, Own):
        return value.to_dict()
    if isinstance(value, nn.Module):
        return {"module": f"{type(value).__module__}:{type(value).__qualname__}"}
    made, kwargs = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    name = next((name for name, known in NETWORKS.items() if known is made), None)
    if name is not None and not (isinstance(value, partial) and value.args):
        return {"network": name, "kwargs": _plain(kwargs, place)}
    return _plain(value, place)


def _plain(value: Any, place: str) -> Any:
    """The value as JSON has it; tuples become lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(one, place) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(one, place) for key, one in value.items()}
    raise TypeError(
        f"{place}: wanted what the record of a run can hold (numbers, text, lists; for a network fourfold.own(…), a "
        f"module, or one of fourfold.networks, or functools.partial(it, name=…)), got {type(value).__name__} {value!r}."
    )
