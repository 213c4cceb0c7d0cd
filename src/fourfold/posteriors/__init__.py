"""Posteriors q(z | x, c)."""

__all__ = ["FromPrior", "gaussian", "iaf", "point", "spline"]

from .flows import iaf, spline
from .from_prior import FromPrior
from .gaussian import gaussian, point
