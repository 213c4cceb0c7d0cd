"""Models: modules whose call infers, scores and returns a trace."""

__all__ = [
    "CORRUPTIONS",
    "VAE",
    "BottomUp",
    "Climb",
    "Corruption",
    "Direct",
    "Dropout",
    "FadeIn",
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
    "Rung",
    "SaltAndPepper",
    "SemiAmortised",
    "TopDown",
    "Upward",
    "merged",
]

from .base import Generated, Model, Pick
from .corruption import CORRUPTIONS, Corruption, Dropout, GaussianNoise, Masking, SaltAndPepper
from .direct import Direct
from .features import OnFeatures
from .hierarchy import BottomUp, Hierarchy, Rung, TopDown, Upward
from .ladder import Climb, FadeIn, Flush, Merging, merged
from .refined import Refinement, SemiAmortised
from .vae import VAE
