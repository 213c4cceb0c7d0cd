"""Likelihoods p(x | z, c)."""

__all__ = [
    "LIKELIHOODS",
    "OUTPUTS",
    "Likelihood",
    "PixelCNN",
    "PixelDecoder",
    "bernoulli",
    "beta_binomial",
    "categorical",
    "continuous_bernoulli",
    "discretised_logistic",
    "discretised_logistic_mixture",
    "gaussian",
    "pixel_cnn",
]

from .pixel_cnn import OUTPUTS, PixelCNN, PixelDecoder, pixel_cnn
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
