"""Distributions, the heads that make them from raw numbers, and the check of what data they can score."""

__all__ = [
    "AutoregressiveGaussian",
    "Bernoulli",
    "BernoulliHead",
    "BetaBinomial",
    "BetaBinomialHead",
    "Categorical",
    "CategoricalHead",
    "Codes",
    "CodesHead",
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
    "FullGaussian",
    "FullGaussianHead",
    "GaussianHead",
    "GreyBernoulliWarning",
    "Head",
    "MeetsDiagonal",
    "Mixture",
    "MixtureHead",
    "OneHot",
    "PixelHead",
    "PixelSteps",
    "Pixels",
    "Pixelwise",
    "Point",
    "PointHead",
    "PullBack",
    "PushForward",
    "TokenHead",
    "TokenNetwork",
    "TokenSequence",
    "TokenSteps",
    "bits_per_dim",
    "check_support",
    "warn_of_grey",
]

from .autoregressive_gaussian import AutoregressiveGaussian
from .base import Distribution, Factorised
from .bernoulli import Bernoulli
from .beta_binomial import BetaBinomial
from .categorical import Categorical
from .codes import Codes, CodesHead, OneHot
from .continuous_bernoulli import ContinuousBernoulli
from .discretised_logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from .family_heads import FullGaussianHead, MixtureHead
from .flow import FlowHead, PullBack, PushForward
from .full_gaussian import FullGaussian
from .gaussian import DiagonalGaussian, MeetsDiagonal, Point
from .heads import BernoulliHead, GaussianHead, Head, PointHead
from .mixture import Mixture
from .pixel_heads import (
    BetaBinomialHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
)
from .pixelwise import PixelHead, Pixels, PixelSteps, Pixelwise
from .support import GreyBernoulliWarning, check_support, warn_of_grey
from .tokens import TokenHead, TokenNetwork, TokenSequence, TokenSteps
from .units import bits_per_dim
