"""Fourfold: variational autoencoders as four choices: a posterior, a prior, a likelihood and an objective."""

__all__ = [
    "DataSet",
    "Noise",
    "Recipe",
    "Run",
    "Training",
    "VariationalAutoencoder",
    "__version__",
    "compare",
    "compression",
    "data",
    "distributions",
    "evaluation",
    "fit",
    "likelihoods",
    "load",
    "models",
    "networks",
    "objectives",
    "own",
    "pictures",
    "posteriors",
    "priors",
    "recipe",
    "recipes",
    "statistics",
    "sweep",
]

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import (
        compression,
        data,
        distributions,
        evaluation,
        likelihoods,
        models,
        networks,
        objectives,
        pictures,
        posteriors,
        priors,
        recipes,
        statistics,
    )
    from .data import DataSet
    from .noise import Noise
    from .plan import Recipe, own, recipe
    from .runs import Run, VariationalAutoencoder, compare, fit, load, sweep
    from .training import Training

# Names are fetched when first used: importing fourfold imports neither torch nor anything else that is heavy.
_HOME = {
    "DataSet": "data",
    "Noise": "noise",
    "Recipe": "plan",
    "Run": "runs",
    "Training": "training",
    "VariationalAutoencoder": "runs",
    "compare": "runs",
    "fit": "runs",
    "load": "runs",
    "own": "plan",
    "recipe": "plan",
    "sweep": "runs",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'fourfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
