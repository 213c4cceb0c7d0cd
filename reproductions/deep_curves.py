"""Curves and pictures of deep models: levels over training, windows, depths, and what a lossy code leaves out.

Run with ``python -m reproductions.deep_curves``, before or after ``deep_table``, whose runs of the ladder and the chain
it reads; it may be stopped or killed at any time and goes on where it stood. Every point is a model on MNIST pooled to
14 × 14, binarised dynamically, trained for at most 4 CPU minutes; all points of a curve have the same schedule. Their
rows are measured as those of the table are (NLL of the first 500 test images) and stand in ``results/deep_curves.json``
with the other numbers that the pictures of ``docs/pictures`` are drawn from.

* ``deep_levels.png``: the rate of each level over training, ladder and chain, with and without the two tricks
  (Sønderby et al. 2016, arXiv:1602.02282);
* ``deep_windows.png``: rate and NLL of the variational lossy autoencoder against the window of its decoder (Chen et al.
  2016, arXiv:1611.02731);
* ``deep_depths.png``: rate and NLL of the PixelVAE against the depth of its PixelCNN, which stands beside (Gulrajani et
  al. 2016, arXiv:1611.05013); depth 0 is the VAE with the same networks;
* ``deep_lossy.png``: what a small window and a wide one draw for the same z.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .deep_lines import Entry
from .deep_pictures import PICTURES, draw
from .deep_table import NAME as TABLE
from .deep_table import TRAINING, line_of
from .lines import STOPPED, Table, fill, parser_of
from .slices import Limit
from .store import HOME

__all__ = ["DEPTHS", "POINTS", "STOPPED", "TRAINING", "WINDOWS", "main"]

NAME = "deep_curves"
WINDOWS = ((2, 1), (4, 2), (6, 3), (10, 5))
DEPTHS = (0, 1, 2, 4)
_CODE = {"latent": 16, "network": "dense", "hidden": (256,)}
_BUDGET: dict[str, Any] = {
    "minutes": 4,
    "data": "mnist_14",
    "training": {"batch_size": 50, "lr": 2e-3, "lr_schedule": "cosine"},
    "samples": 250,
    "images": 500,
}


def _window(w: int, h: int) -> Entry:
    given = {"window": (w, h), "layers": 2, "filters": 16, **_CODE, "flow_hidden": (100, 100)}
    return Entry("vlae", given, 6, **_BUDGET)


def _depth(layers: int, latents: bool) -> Entry:
    """A PixelVAE, its PixelCNN alone, or, of no depth, the VAE with the same networks."""
    pixels = {"layers": layers, "filters": 16, "kernel": 3} if layers else {}
    code = {**_CODE, "beta_schedule": "linear:0:1:1000"} if latents else {}
    recipe = ("pixel_vae" if latents else "pixel_cnn") if layers else "vae"
    return Entry(recipe, {**pixels, **code}, 3.5, **_BUDGET)


POINTS: dict[str, Entry] = {
    **{f"vlae_{w}x{h}": _window(w, h) for w, h in WINDOWS},
    **{f"pixel_vae_{layers}": _depth(layers, True) for layers in DEPTHS},
    **{f"pixel_cnn_{layers}": _depth(layers, False) for layers in DEPTHS if layers},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the points that are missing, then draw what there is; 0: all there, 1: something failed, 3: more to do."""
    parser = parser_of(__doc__, list(POINTS), Path("runs") / NAME)
    parser.add_argument("--trial", action="store_true", help="everything small, and kept with the runs")
    parser.add_argument("--table", type=Path, default=Path("runs") / TABLE, help="the runs of the table")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    home = given.runs if given.trial else HOME
    lines = {name: line_of(POINTS[name], given.trial) for name in given.only}
    status = fill(Table(NAME, home, given.runs), lines, Limit(given.minutes))
    draw(home, given.runs, given.table, given.runs if given.trial else PICTURES)
    return status


if __name__ == "__main__":
    sys.exit(main())
