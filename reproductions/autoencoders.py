"""Hinton and Salakhutdinov 2006: squared error an image of codes of 30 numbers, on the test images of MNIST.

Run with ``python -m reproductions.autoencoders``; what is done is not done again, and a run that was stopped goes on
where it stood. Published (Σ over pixels in [0, 1] of the squared error, mean over test images): PCA 13.87, logistic PCA
8.01, deep autoencoder 3.00 (784-1000-500-250-30, RBMs layer by layer, 50 epochs each, then 200 epochs of fine-tuning).
Ours, on grey pixels as theirs:

* ``pca``: exact, which calibrates the metric; ``linear``: an autoencoder without hidden layers, which is to reach it;
* ``deep``: 784-500-250-30 with ReLU, 50 epochs from a random start, cross-entropy of grey pixels;
* ``stacked`` and ``unstacked``: 784-500-250-100-30 with sigmoids and a small budget, half of which goes to layers one
  by one, or none: the same steps, seed and order of data.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import fourfold as ff
from fourfold.distributions import GreyBernoulliWarning
from fourfold.evaluation import Row
from fourfold.plan import Plan

from .slices import Limit, OutOfTime, trained
from .store import HOME, keep, kept

__all__ = ["main", "pca_error"]

TRAINING: dict[str, Any] = {"batch_size": 200, "lr_schedule": "cosine", "binarize": "none", "quiet": True}
CODE = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the table; 3 if time ran out before it was full."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=("mnist", "digits"))
    parser.add_argument("--epochs", type=float, default=50, help="of the deep autoencoder")
    parser.add_argument("--short", type=float, default=10, help="epochs of every other one")
    parser.add_argument("--minutes", type=float, help="stop after so many; the next call goes on")
    parser.add_argument("--runs", type=Path, default=Path("runs/autoencoders"))
    parser.add_argument("--results", type=Path, default=HOME)
    options = parser.parse_args(arguments)
    data, limit = ff.data.load(options.data), Limit(options.minutes)
    done = {row["protocol"].get("entry") for row in kept("autoencoders", options.results)}
    if "pca" not in done:
        keep("autoencoders", [_pca(data)], options.results)
    try:
        for entry, (plan, lr) in _plans().items():
            if entry not in done:
                how = {**TRAINING, "lr": lr, "epochs": options.epochs if entry == "deep" else options.short}
                keep("autoencoders", [_row(options.runs / entry, plan, data, limit, how)], options.results)
    except OutOfTime:
        return 3
    return 0


def _plans() -> dict[str, tuple[Plan, float]]:
    """Recipes and learning rates by entry."""
    deep = {"hidden": (500, 250, 100), "latent": CODE}
    return {
        "linear": (ff.recipes.autoencoder(latent=CODE, hidden=(), likelihood="gaussian_fixed"), 2e-3),
        "deep": (ff.recipes.autoencoder(latent=CODE, hidden=(500, 250)), 1e-3),
        "stacked": (ff.recipes.stacked_ae(**deep), 3e-3),
        "unstacked": (ff.recipes.stacked_ae(**deep, pretraining=0), 3e-3),
    }


def _row(folder: Path, plan: Plan, data: ff.DataSet, limit: Limit, how: dict[str, Any]) -> Row:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GreyBernoulliWarning)  # grey cross-entropy is what the paper minimised
        run = trained(folder, plan, data, limit, **how)
        found = run.evaluate("test", save=False)
    row = next(row for row in found.rows if row.metric == "reconstruction_mse")
    return _summed(row, folder.name, int(np.prod(data.shape)))


def _summed(row: Row, entry: str, elements: int) -> Row:
    """The mean over elements as the sum that the paper reports."""
    assert row.standard_error is not None
    return replace(
        row,
        metric="squared_error",
        value=row.value * elements,
        standard_error=row.standard_error * elements,
        estimator="Σ over pixels in [0, 1], one pass",
        unit="squared grey values an image",
        protocol={**row.protocol, "entry": entry},
    )


def _pca(data: ff.DataSet) -> Row:
    assert data.test is not None
    errors = pca_error(data.train.x, data.test.x, CODE)
    protocol = {**data.protocol, "split": "test", "recipe": "pca", "arguments": {"latent": CODE}, "entry": "pca"}
    protocol |= {"fourfold": ff.__version__, "parameters": (CODE + 1) * int(np.prod(data.shape))}
    spread = float(errors.std(ddof=1) / np.sqrt(len(errors)))
    how = "Σ over pixels in [0, 1], exact"
    return Row(
        "squared_error", float(errors.mean()), "squared grey values an image", spread, how, len(errors), protocol
    )


def pca_error(train: np.ndarray, test: np.ndarray, components: int) -> np.ndarray:
    """Squared error of each test image, summed over pixels in [0, 1], after projection on the training images' axes."""
    rows, other = (x.reshape(len(x), -1).astype(np.float64) / 255 for x in (train, test))
    mean = rows.mean(0)
    axes = np.linalg.eigh(np.cov(rows.T, bias=True))[1][:, -components:]
    centred = other - mean
    return np.square(centred - centred @ axes @ axes.T).sum(1)


if __name__ == "__main__":
    sys.exit(main())
