"""Whether rows are what a likelihood speaks of, and which they were: all are looked at before any number is made."""

__all__ = ["check_rows", "digest"]

import hashlib
from collections.abc import Iterable

import numpy as np
import torch

from ..data import Split, View
from ..data.rows import blocks
from ..data.view import check_values
from ..distributions import check_support
from ..evaluation import BatchLike
from ..noise import Noise


def check_rows(split: Split, view: View, support: str, name: str) -> bool:
    """Checks every row as the model will see it; says whether some are grey where the likelihood wants 0 and 1.

    Args:
        split: the rows.
        view: how they are shown.
        support: of the likelihood, as :func:`fourfold.distributions.check_support` knows it.
        name: what the data are called in errors.

    Raises:
        ValueError: for a value that the view cannot binarise, or that the likelihood cannot score.
    """
    if (view.words is None) == (support == "tokens"):
        kind, fix = ("other data", "sentences, such as --data sentences or a .txt file")
        if view.words is not None:
            kind, fix = "sentences", "sentence_vae or rnn_lm"
        raise ValueError(f"{name}: these are {kind}, and the model's likelihood is of {support} values. Take {fix}.")
    if view.words is not None:  # the data set has checked its rows itself
        return False
    check_values(split, view.levels, view.binarize, name)
    if support == "real" or view.binarize is not None:  # 0 and 1 are in every support
        return False
    shown, grey = View(view.levels, dequantize=view.dequantize), False
    for block in blocks(split.x):
        x = shown(torch.from_numpy(np.array(block)), None, Noise(0)).x
        check_support(x, "unit" if support == "binary" else support, name)
        grey = grey or (support == "binary" and bool(((x != 0) & (x != 1)).any()))
        if view.levels is not None and (grey or support != "binary"):
            break  # the other rows are levels too
    return grey


def digest(batches: Iterable[BatchLike]) -> str:
    """A digest of data as a model sees them: rows drawn otherwise, other rows, or another order have another one."""
    hasher = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for part in (batch.x, batch.c, batch.mask):
            hasher.update(b"|")
            if part is not None:
                hasher.update(part.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return hasher.hexdigest()
