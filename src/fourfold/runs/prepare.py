"""From a plan and data to what is trained: the recipe built, the view resolved, both checked against the data."""

__all__ = ["Prepared", "plan_of", "prepare", "protocol_of"]

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data import DataSet, View, check_binarize
from ..data.arrays import checksum
from ..distributions import warn_of_grey
from ..models import Model
from ..noise import Noise
from ..objectives import Objective
from ..plan import Plan, Recipe, RecipeFunction, Stage
from ..training import Step, Training, check_course, steps_of
from .folder import RunError
from .support import check_rows
from .trust import network_of, recipe_of


@dataclass(frozen=True)
class Prepared:
    """The step that is trained, and the record from which it can be built again."""

    step: Step
    record: dict[str, Any]
    name: str
    recipe: Recipe

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of training, in their order."""
        return self.recipe.course


def prepare(plan: Plan | Recipe, data: DataSet, options: Training) -> Prepared:
    """Builds and checks; draws no more than the first weights, and writes nothing."""
    if isinstance(plan, RecipeFunction):
        plan = plan()
    if not isinstance(plan, Plan | Recipe):
        raise TypeError(f"fit: recipe: wanted a recipe such as fourfold.recipes.vae(), got {type(plan).__name__}.")
    if not isinstance(data, DataSet):
        raise TypeError(
            f"fit: data: wanted a fourfold.DataSet, got {type(data).__name__}. "
            "Wrap an array: fourfold.data.from_arrays(x, labels)."
        )
    made = plan.build(data.spec, options.seed) if isinstance(plan, Plan) else plan
    model, objective = made.model, made.objective
    _check_parts(made)
    assert isinstance(model, Model) and isinstance(objective, Objective)
    view = _view(data, model, made.condition, options)
    step = Step(view, model, objective)
    _look(step, made.course, data)
    recipe = plan.to_dict() if isinstance(plan, Plan) else {"recipe": None, "arguments": {}}
    names = None if data.class_names is None else list(data.class_names)
    words = {} if data.vocabulary is None else {"vocabulary": data.vocabulary.to_dict()}
    kind = {"levels": data.levels, "grey": data.grey, "classes": data.classes, "class_names": names}
    record = {
        "recipe": recipe,
        "training": options.to_dict(),
        "data": {"protocol": protocol_of(data), "origin": data.origin},
        "view": view.to_dict(),
        "spec": {"shape": list(data.shape), "n": len(data.train), **kind, **words},
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    name = plan.recipe.name if isinstance(plan, Plan) else "model"
    return Prepared(step, record, f"{name}-{data.name}", made)


def protocol_of(data: DataSet) -> dict[str, Any]:
    """The protocol of data, with a checksum of their rows."""
    protocol = {**data.protocol}
    protocol.setdefault("checksum", checksum(data.parts))
    return protocol


def plan_of(record: dict[str, Any], trust: tuple[str, ...]) -> Plan:
    """The plan that a record describes. Nothing outside fourfold is imported unless its package is trusted.

    Raises:
        RunError: if the run was made from a model without a recipe, or from a package that is not trusted.
    """
    name, arguments = (record["recipe"].get(key) for key in ("recipe", "arguments"))
    recipe = recipe_of(name, trust)
    if not isinstance(arguments, dict):
        raise RunError(f"run.json: arguments: wanted those of recipe {name} by name, got {arguments!r}.")
    return recipe(**{key: network_of(value, trust) for key, value in arguments.items()})


def _view(data: DataSet, model: Model, condition: Any, options: Training) -> View:
    """Binary likelihoods see grey data freshly binarised, unless told otherwise."""
    binarize = options.binarize
    if binarize == "auto":
        grey = model.support == "binary" and data.grey and not options.dequantize
        binarize = "dynamic" if grey else "none"
    resolved = check_binarize(data, None if binarize == "none" else binarize, dequantize=options.dequantize)
    words = None if data.vocabulary is None else data.vocabulary.known
    return View(data.levels, words=words, binarize=resolved, dequantize=options.dequantize, condition=condition)


def _check_parts(made: Recipe) -> None:
    for stage in made.course:
        for player in stage.players:
            model = made.model if stage.model is None else stage.model
            if not isinstance(model, Model) or not isinstance(player.objective, Objective):
                raise TypeError(
                    f"fit: the recipe gave {type(model).__name__} and {type(player.objective).__name__}; "
                    "wanted a fourfold.models.Model and a fourfold.objectives.Objective."
                )
            signature = inspect.signature(player.objective.forward)
            try:
                signature.bind(None, None)
            except TypeError:
                raise TypeError(
                    f"{type(player.objective).__name__}.forward: wanted (trace, noise=None): an objective is given the "
                    f"noise too, got {signature}. Add the argument; one that draws nothing leaves it unused."
                ) from None


@torch.no_grad()
def _look(step: Step, stages: tuple[Stage, ...], data: DataSet) -> None:
    """Sees that the data are what the likelihood speaks of, and that the first pass goes through."""
    grey = {
        part: check_rows(split, step.view, step.model.support, f"data set {data.name!r}, {part}")
        for part, split in data.parts.items()
    }
    if any(grey.values()):
        warn_of_grey(f"data set {data.name!r}")
    raw = torch.from_numpy(np.array(data.train.x[:2]))  # a copy: the rows may be read-only
    labels = None if data.train.labels is None else torch.from_numpy(np.array(data.train.labels[:2]))
    made = steps_of(step, stages)
    check_course(stages, made)
    for steps in made:
        for one in steps:
            one.eval()(raw, labels, Noise(0))
            one.train()
    last = [player.objective for player in stages[-1].players]
    if not any(objective.sees_prior for objective in last) and "rate" in step.names:
        raise ValueError(
            f"fit: {type(last[0]).__name__} never looks at the prior, and this model's posterior has noise: nothing "
            "would hold the noise open, and its scale would go to zero. Take a point posterior "
            "(fourfold.posteriors.point), an objective with a rate such as ELBO(), or, if no rate is meant, "
            "ELBO(beta=0.0), which tells it all the same."
        )
