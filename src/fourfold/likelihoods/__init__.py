"""Likelihoods p(x | z, c)."""

__all__ = [
    "LIKELIHOODS",
    "Likelihood",
    "bernoulli",
    "beta_binomial",
    "categorical",
    "continuous_bernoulli",
    "discretised_logistic",
    "discretised_logistic_mixture",
    "gaussian",
]

from .simple import (
    LIKELIHOODS,
    Likelihood,
    bernoulli,
    beta_binomial,
    categorical,
    continuous_bernoulli,
    discretised_logistic,
    discretised_logistic_mixture,
    gaussian,
)
