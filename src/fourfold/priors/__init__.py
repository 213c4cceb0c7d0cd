"""Priors p(z | c)."""

__all__ = ["ConditionalPrior", "StandardNormal"]

from .given import ConditionalPrior
from .standard import StandardNormal
