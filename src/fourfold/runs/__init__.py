"""Runs: train a recipe into a folder, come back to it, evaluate it, show it."""

__all__ = ["Run", "RunError", "RunFolder", "fit", "load", "resume"]

from .fit import fit, resume
from .folder import RunError, RunFolder
from .run import Run, load
