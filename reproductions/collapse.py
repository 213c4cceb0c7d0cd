"""Posterior collapse shown and cured: one strong decoder, without a cure and with each of four.

Run with ``python -m reproductions.collapse``; at most six CPU minutes a line. It may be stopped or killed at any time
and goes on where it stood; what is in the table is not done again.

The decoder is a gated PixelCNN of 4 layers of 16 filters on MNIST pooled to 14 × 14, binarised dynamically, whose
layers each get z through a linear map, and nothing upsampled: what pixels tell each other need not be in z. The encoder
is a dense network; z has 16 numbers. Adam, batch 100, seed 0, the same number of steps for all.

- ``no_latents``: the PixelCNN alone.
- ``none``: the ELBO from the first step on.
- ``annealing``: the weight of the rate goes from 0 to 1 over the first third of the steps.
- ``free_bits``: 4 nats for nothing, of all latents together (Kingma et al. 2016).
- ``delta``: an AR(1) prior that commits to 4 nats, of 4 processes of 4 steps (Razavi et al. 2019).
- ``window``: each pixel sees 2 rows above, 3 wide, and one to its left (Chen et al. 2016).
- ``maps``: z reaches the layers as upsampled feature maps, and so can say another thing to each pixel.
- ``window_maps``: both, as the variational lossy autoencoder has it.

On the test data, binarised once (seed 0): ELBO and rate of all with one draw, NLL of the first 1,000 by importance
sampling, the mutual information of z and x by 1,000 draws against all posteriors, how much worse x is explained by the
z of another datum, and what the doctor says first.

What was expected is written down here beforehand: ``none`` pays less than 0.5 nats, and each cure at least twice as
many nats of rate and of mutual information as ``none``; free bits and δ no better an NLL than ``none`` by more than a
nat: they buy a code, not a likelihood. The last two lines were added when ``window`` came out otherwise: where z tells
all pixels the same, and they see too little to know where they are, it cannot say what they lack.

``--trial`` runs everything in seconds on digits; its numbers mean nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fourfold as ff
from fourfold._files import whole
from fourfold._metrics import rounded
from fourfold.data import DataSpec
from fourfold.evaluation import Row
from fourfold.evaluation.information import information
from fourfold.evaluation.swap import swap
from fourfold.likelihoods import PixelDecoder, pixel_cnn
from fourfold.models import VAE
from fourfold.networks import Dense, PixelStacks
from fourfold.noise import Noise
from fourfold.objectives import ELBO, FreeBits, parse_schedule
from fourfold.plan import Plan, Recipe, recipe
from fourfold.posteriors import gaussian
from fourfold.priors import AR1, StandardNormal
from fourfold.priors.ar1 import alpha_for
from fourfold.runs import Run

from .clock import Clock
from .lines import STOPPED, Line, Table, fill, parser_of
from .measure import saying
from .pooled import mnist_14
from .slices import Limit, OutOfTime
from .store import HOME, keep, kept

__all__ = ["LINES", "collapsing", "line_of", "main", "page"]

NAME = "collapse"
_STEPS, _CHANNELS = 4, 4  # of the AR(1) processes: as many latents as the others have
_EPOCHS, _PER_EPOCH = 6, 596

#: Name → what is given to the recipe; ``None``: the PixelCNN alone.
LINES: dict[str, dict[str, Any] | None] = {
    "no_latents": None,
    "none": {},
    "annealing": {"beta_schedule": f"linear:0:1:{_EPOCHS * _PER_EPOCH // 3}"},
    "free_bits": {"free": 4.0},
    "delta": {"committed": 4.0},
    "window": {"window": (3, 2)},
    "maps": {"maps": True},
    "window_maps": {"window": (3, 2), "maps": True},
}
_DEPTH: dict[str, Any] = {"layers": 4, "filters": 16, "kernel": 3}
_SMALL: dict[str, Any] = {"layers": 1, "filters": 4, "kernel": 3}
_TRAINING: dict[str, Any] = {"batch_size": 100, "lr": 2e-3, "seed": 0, "log_steps": 500}

_HEAD = """# Posterior collapse, and cures

Written by `python -m reproductions.collapse`, whose docstring is the protocol; not edited by hand. Nats, ± one standard
error over the test data.

