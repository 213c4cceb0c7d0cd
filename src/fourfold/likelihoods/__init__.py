"""Likelihoods p(x | z, c)."""

__all__ = [
    "LIKELIHOODS",
    "OUTPUTS",
    "LanguageModel",
    "Likelihood",
    "PixelCNN",
    "PixelDecoder",
    "TokenDecoder",
    "bernoulli",
    "beta_binomial",
    "categorical",
    "continuous_bernoulli",
    "discretised_logistic",
    "discretised_logistic_mixture",
    "gaussian",
    "pixel_cnn",
    "token_sequence",
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
from .tokens import LanguageModel, TokenDecoder, token_sequence
