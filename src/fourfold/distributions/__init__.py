"""Distributions, the heads that make them from raw numbers, and the check of what data they can score."""

__all__ = [
    "Bernoulli",
    "BernoulliHead",
    "Categorical",
    "CategoricalHead",
    "ContinuousBernoulli",
    "ContinuousBernoulliHead",
    "DiagonalGaussian",
    "DiscretisedLogistic",
    "DiscretisedLogisticHead",
    "DiscretisedLogisticMixture",
    "DiscretisedLogisticMixtureHead",
    "Distribution",
    "Factorised",
    "FlowHead",
    "GaussianHead",
    "GreyBernoulliWarning",
    "Head",
    "Point",
    "PointHead",
    "PullBack",
    "PushForward",
    "bits_per_dim",
    "check_support",
    "warn_of_grey",
]

from .base import Distribution, Factorised
from .bernoulli import Bernoulli
from .categorical import Categorical
from .continuous_bernoulli import ContinuousBernoulli
from .discretised_logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from .flow import FlowHead, PullBack, PushForward
from .gaussian import DiagonalGaussian, Point
from .heads import BernoulliHead, GaussianHead, Head, PointHead
from .pixel_heads import (
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
)
from .support import GreyBernoulliWarning, check_support, warn_of_grey
from .units import bits_per_dim
