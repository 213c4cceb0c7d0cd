"""What the gap between log p(x) and the ELBO is made of: two families of posteriors, two sizes of encoder.

Run with ``python -m reproductions.gaps``; it may be stopped at any time and goes on where it stood. The protocol of
training is that of the flat table (30 epochs of dynamic MNIST, 50 latents, decoder of 200-200 tanh units); the encoder
has 200-200 tanh units as there, or one layer of 50. The gaps are of the first 100 test images, binarised once (seed 0):
``fourfold gap`` with its defaults. What Cremer, Li and Duvenaud 2018 (arXiv:1801.03558) found is written down here
beforehand, as ``CLAIMS``; it is told whether it came out so. A difference counts where it exceeds two standard errors
of the paired differences over images; those say nothing of another seed of training.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fourfold as ff
from fourfold import pictures
from fourfold._files import whole
from fourfold.evaluation import Ascent, GapOptions, Row
from fourfold.networks import Dense
from fourfold.plan import Plan
from fourfold.recipes import TABLE
from fourfold.runs.gap import gaps_of

from .flat_table import COMMON, TRAINING
from .slices import Limit, OutOfTime, held, trained
from .store import HOME, keep, kept

__all__ = ["CLAIMS", "PLAN", "Claim", "Options", "main", "verdict"]

NAME, STOPPED, CERTAIN = "gaps", 3, 2.0
_SMALL = partial(Dense, hidden=(50,), activation="tanh")

#: Name of the model → what it is, in words; its recipe; what it has of its own.
PLAN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vae": ("diagonal Gaussian, encoder 200-200", "vae", {}),
    "vae_small": ("diagonal Gaussian, encoder 50", "vae", {"encoder": _SMALL}),
    "iaf": ("inverse autoregressive flow, encoder 200-200", "iaf_vae", {}),
    "iaf_small": ("inverse autoregressive flow, encoder 50", "iaf_vae", {"encoder": _SMALL}),
}


@dataclass(frozen=True)
class Claim:
    """One part of a gap is expected to be larger than another.

    Args:
        larger: model and part.
        smaller: model and part.
        said: the claim in words.
    """

    larger: tuple[str, str]
    smaller: tuple[str, str]
    said: str


CLAIMS = (
    *(
        Claim((name, "amortisation_gap"), (name, "approximation_gap"), f"{name}: amortisation > approximation")
        for name in PLAN
    ),
    *(
        Claim(
            (f"{name}_small", "amortisation_gap"),
            (name, "amortisation_gap"),
            f"{name}: the larger encoder amortises better",
        )
        for name in ("vae", "iaf")
    ),
    *(
        Claim((f"vae{size}", part), (f"iaf{size}", part), f"flow: less {part.partition('_')[0]}, encoder {width}")
        for size, width in (("", "200-200"), ("_small", "50"))
        for part in ("approximation_gap", "amortisation_gap")
    ),
)


@dataclass(frozen=True)
class Options:
    """How the table is made; the defaults are the table's, anything else is a trial and kept apart.

    Args:
        epochs: of training.
        images: the gaps are of the first so many test images.
        steps: of each search.
        samples: K.
        data: name of the data set.
        runs: the folder of the runs.
        limit: the slice of time.
    """

    epochs: float = 30
    images: int = 100
    steps: int = Ascent().steps
    samples: int = 5000
    data: str = "mnist"
    runs: Path = Path("runs/gaps")
    limit: Limit = field(default_factory=Limit, compare=False)

    @property
    def home(self) -> Path:
        """Where the table is kept."""
        table, asked = Options(), ("epochs", "images", "steps", "samples", "data")
        return HOME if all(getattr(self, name) == getattr(table, name) for name in asked) else self.runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the lines that are missing; 0: all there, 3: time is up or others are at the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PLAN), metavar="NAME", default=list(PLAN), help="these lines")
    parser.add_argument("--minutes", type=float, help="stop cleanly after so many; run again to go on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=Options.epochs)
    parser.add_argument("--images", type=int, default=Options.images)
    parser.add_argument("--steps", type=int, default=Options.steps)
    parser.add_argument("--samples", type=int, default=Options.samples)
    parser.add_argument("--data", choices=("mnist", "digits"), default=Options.data)
    parser.add_argument("--runs", type=Path, default=Options.runs)
    given = vars(parser.parse_args(arguments))
    torch.set_num_threads(given.pop("threads"))
    only, limit = given.pop("only"), Limit(given.pop("minutes"))
    options = Options(**given, limit=limit)
    data = ff.data.load(options.data, split="burda" if options.data == "mnist" else None)
    for name in only:
        with held(options.runs / f"{name}.lock") as mine:
            if mine and not _done(name, options):
                print(f"{name}: {PLAN[name][0]}", flush=True)
                try:
                    _line(name, data, options)
                except OutOfTime:
                    print(f"{name}: time is up, all is saved; run again to go on")
                    return STOPPED
    return 0 if all(_done(name, options) for name in only) else STOPPED


def _plan_of(name: str) -> Plan:
    _, recipe, own = PLAN[name]
    return TABLE[recipe](**COMMON, **own)


def _done(name: str, options: Options) -> bool:
    return any(row["protocol"].get("entry") == name for row in kept(NAME, options.home))


def _line(name: str, data: ff.DataSet, options: Options) -> None:
    """Train, measure, keep: arrays first, so that what has rows has arrays."""
    run = trained(options.runs / name, _plan_of(name), data, options.limit, options.epochs, quiet=True, **TRAINING)
    asked = GapOptions(Ascent(options.steps), options.samples)
    with options.limit.stopping():
        found, rows = gaps_of(run, asked, data=options.images)
    told = {"entry": name, "what": PLAN[name][0], "epochs": options.epochs, **TRAINING}
    told |= {"notes": list(found.notes), "log_p": {key: float(v.mean()) for key, v in found.evidence.items()}}
    file = options.home / NAME / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as out:
        np.savez_compressed(out, allow_pickle=False, **found.parts)
    keep(NAME, [Row.from_dict({**row.to_dict(), "protocol": {**row.protocol, **told}}) for row in rows], options.home)
    _write_page(options.home)


def verdict(claim: Claim, home: Path = HOME) -> dict[str, Any]:
    """What became of a claim: the paired difference over images, and whether it exceeds two standard errors."""
    told: dict[str, Any] = {"claim": claim.said}
    parts = [_numbers(name, home).get(part) for name, part in (claim.larger, claim.smaller)]
    if parts[0] is None or parts[1] is None:
        return {**told, "verdict": "not there yet"}
    difference = parts[0] - parts[1]
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)
    said = "not told apart"
    if abs(mean) > CERTAIN * error:
        said = "confirmed" if mean > 0 else "refuted"
    return {**told, "difference": mean, "standard_error": error, "n": len(difference), "verdict": said}


def _numbers(name: str, home: Path) -> dict[str, np.ndarray]:
    file = home / NAME / f"{name}.npz"
    if not file.exists():
        return {}
    with np.load(file) as arrays:
        return dict(arrays)


_HEAD = """# The gap, taken apart

