"""Runs: train a recipe into a folder, come back to it, evaluate it, show it; and a scikit-learn estimator."""

__all__ = ["Run", "RunError", "RunFolder", "VariationalAutoencoder", "fit", "load", "resume"]

from typing import TYPE_CHECKING, Any

from .fit import fit, resume
from .folder import RunError, RunFolder
from .run import Run, load

if TYPE_CHECKING:
    from .estimator import VariationalAutoencoder


def __getattr__(name: str) -> Any:
    if name == "VariationalAutoencoder":  # fetched when first used: scikit-learn takes a second to import
        from .estimator import VariationalAutoencoder

        return VariationalAutoencoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
