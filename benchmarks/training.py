"""What a training image costs: Fourfold, pythae, plain loops, a backward by hand, JAX, and the arithmetic alone.

Run with `python -m benchmarks.training`, or `--only a100 c20` for some rows. Each candidate trains the same model on
the same binary images in a process of its own; the processes take turns. A piece is a few steps of an epoch, the next
ones each time; start-up (imports, building, compiling, first steps) is in no time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Protocol, machine, positive, save, show
from benchmarks.loops import binary_images
from benchmarks.ours import MODELS
from benchmarks.processes import Spec, race_processes

__all__ = ["ROWS", "Table", "bases_of", "main", "parser_of", "specs"]


@dataclass(frozen=True, slots=True)
class Table:
    """One row: a model at a batch size, how much of it is one piece, and whether ours runs with validation too."""

    title: str
    model: str
    batch: int
    steps: int
    draws: int = 0
    validated: bool = False


#: A piece is some tenths of a second for the slowest candidate.
ROWS = {
    "a20": Table("VAE 784-200-200-50, batch 20", "vae", 20, 100),
    "a100": Table("VAE 784-200-200-50, batch 100", "vae", 100, 50, validated=True),
    "a512": Table("VAE 784-200-200-50, batch 512", "vae", 512, 10),
    "b": Table("convolutional VAE, 64×64, batch 64", "conv", 64, 3),
    "c20": Table("IWAE, 50 draws, batch 20", "iwae", 20, 10, draws=50),
    "c100": Table("IWAE, 50 draws, batch 100", "iwae", 100, 2, draws=50),
    "d": Table("PixelVAE, 28×28, batch 100", "pixel_vae", 100, 1),
    "e": Table("ladder VAE, 64-32-16-8-4, batch 100", "lvae", 100, 5),
}
_OURS = {"fourfold": "eager", "fourfold compiled": "compiled", "fourfold bf16": "bf16"}


def bases_of(field: Sequence[Spec]) -> list[str]:
    """Who the others are set against, where it is there."""
    return [spec.name for spec in field if spec.name in ("pythae", "example", "naive repeat", "by hand", "floor")]


def specs(table: Table, compiled: bool = True) -> list[Spec]:
    """The candidates of a table, the peers first."""
    size = {"batch": table.batch, "steps": table.steps}
    kind = MODELS[table.model][2]
    shared: dict[str, Any] = {**size, "kind": kind}
    drawn = {"draws": table.draws} if table.draws else {}
    field: list[Spec] = []
    if table.model in ("vae", "conv", "iwae"):
        field += [Spec("pythae", "benchmarks.peers.training:pythae", {**shared, **drawn}, peer=True)]
        plain = ("naive repeat", "naive") if drawn else ("example", "example")
        field += [Spec(plain[0], f"benchmarks.peers.training:{plain[1]}", {**shared, **drawn})]
        loop = "benchmarks.loops:resident"
        field += [Spec("resident", loop, {**shared, **drawn, "keep": False})]
        if kind == "conv":  # autograd is nothing beside these convolutions: this loop is the practical limit
            field += [Spec("by hand", loop, shared), Spec("by hand bf16", loop, {**shared, "precision": "bf16"})]
        else:
            hand = "benchmarks.by_hand:by_hand"
            field += [Spec("by hand", hand, {**size, **drawn})]
            field += [Spec("by hand bf16", hand, {**size, **drawn, "precision": "bf16"})]
            field += [Spec("JAX scan", "benchmarks.scan:scan", {**size, **drawn}, peer=True)]
        base, arguments = "benchmarks.floor:floor", {**shared, **drawn}
    else:
        base, arguments = "benchmarks.ours:fourfold_floor", {**size, "model": table.model}
    field += [Spec("floor", base, arguments), Spec("floor bf16", base, {**arguments, "precision": "bf16"})]
    ours = {**size, "model": table.model}
    for name, mode in _OURS.items():
        why = "" if compiled or mode == "eager" else "left out (--no-compiled)"
        field += [Spec(name, "benchmarks.ours:fourfold", {**ours, "mode": mode}, absent=why)]
    field += [Spec("fourfold, library", "benchmarks.ours:fourfold", {**ours, "settled": False})]
    if drawn:
        once = {**ours, "estimator": "one-backward"}
        field += [Spec("one backward", "benchmarks.ours:fourfold", once)]
        why = "" if compiled else "left out (--no-compiled)"
        field += [Spec("one backward bf16", "benchmarks.ours:fourfold", {**once, "mode": "bf16"}, absent=why)]
    if table.validated:
        held_out = {"held_out": max(1, table.batch * table.steps // 6)}
        field += [Spec("fourfold + validation", "benchmarks.ours:fourfold", {**ours, **held_out})]
    return field


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """The options that all races of processes share."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=16)
    parser.add_argument("--warmup", type=positive, default=2, help="rounds run first and not counted")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one round of little work: does it run?")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--candidates", nargs="+", help="only these, by name")
    options = parser.parse_args(arguments)
    protocol = Protocol(1 if options.trial else options.rounds, 1 if options.trial else options.warmup)
    before = machine(options.threads)
    tables, facts = {}, {}
    for name in options.only:
        table = ROWS[name]
        if options.trial:
            table = replace(table, batch=4, steps=1, draws=min(table.draws, 2))
        field = [s for s in specs(table, options.compiled) if not options.candidates or s.name in options.candidates]
        bases = bases_of(field)
        tables[table.title], facts[table.title] = race_processes(field, bases, protocol, options.threads)
        show(table.title, tables[table.title], bases, protocol)
    about = {"data": binary_images(1)[1], "workers": facts, "trial": options.trial, "machine": before}
    save("training", tables, protocol, about, options.out)


if __name__ == "__main__":
    main()