Written by `python -m reproductions.gaps`, whose docstring is the protocol; not edited by hand. Nats per image of the
first {images} test images of dynamic MNIST, binarised once, ± one standard error over them. Every search took {steps}
steps; log p(x) and the ELBOs are of {samples:,} draws from each posterior.

| model | log p(x) − ELBO | amortisation | approximation | of it won by a flow | left | −log p(x) |
|---|---|---|---|---|---|---|
"""

_CLAIMED = """
## What Cremer et al. 2018 found

Differences are paired over images; a verdict needs two standard errors.

| claim | difference | verdict |
|---|---|---|
"""


def _write_page(home: Path) -> None:
    """The table and the verdicts as Markdown, and the bars."""
    rows = {(row["protocol"]["entry"], row["metric"]): row for row in kept(NAME, home)}
    there = [name for name in PLAN if (name, "bound_gap") in rows]
    options = rows[there[0], "bound_gap"]["protocol"]["options"]
    steps, images = options["ascent"]["steps"], rows[there[0], "bound_gap"]["n"]
    shown = ("bound_gap", "amortisation_gap", "approximation_gap", "flow_gain", "flow_gap", "log_p")
    text = _HEAD.format(images=images, steps=steps, samples=options["samples"])
    for name in there:
        cells = (_pm(rows[name, metric], -1 if metric == "log_p" else 1) for metric in shown)
        text += f"| {name}: {PLAN[name][0]} | {' | '.join(cells)} |\n"
    text += _CLAIMED
    for one in (verdict(claim, home) for claim in CLAIMS):
        difference = f"{one['difference']:+.2f} ± {one['standard_error']:.2f}" if "difference" in one else "–"
        text += f"| {one['claim']} | {difference} | {one['verdict']} |\n"
    for name in there:
        for note in rows[name, "bound_gap"]["protocol"]["notes"]:
            text += f"\n{name}: {note}\n"
    with whole(home / f"{NAME}.md") as file:
        file.write(text.encode())
    pictures.save(pictures.gap_bars({name: _numbers(name, home) for name in there}), home / NAME / "gaps.png")


def _pm(row: dict[str, Any], sign: int) -> str:
    return f"{sign * row['value']:.2f} ± {row['standard_error']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
