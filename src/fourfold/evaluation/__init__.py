"""Evaluation: bounds, likelihood estimates and the state of the latents, as arrays and as rows with their protocol."""

__all__ = [
    "ActiveUnits",
    "Annealed",
    "Annealing",
    "Ascent",
    "BatchLike",
    "CodeUse",
    "Comparison",
    "Decomposition",
    "Evaluation",
    "EvaluationOptions",
    "Evidence",
    "EvidenceOptions",
    "GapOptions",
    "Gaps",
    "ImportanceCurve",
    "PerDatum",
    "Pilot",
    "Progress",
    "Row",
    "Sampling",
    "Sandwich",
    "Undecomposable",
    "active_units",
    "ais",
    "bdmc",
    "decomposition",
    "disentanglement",
    "elbo",
    "evaluate",
    "evidence",
    "every_pair",
    "holm",
    "importance_curve",
    "inference_gaps",
    "log_weights",
    "nll_importance",
    "paired",
    "posterior_means",
    "table",
    "two_sample",
    "unpaired",
]

from . import disentanglement
from .ais import Annealed, Annealing, Pilot, ais
from .batches import BatchLike
from .bdmc import Sandwich, bdmc
from .bounds import PerDatum, elbo
from .codes import CodeUse
from .comparison import Comparison, every_pair, holm, paired, unpaired
from .curve import ImportanceCurve, importance_curve
from .decomposition import Decomposition, Undecomposable, decomposition
from .evaluate import Evaluation, EvaluationOptions, evaluate
from .evidence import Evidence, EvidenceOptions, evidence
from .gap import GapOptions, Gaps, inference_gaps
from .importance import Progress, Sampling, log_weights, nll_importance
from .local import Ascent
from .rows import Row, table
from .samples import two_sample
from .units import ActiveUnits, active_units, posterior_means
