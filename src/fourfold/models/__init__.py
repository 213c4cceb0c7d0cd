"""Models: modules whose call infers, scores and returns a trace."""

__all__ = [
    "CORRUPTIONS",
    "VAE",
    "Corruption",
    "Direct",
    "Dropout",
    "GaussianNoise",
    "Generated",
    "Masking",
    "Model",
    "OnFeatures",
    "Pick",
    "Refinement",
    "SaltAndPepper",
    "SemiAmortised",
]

from .base import Generated, Model, Pick
from .corruption import CORRUPTIONS, Corruption, Dropout, GaussianNoise, Masking, SaltAndPepper
from .direct import Direct
from .features import OnFeatures
from .refined import Refinement, SemiAmortised
from .vae import VAE
