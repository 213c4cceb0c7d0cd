"""Recipes: one function for each published system. Called with keyword arguments, each gives a plan to ``fit``."""

__all__ = [
    "TABLE",
    "aggressive_vae",
    "as_recipe",
    "autoencoder",
    "beta_vae",
    "conv_vae",
    "cvae",
    "find",
    "free_bits_vae",
    "info_vae",
    "mmd_vae",
    "structured_cvae",
    "vae",
]

from collections.abc import Callable
from typing import cast

from .._checks import unknown
from ..plan import Recipe, RecipeFunction, imported
from .flat import autoencoder, beta_vae, conv_vae, cvae, vae
from .information import aggressive_vae, free_bits_vae, info_vae, mmd_vae
from .structured import structured_cvae

#: Every recipe by name: the one table behind the command line, the README and the docs.
TABLE: dict[str, RecipeFunction] = {
    made.name: made
    for made in (
        autoencoder,
        vae,
        conv_vae,
        cvae,
        structured_cvae,
        beta_vae,
        mmd_vae,
        info_vae,
        free_bits_vae,
        aggressive_vae,
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