| line | −ELBO | rate | I(x; z) | lost with the z of another | active units | NLL | CPU minutes | the doctor says |
|---|---|---|---|---|---|---|---|---|
"""


@recipe(source="the decoder of Gulrajani et al. 2016, arXiv:1611.05013, with z in every layer")
def collapsing(
    data: DataSpec,
    *,
    layers: int = 4,
    filters: int = 16,
    kernel: int = 3,
    window: tuple[int, ...] = (),
    maps: bool = False,
    free: float = 0.0,
    committed: float = 0.0,
    beta_schedule: str | None = None,
) -> Recipe:
    """A VAE with a PixelCNN decoder that can do without z, and one cure at most.

    Args:
        layers: how many gated layers; the first is 7 wide.
        filters: channels of each of the two stacks.
        kernel: width of the layers after the first, odd.
        window: w,h: a pixel sees h rows above, w wide, and half of w to its left.
        maps: z becomes 8 feature maps of the image's size, by a dense network, instead of a bias for all pixels.
        free: nats of the rate that cost nothing.
        committed: nats to which the prior commits.
        beta_schedule: weight of the rate over the steps.
    """
    size = _STEPS * _CHANNELS
    stacks = PixelStacks(layers, filters, kernel, window=(window[0], window[1]) if window else None)
    decoder = PixelDecoder("bernoulli", features=8 if maps else size, upsampled=maps, stacks=stacks)
    network = partial(Dense, hidden=(200, 200)) if maps else nn.Identity()
    alpha = alpha_for(committed, _STEPS, _CHANNELS) if committed else 0.0
    prior = AR1(size, alpha=alpha, channels=_CHANNELS) if committed else StandardNormal(size)
    q = gaussian(partial(Dense, hidden=(200, 200)), data.shape, prior.event)
    p_x = pixel_cnn(network, prior.event, data.shape, decoder=decoder)
    beta = 1.0 if beta_schedule is None else parse_schedule(beta_schedule)
    return Recipe(VAE(q, prior, p_x), FreeBits(free) if free else ELBO(beta))


@dataclass(frozen=True)
class Budget:
    """What is spent on a line."""

    epochs: float = _EPOCHS
    samples: int = 200
    images: int = 1000
    draws: int = 1000


def line_of(name: str, trial: bool = False) -> Line:
    """What the machine makes of a line; a trial takes a few steps on digits."""
    given, sizes = LINES[name], _SMALL if trial else _DEPTH
    if trial and given and "beta_schedule" in given:
        given = {"beta_schedule": "linear:0:1:2"}
    plan: Plan = ff.recipes.pixel_cnn(**sizes) if given is None else collapsing(**sizes, **given)
    said = {"chosen": given or {}}
    if trial:
        return Line(plan.recipe.name, plan, ff.data.digits, 0.3, 5, 20, _TRAINING, said)
    budget = Budget()
    return Line(plan.recipe.name, plan, _pooled, budget.epochs, budget.samples, budget.images, _TRAINING, said)


_pooled = cache(mnist_14)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the lines that are missing; 0: all there, 1: something failed, 3: time is up or others are at the rest."""
    parser: argparse.ArgumentParser = parser_of(__doc__, list(LINES), Path("runs") / NAME)
    parser.add_argument("--trial", action="store_true", help="everything small, and kept with the runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    home, limit = given.runs if given.trial else HOME, Limit(given.minutes)
    table = Table(NAME, home, given.runs)
    lines = {name: line_of(name, given.trial) for name in given.only}
    status = fill(table, lines, limit)
    try:
        for name, line in lines.items():
            if table.has(name):
                _looked_into(table, name, line, limit)
    except OutOfTime:
        return STOPPED
    with whole(home / f"{NAME}.md") as file:
        file.write(page(kept(NAME, home)).encode())
    return status


def _looked_into(table: Table, name: str, line: Line, limit: Limit) -> None:
    """What z knows and the decoder hears of it, and the doctor's word: beside the rows that are there, made once."""
    rows = [Row.from_dict(row) for row in kept(table.name, table.home) if row["protocol"]["entry"] == name]
    if any("doctor" in row.protocol for row in rows):
        return
    assert line.plan is not None
    run = Run.open(table.runs / name, model=line.plan.build(line.data().spec).model, data=line.data())
    clock = Clock(table.runs / f"{name}.cpu.json")
    with limit.stopping(), clock.running("measuring"):
        first = run.doctor(data=300).first
        more = [] if LINES[name] is None else _of_latents(run, rows[0].protocol)
    said = {**clock.said(), "doctor": "nothing" if first is None else first.name}
    keep(table.name, [saying(row, said) for row in (*rows, *more)], table.home)


def _of_latents(run: Run, protocol: dict[str, Any]) -> list[Row]:
    """Mutual information, and the drop in a swap of latents."""
    batches, noise = run.batches(run.split("test")), Noise(0, stream=NAME)
    known = information(run.model, batches(), noise.fork("information"), Budget().draws)
    heard = swap(run.model, batches, noise.fork("swap"))
    found = [("mi", known.joint, known.estimator), ("swap_drop", heard.drop, heard.estimator)]
    return [
        Row(metric, float(v.mean()), "nats", float(v.std(ddof=1) / len(v) ** 0.5), how, len(v), protocol)
        for metric, v, how in found
    ]


def page(rows: Sequence[dict[str, Any]]) -> str:
    """One line an entry; what does not exist is a dash."""
    text = _HEAD
    for name in LINES:
        found = {row["metric"]: row for row in rows if row["protocol"]["entry"] == name}
        if found:
            said = next(iter(found.values()))["protocol"]
            cells = [_cell(found.get(one)) for one in ("elbo", "rate", "mi", "swap_drop", "active_units", "nll_is")]
            cells += [f"{said.get('training_cpu_seconds', 0) / 60:.1f}", said.get("doctor", "–").replace("_", " ")]
            text += "| " + " | ".join([name, *cells]) + " |\n"
    return text


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    value, error = rounded(-row["value"] if row["metric"] == "elbo" else float(row["value"]), row["standard_error"])
    return f"{value} ± {error}" if error else value


if __name__ == "__main__":
    sys.exit(main())
