"""Evaluation: bounds, likelihood estimates and the state of the latents, as arrays and as rows with their protocol."""

__all__ = [
    "ActiveUnits",
    "Annealed",
    "Annealing",
    "BatchLike",
    "Comparison",
    "Decomposition",
    "Evaluation",
    "EvaluationOptions",
    "PerDatum",
    "Pilot",
    "Progress",
    "Row",
    "Sampling",
    "Undecomposable",
    "active_units",
    "ais",
    "decomposition",
    "elbo",
    "evaluate",
    "every_pair",
    "holm",
    "log_weights",
    "nll_importance",
    "paired",
    "posterior_means",
    "table",
    "two_sample",
    "unpaired",
]

from .ais import Annealed, Annealing, Pilot, ais
from .batches import BatchLike
from .bounds import PerDatum, elbo
from .comparison import Comparison, every_pair, holm, paired, unpaired
from .decomposition import Decomposition, Undecomposable, decomposition
from .evaluate import Evaluation, EvaluationOptions, evaluate
from .importance import Progress, Sampling, log_weights, nll_importance
from .rows import Row, table
from .samples import two_sample
from .units import ActiveUnits, active_units, posterior_means
