"""Pictures of numpy arrays: each function returns a matplotlib figure; ``save`` and ``png`` write it."""

__all__ = [
    "code_bars",
    "curves",
    "evidence_curve",
    "gap_bars",
    "grid",
    "interpolations",
    "kl_bars",
    "latent_scatter",
    "level_rates",
    "manifold",
    "moves",
    "normal_quantiles",
    "paired_differences",
    "png",
    "reconstructions",
    "resampled",
    "save",
    "swept",
    "traversal",
    "witness_images",
    "witness_plane",
]

from .comparison import paired_differences
from .evidence import evidence_curve
from .figures import png, save
from .gap import gap_bars
from .images import grid, manifold, normal_quantiles, reconstructions, traversal
from .latents import code_bars, kl_bars, latent_scatter
from .levels import interpolations, level_rates, moves, resampled
from .sweep import swept
from .training import curves
from .witness import witness_images, witness_plane
