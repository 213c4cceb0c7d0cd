"""Burda, Grosse and Salakhutdinov 2015, Table 1, by the whole schedule: one stochastic layer, 3,280 epochs at batch 20.

Run with ``python -m reproductions.burda --minutes 8``, again and again: each call goes on where the last one stood, and
may be killed (at most 20 seconds of training are lost). The learning rate is 1e-3 · 10^(−i/7) in stage i = 0…7 of 3^i
epochs; Adam as the paper has it (β 0.9 and 0.999, ε 1e-4; the published code differs); pixels binarised afresh in
training, once (seed 0) in testing; NLL of all test images by importance sampling with K = 5,000.

Published NLL (active units): VAE 86.76 (19), IWAE-5 85.54 (22), IWAE-50 84.78 (25). DReG-50 is of Tucker et al. 2018,
arXiv:1810.04152; a reproduction has 84.32.

``--scale 0.01`` runs the same stages on a hundredth of the epochs; its numbers are kept apart.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import fourfold as ff

from .flat_table import Entry, plan_of
from .lines import STOPPED, Line, Table, fill, parser_of
from .slices import Limit
from .store import HOME

__all__ = ["RUNS", "STOPPED", "TRAINING", "main"]

NAME, EPOCHS = "burda", 3280
TRAINING: dict[str, Any] = {"batch_size": 20, "lr": 1e-3, "lr_schedule": "burda", "eps": 1e-4, "seed": 0}
RUNS = {
    "vae": Entry("vae"),
    "iwae5": Entry("iwae", {"draws": 5}),
    "iwae50": Entry("iwae", {"draws": 50}),
    "dreg50": Entry("iwae", {"draws": 50, "estimator": "dreg"}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure in slices; 0: all there, 3: run again."""
    parser = parser_of(__doc__, list(RUNS), Path("runs/burda"))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 3,280 epochs")
    parser.add_argument("--samples", type=int, default=5000, help="K of the NLL")
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    whole_thing = (given.scale, given.data, given.samples) == (1.0, "mnist", 5000)
    data = cache(lambda: ff.data.load(given.data, split="burda" if given.data == "mnist" else None))
    budget = data, given.scale * EPOCHS, given.samples, None, TRAINING
    lines = {name: Line(RUNS[name].recipe, plan_of(RUNS[name]), *budget) for name in given.only}
    return fill(Table(NAME, HOME if whole_thing else given.runs, given.runs), lines, Limit(given.minutes))


if __name__ == "__main__":
    sys.exit(main())
