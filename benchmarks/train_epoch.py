"""What a training image costs: pythae, the plain example loop, a bare resident loop, the arithmetic alone, Fourfold.

Run with `python -m benchmarks.train_epoch`. All train the same model (`loops.py`) on the same 60,000 binary images,
interleaved in one process. A piece is a few thousand images of an epoch, the next ones each time; start-up (imports,
building, first steps) is not in it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.harness import (
    Candidate,
    Protocol,
    Row,
    candidate,
    compare,
    machine,
    positive,
    save,
    show,
    timed,
)
from benchmarks.loops import arithmetic_floor, binary_images, resident_loop
from benchmarks.ours import fourfold_loop
from benchmarks.peers.training import example_loop, pythae_trainer

__all__ = ["main"]

BASES = ("pythae", "resident", "floor")


def table(batch: int, piece: int, protocol: Protocol) -> list[Row]:
    """Race all candidates at one batch size."""
    images, _ = binary_images()
    images = images[: len(images) // batch * batch]  # no ragged batch: every step of every candidate is the same work
    floats = images.float()
    steps = max(1, round(piece / batch))
    items = steps * batch
    with tempfile.TemporaryDirectory() as folder:
        field: list[Candidate] = [
            candidate("pythae", lambda: timed(pythae_trainer(floats, batch, steps, folder), items)),
            candidate("example", lambda: timed(example_loop(floats, batch, steps), items)),
            candidate("resident", lambda: timed(resident_loop(images, batch, steps), items)),
            candidate("floor", lambda: timed(arithmetic_floor(batch, steps), items)),
            candidate("fourfold", lambda: fourfold_loop(images, batch, steps)),
            candidate("compiled", lambda: fourfold_loop(images, batch, steps, compile="on")),
            candidate("bf16", lambda: fourfold_loop(images, batch, steps, compile="on", precision="bf16")),
            candidate("+validation", lambda: fourfold_loop(images, batch, steps, held_out=items // 6)),
        ]
        return compare(field, BASES, protocol)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--batch", type=positive, nargs="+", default=[100, 512])
    parser.add_argument("--rounds", type=positive, default=40)
    parser.add_argument("--warmup", type=positive, default=4, help="rounds run first and not counted")
    parser.add_argument("--piece", type=positive, default=2_500, help="images of one measured piece")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    protocol = Protocol(rounds=options.rounds, warmup=options.warmup)
    before = machine(options.threads)
    tables = {}
    for batch in options.batch:
        title = f"batch {batch}"
        tables[title] = table(batch, options.piece, protocol)
        show(title, tables[title], BASES, protocol)
    about = {"data": binary_images(1)[1], "piece": options.piece, "machine": before}
    save("train_epoch", tables, protocol, about, options.out)


if __name__ == "__main__":
    main()
