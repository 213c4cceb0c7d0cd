"""Posteriors q(z | x, c)."""

__all__ = ["FromPrior", "gaussian", "point"]

from .from_prior import FromPrior
from .gaussian import gaussian, point
