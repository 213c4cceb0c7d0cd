"""Priors p(z | c)."""

__all__ = [
    "AR1",
    "AutoregressiveFlow",
    "ConditionalPrior",
    "CouplingFlow",
    "GaussianMixture",
    "PixelCodes",
    "StandardNormal",
    "UniformCodes",
    "VampPrior",
    "alpha_for",
    "committed_rate",
]

from .ar1 import AR1, alpha_for, committed_rate
from .codes import PixelCodes, UniformCodes
from .flows import AutoregressiveFlow, CouplingFlow
from .given import ConditionalPrior
from .mixture import GaussianMixture
from .standard import StandardNormal
from .vamp import VampPrior
