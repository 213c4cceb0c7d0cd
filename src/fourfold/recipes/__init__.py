"""Recipes: one function for each published system. Called with keyword arguments, each gives a plan to ``fit``."""

__all__ = [
    "TABLE",
    "af_prior_vae",
    "aggressive_vae",
    "as_recipe",
    "autoencoder",
    "beta_vae",
    "capacity_vae",
    "ciwae",
    "contractive_ae",
    "conv_vae",
    "coupling_prior_vae",
    "cvae",
    "dae",
    "delta_vae",
    "dip_vae",
    "factor_vae",
    "find",
    "free_bits_vae",
    "gmm_vae",
    "hvae",
    "iaf_vae",
    "info_vae",
    "iwae",
    "lvae",
    "miwae",
    "mmd_vae",
    "piwae",
    "nvae",
    "pixel_cnn",
    "pixel_vae",
    "pixel_vae2",
    "rnn_lm",
    "semi_amortised_vae",
    "sentence_vae",
    "sparse_ae",
    "spline_vae",
    "stacked_ae",
    "structured_cvae",
    "tc_vae",
    "vae",
    "vamp_vae",
    "variational_ladder",
    "vdvae",
    "vlae",
    "vq_vae",
]

from collections.abc import Callable
from typing import cast

from .._checks import unknown
from ..plan import Recipe, RecipeFunction, imported
from .autoencoders import contractive_ae, dae, sparse_ae, stacked_ae
from .autoregressive import pixel_cnn, pixel_vae, pixel_vae2, vlae
from .deep import nvae, vdvae
from .discrete import vq_vae
from .disentangling import capacity_vae, dip_vae, factor_vae, tc_vae
from .flat import autoencoder, beta_vae, conv_vae, cvae, vae
from .flows import af_prior_vae, coupling_prior_vae, iaf_vae, spline_vae
from .hierarchies import hvae, lvae
from .importance import ciwae, iwae, miwae, piwae, semi_amortised_vae
from .information import aggressive_vae, free_bits_vae, info_vae, mmd_vae
from .richer_priors import delta_vae, gmm_vae, vamp_vae
from .structured import structured_cvae
from .text import rnn_lm, sentence_vae
from .variational_ladders import variational_ladder

#: Every recipe by name: the one table behind the command line, the README and the docs.
TABLE: dict[str, RecipeFunction] = {
    made.name: made
    for made in (
        autoencoder,
        dae,
        sparse_ae,
        contractive_ae,
        stacked_ae,
        vae,
        conv_vae,
        cvae,
        structured_cvae,
        beta_vae,
        capacity_vae,
        tc_vae,
        factor_vae,
        dip_vae,
        mmd_vae,
        info_vae,
        free_bits_vae,
        aggressive_vae,
        iwae,
        miwae,
        ciwae,
        piwae,
        semi_amortised_vae,
        iaf_vae,
        spline_vae,
        gmm_vae,
        vamp_vae,
        af_prior_vae,
        coupling_prior_vae,
        delta_vae,
        hvae,
        lvae,
        variational_ladder,
        vdvae,
        nvae,
        pixel_cnn,
        pixel_vae,
        pixel_vae2,
        vlae,
        vq_vae,
        rnn_lm,
        sentence_vae,
    )
}


def find(name: str) -> RecipeFunction:
    """The recipe by name, or a user's own by ``package.module:function``."""
    if ":" in name:
        return as_recipe(imported(name), name)
    if name not in TABLE:
        raise ValueError(unknown("recipe", name, TABLE) + " A recipe of your own is written package.module:function.")
    return TABLE[name]


def as_recipe(found: object, name: str) -> RecipeFunction:
    """A recipe as it is; a plain function ``(data, …) → fourfold.Recipe`` as one."""
    if isinstance(found, RecipeFunction):
        return found
    if callable(found):
        return RecipeFunction(cast("Callable[..., Recipe]", found))
    raise ValueError(f"recipe {name!r}: wanted a function (data, …) → fourfold.Recipe, got {type(found).__name__}.")
