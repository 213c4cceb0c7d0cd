"""Priors p(z | c)."""

__all__ = ["AutoregressiveFlow", "ConditionalPrior", "CouplingFlow", "StandardNormal"]

from .flows import AutoregressiveFlow, CouplingFlow
from .given import ConditionalPrior
from .standard import StandardNormal
