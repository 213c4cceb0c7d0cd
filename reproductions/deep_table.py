"""Models with levels of latents, with decoders that look at their own output, with codes: what each is worth in nats.

Run with ``python -m reproductions.deep_table``. It may be stopped or killed at any time and goes on where it stood;
what is in the table is not done again. Several processes may run side by side: each takes what no other is at.

Each line has a schedule of its own, by the budget of CPU minutes that the table states beside what training took;
``deep_lines`` has them all, and each row's protocol its own: the arguments of its recipe, and Adam with the options
named there, seed 0. Hierarchies see dynamically binarised MNIST in the split of Burda et al. 2015. Decoders that look
pixel by pixel see it pooled to 14 × 14 (means of 2 × 2, 8 bits again, dynamically binarised), with at most 4 layers of
16 filters and 10 CPU minutes, and so do the VAE and the PixelCNN they are set against.

On the test data, binarised once (seed 0): the ELBO of all with one draw, the rate and the active units of each level,
and the NLL of the first 1,000 or 2,000 by importance sampling with as many draws as the table says.

``--full`` are the schedules of the papers, for a GPU: LVAE (wanted: an NLL of at most 82.8 nats), VLAE (78.5 to 79.5),
PixelVAE, tiny NVAE and VDVAE (at most 80). That table is kept apart. It has not been run on a GPU: only for a few steps
on a CPU. ``--trial`` runs everything in seconds on small digits; its numbers mean nothing.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fourfold.plan import Plan
from fourfold.recipes import TABLE

from .deep_lines import DATA, FULL, SHORT, Entry, small
from .deep_page import page
from .lines import STOPPED, Line, Table, fill, parser_of
from .slices import Limit
from .store import HOME

__all__ = ["NAME", "STOPPED", "TRAINING", "line_of", "main", "plan_of"]

NAME = "deep_table"
TRAINING: dict[str, Any] = {"seed": 0, "log_steps": 600, "checkpoint_seconds": 60}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the lines that are missing; 0: all there, 1: something failed, 3: time is up or others are at the rest."""
    parser = parser_of(__doc__, list({**SHORT, **FULL}), Path("runs") / NAME)
    parser.add_argument("--full", action="store_true", help="the schedules of the papers, for a GPU")
    parser.add_argument("--trial", action="store_true", help="everything small, and kept with the runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    entries, runs = (FULL, given.runs / "full") if given.full else (SHORT, given.runs)
    flag = " --full" if given.full else ""
    table = Table(
        "deep_full" if given.full else NAME,
        runs if given.trial else HOME,
        runs,
        lambda rows: page(rows, list(entries), flag),
    )
    lines = {name: line_of(entries[name], given.trial) for name in given.only if name in entries}
    if not lines:
        parser.error(f"{', '.join(given.only)}: no such line{flag and ' in full'}. There are {', '.join(entries)}.")
    return fill(table, lines, Limit(given.minutes))


def plan_of(entry: Entry) -> Plan | None:
    """The recipe with its arguments; ``None`` where there is no such recipe (yet)."""
    return TABLE[entry.recipe](**entry.arguments) if entry.recipe in TABLE else None


def line_of(entry: Entry, trial: bool = False) -> Line:
    """What the machine makes of an entry; a trial takes a few steps on digits."""
    training = {**TRAINING, **entry.training}
    said = {"chosen": entry.arguments, **({"budget_cpu_minutes": entry.minutes} if entry.minutes else {})}
    if trial:
        return Line(entry.recipe, plan_of(entry), partial(small, entry.data), 0.3, 10, 50, training, said)
    budget = DATA[entry.data], entry.epochs, entry.samples, entry.images
    return Line(entry.recipe, plan_of(entry), *budget, training, said)


if __name__ == "__main__":
    sys.exit(main())
