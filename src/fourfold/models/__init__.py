"""Models: modules whose call infers, scores and returns a trace."""

__all__ = [
    "CORRUPTIONS",
    "VAE",
    "BottomUp",
    "ByScale",
    "Climb",
    "Corruption",
    "Direct",
    "Dropout",
    "Flush",
    "GaussianNoise",
    "Generated",
    "Hierarchy",
    "Masking",
    "Merging",
    "Model",
    "OnFeatures",
    "Pick",
    "Refinement",
    "ResidualNormal",
    "Rung",
    "SaltAndPepper",
    "SemiAmortised",
    "TopDown",
    "TopDownBlock",
    "Upward",
    "merged",
]

from .base import Generated, Model, Pick
from .corruption import CORRUPTIONS, Corruption, Dropout, GaussianNoise, Masking, SaltAndPepper
from .deep import ByScale, ResidualNormal, TopDownBlock
from .direct import Direct
from .features import OnFeatures
from .hierarchy import BottomUp, Hierarchy, Rung, TopDown, Upward
from .ladder import Climb, Flush, Merging, merged
from .refined import Refinement, SemiAmortised
from .vae import VAE
