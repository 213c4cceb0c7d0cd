"""Every recipe with one group of latents on dynamically binarised MNIST, trained alike: what each choice is worth.

Run with ``python -m reproductions.flat_table``. It may be stopped or killed at any time and goes on where it stood;
what is in the table is not done again. Several processes may run side by side: each takes what no other is at.

The protocol is one for all: 30 epochs at batch 100, Adam at 1e-3 falling tenfold over the last 40 % of the epochs, seed
0; z of 50 numbers, networks of 200-200 tanh units each way (Burda et al. 2015, one stochastic layer) where the recipe
lets one choose; every other argument is the recipe's own unless ``PLAN`` names it. On the test images, binarised once
(seed 0): the ELBO of all 10,000 with one draw, active units over the same, and the NLL of the first 2,000 by importance
sampling with K = 5,000. A point posterior has no rate, so no bound: its reconstruction error is told instead.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import fourfold as ff
from fourfold.plan import Plan
from fourfold.recipes import TABLE

from .flat_page import page
from .lines import STOPPED, Line, Table, fill, parser_of
from .slices import Limit
from .store import HOME

__all__ = ["PLAN", "STOPPED", "TRAINING", "Entry", "Options", "main", "plan_of"]

NAME = "flat_table"
COMMON: dict[str, Any] = {"latent": 50, "hidden": (200, 200), "activation": "tanh"}
TRAINING: dict[str, Any] = {"batch_size": 100, "lr": 1e-3, "lr_schedule": "decay:0.1:0.4", "seed": 0, "log_steps": 600}


@dataclass(frozen=True)
class Entry:
    """A line of the table: a recipe, and the arguments that are not those of all."""

    recipe: str
    arguments: dict[str, Any] = field(default_factory=dict)


def _own(*recipes: str) -> dict[str, Entry]:
    return {name: Entry(name) for name in recipes}


#: Name of the line → what it is. What the claims of ``compare`` rest on comes first, and the slowest of it early.
PLAN: dict[str, Entry] = {
    **_own("vae"),
    "iwae5": Entry("iwae", {"draws": 5}),
    "iwae50": Entry("iwae", {"draws": 50}),
    **_own("iaf_vae", "vamp_vae", "af_prior_vae", "free_bits_vae"),
    "delta_vae": Entry("delta_vae", {"steps": 10, "channels": 5}),  # 50 latents
    **_own("capacity_vae", "beta_vae", "tc_vae", "factor_vae", "dip_vae", "mmd_vae", "info_vae"),
    **_own("autoencoder", "dae", "sparse_ae", "contractive_ae", "stacked_ae"),
    "dreg5": Entry("iwae", {"draws": 5, "estimator": "dreg"}),
    # As many draws as iwae5, or twice as many: the usual 64 would take hours each.
    "miwae": Entry("miwae", {"outer": 2, "inner": 5}),
    "ciwae": Entry("ciwae", {"draws": 5}),
    "piwae": Entry("piwae", {"outer": 2, "inner": 5}),
    **_own("gmm_vae", "spline_vae", "coupling_prior_vae", "aggressive_vae", "semi_amortised_vae"),
}


@dataclass(frozen=True)
class Options:
    """How the table is made; the defaults are the table's, anything else is a trial and kept apart.

    Args:
        epochs: of training.
        samples: K of the NLL.
        images: the NLL is of the first so many test images.
        data: name of the data set.
        runs: the folder of the runs.
        limit: the slice of time.
    """

    epochs: float = 30
    samples: int = 5000
    images: int = 2000
    data: str = "mnist"
    runs: Path = Path("runs/flat_table")
    limit: Limit = field(default_factory=Limit, compare=False)

    @property
    def trial(self) -> bool:
        """Whether the numbers are not the table's."""
        table = Options()
        return any(getattr(self, name) != getattr(table, name) for name in ("epochs", "samples", "images", "data"))

    @property
    def home(self) -> Path:
        """Where the table is kept."""
        return self.runs if self.trial else HOME

    def load(self) -> ff.DataSet:
        """The data."""
        return ff.data.load(self.data, split="burda" if self.data == "mnist" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the lines that are missing; 0: all there, 1: something failed, 3: time is up or others are at the rest."""
    parser = parser_of(__doc__, list(PLAN), Options.runs)
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="every N-th line from the I-th")
    parser.add_argument("--epochs", type=float, default=Options.epochs)
    parser.add_argument("--samples", type=int, default=Options.samples, help="K of the NLL")
    parser.add_argument("--images", type=int, default=Options.images, help="test images of the NLL")
    parser.add_argument("--data", choices=("mnist", "digits"), default=Options.data)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    options = Options(given.epochs, given.samples, given.images, given.data, given.runs, Limit(given.minutes))
    first, step = given.part
    table = Table(NAME, options.home, options.runs, lambda rows: page(rows, list(PLAN)))
    return fill(table, _lines(given.only[first - 1 :: step], options), options.limit)


def _part(text: str) -> tuple[int, int]:
    part, _, whole_ = text.partition("/")
    if not (part.isdigit() and whole_.isdigit() and 1 <= int(part) <= int(whole_)):
        raise argparse.ArgumentTypeError(f"wanted I/N with 1 <= I <= N, such as 1/2, got {text!r}")
    return int(part), int(whole_)


def _lines(names: Sequence[str], options: Options) -> dict[str, Line]:
    data, epochs = cache(options.load), options.epochs
    budget = data, epochs, options.samples, options.images, TRAINING
    return {name: Line(PLAN[name].recipe, plan_of(PLAN[name]), *budget) for name in names}


def plan_of(entry: Entry) -> Plan | None:
    """The recipe with what is common to all, as far as it takes it, and its own arguments; ``None`` without recipe."""
    if entry.recipe not in TABLE:
        return None
    recipe = TABLE[entry.recipe]
    common = {name: value for name, value in COMMON.items() if name in recipe.signature}
    return recipe(**{**common, **entry.arguments})


if __name__ == "__main__":
    sys.exit(main())
