"""Posteriors q(z | x, c)."""

__all__ = ["FromPrior", "full_gaussian", "gaussian", "iaf", "mixture", "point", "spline"]

from .flows import iaf, spline
from .from_prior import FromPrior
from .full import full_gaussian
from .gaussian import gaussian, point
from .mixed import mixture
