"""Distributions and the heads that make them from raw numbers."""

__all__ = [
    "Bernoulli",
    "BernoulliHead",
    "DiagonalGaussian",
    "Distribution",
    "Factorised",
    "GaussianHead",
    "Head",
    "Point",
    "PointHead",
    "bits_per_dim",
]

from .base import Distribution, Factorised
from .bernoulli import Bernoulli
from .gaussian import DiagonalGaussian, Point
from .heads import BernoulliHead, GaussianHead, Head, PointHead
from .units import bits_per_dim
