"""Runs: train one into a folder, or many; come back to it, evaluate, compare, show it; a scikit-learn estimator."""

__all__ = [
    "Run",
    "RunError",
    "RunFolder",
    "Swept",
    "VariationalAutoencoder",
    "compare",
    "fit",
    "load",
    "read_sweep",
    "resume",
    "resume_sweep",
    "sweep",
]

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .folder import RunError, RunFolder

if TYPE_CHECKING:
    from .comparing import compare
    from .estimator import VariationalAutoencoder
    from .fitting import fit, resume
    from .run import Run, load
    from .sweeping import resume_sweep, sweep
    from .swept import Swept, read_sweep

# What needs torch is fetched when first used, and scikit-learn too: what runs have found is read without them. No
# module has the name of a function here: the import of either would hide the other.
_HOME = {
    "Run": "run",
    "Swept": "swept",
    "VariationalAutoencoder": "estimator",
    "compare": "comparing",
    "fit": "fitting",
    "load": "run",
    "read_sweep": "swept",
    "resume": "fitting",
    "resume_sweep": "sweeping",
    "sweep": "sweeping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
