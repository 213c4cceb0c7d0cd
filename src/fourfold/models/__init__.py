"""Models: modules whose call infers, scores and returns a trace."""

__all__ = [
    "CORRUPTIONS",
    "VAE",
    "Apart",
    "VQVAE",
    "BottomUp",
    "ByScale",
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
    "ResidualNormal",
    "Rung",
    "SaltAndPepper",
    "SemiAmortised",
    "TopDown",
    "TopDownBlock",
    "Upward",
    "WordDropout",
    "at_units",
    "central",
    "fixed",
    "heated",
    "merged",
    "prior_units",
    "slerp",
]

from .base import Generated, Model, Pick
from .corruption import CORRUPTIONS, Corruption, Dropout, GaussianNoise, Masking, SaltAndPepper, WordDropout
from .deep import ByScale, ResidualNormal, TopDownBlock
from .direct import Direct
from .discrete import VQVAE
from .features import OnFeatures
from .hierarchy import BottomUp, Hierarchy, Rung, TopDown, Upward
from .ladder import Apart, Climb, FadeIn, Flush, Merging, merged
from .picks import at_units, central, fixed, heated, prior_units, slerp
from .refined import Refinement, SemiAmortised
from .vae import VAE
