"""Evaluation: bounds, likelihood estimates and the state of the latents, as arrays and as rows with their protocol."""

__all__ = [
    "ActiveUnits",
    "BatchLike",
    "Evaluation",
    "EvaluationOptions",
    "PerDatum",
    "Progress",
    "Row",
    "Sampling",
    "active_units",
    "elbo",
    "evaluate",
    "log_weights",
    "nll_importance",
    "posterior_means",
    "table",
]

from .batches import BatchLike
from .bounds import PerDatum, elbo
from .evaluate import Evaluation, EvaluationOptions, evaluate
from .importance import Progress, Sampling, log_weights, nll_importance
from .rows import Row, table
from .units import ActiveUnits, active_units, posterior_means
