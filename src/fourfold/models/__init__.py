"""Models: modules whose call infers, scores and returns a trace."""

__all__ = ["VAE", "Direct", "Generated", "Model", "Pick"]

from .base import Generated, Model, Pick
from .direct import Direct
from .vae import VAE
