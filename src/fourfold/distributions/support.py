"""What data a likelihood can score: checked before training, not at every step."""

__all__ = ["GreyBernoulliWarning", "check_support", "warn_of_grey"]

import warnings

import torch
from torch import Tensor

from .._checks import choice


class GreyBernoulliWarning(UserWarning):
    """Grey pixels are about to be given to a Bernoulli: the number that comes out is no log-likelihood."""


def check_support(x: Tensor, support: str, name: str = "x") -> None:
    """Checks that a likelihood over ``support`` can score x.

    Args:
        x: data as the model will see it, of any shape.
        support: "binary" {0, 1}, "unit" [0, 1], "levels" {0, 1/255, …, 1}, "real", or "tokens" {0, 1, 2, …}.
        name: what the data is called in the messages.

    Raises:
        ValueError: no data, a NaN or an infinity, values outside [0, 1], for "levels" between two levels, for "tokens"
            what is no whole number.

    Warns:
        GreyBernoulliWarning: for "binary" and values strictly between 0 and 1.

    Example:
        >>> check_support(torch.tensor([0.0, 255.0]), "binary", "pixels")
        Traceback (most recent call last):
        ...
        ValueError: pixels: wanted values from 0 to 1, got 0 to 255. Divide 8-bit values by 255.
    """
    choice(support, ("binary", "unit", "levels", "real", "tokens"), "check_support: support")
    if not x.numel():
        raise ValueError(f"{name}: wanted at least one value, got shape {tuple(x.shape)}.")
    x = x.detach().to(torch.uint8) if x.dtype == torch.bool else x.detach()
    low, high = (float(value) for value in torch.aminmax(x))  # a NaN anywhere makes both NaN
    if not (float("-inf") < low and high < float("inf")):
        count = int((~x.isfinite()).sum())
        raise ValueError(f"{name}: {count} of {x.numel()} values are NaN or infinite. Remove or replace them.")
    if support == "real":
        return
    if support == "tokens":
        if low < 0 or bool((x != x.round()).any()):
            raise ValueError(f"{name}: wanted numbers of tokens, 0, 1, 2 and so on. Give data that are sentences.")
        return
    if low < 0 or high > 1:
        raise ValueError(f"{name}: wanted values from 0 to 1, got {low:g} to {high:g}. Divide 8-bit values by 255.")
    if support == "levels":
        _check_levels(x, name)
    if support == "binary" and bool(((x != 0) & (x != 1)).any()):
        warn_of_grey(name, stacklevel=3)


def warn_of_grey(name: str, stacklevel: int = 2) -> None:
    """Says what is wrong with grey values in a Bernoulli, and what would be right."""
    warnings.warn(
        f"{name}: grey pixels in a Bernoulli are not a likelihood: the result is no bound on log p(x). "
        "Three right choices: binarize='dynamic'; likelihood 'continuous_bernoulli'; or a likelihood over 256 "
        "levels ('categorical', 'discretised_logistic', 'beta_binomial').",
        GreyBernoulliWarning,
        stacklevel=stacklevel,
    )


def _check_levels(x: Tensor, name: str) -> None:
    level = x.to(torch.promote_types(x.dtype, torch.float32)) * 255
    off = (level - level.round()).abs() > 1e-3
    if bool(off.any()):
        value = float(x[off][0])
        raise ValueError(
            f"{name}: wanted multiples of 1/255, got {value:g}. Round 8-bit data to round(255 x) / 255, or take a "
            "density: likelihood 'continuous_bernoulli' or 'gaussian'."
        )
