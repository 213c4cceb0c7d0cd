"""Likelihoods p(x | z, c)."""

__all__ = ["LIKELIHOODS", "Likelihood", "bernoulli", "gaussian"]

from .simple import LIKELIHOODS, Likelihood, bernoulli, gaussian
