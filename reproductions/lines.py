"""Tables made line by line: each is trained in slices, measured, and kept; what is there is not done again."""

__all__ = ["STOPPED", "Line", "Table", "fill", "parser_of"]

import argparse
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fourfold as ff
from fourfold._files import whole
from fourfold.plan import Plan

from .clock import Clock
from .measure import measured, saying
from .slices import Limit, OutOfTime, held, trained
from .store import arrays_of, keep, kept, locked

#: The exit status while there is more to do.
STOPPED = 3


@dataclass(frozen=True)
class Line:
    """One model: what is trained, on what, for how long, and how it is measured.

    Args:
        recipe: its name.
        plan: the same with its arguments; ``None`` where there is no such recipe (yet).
        data: gives the data.
        epochs: of training.
        samples: K of the NLL.
        images: the NLL is of the first so many test data; ``None``: all.
        training: further options of training.
        said: what else goes into the protocol of its rows.
    """

    recipe: str
    plan: Plan | None
    data: Callable[[], ff.DataSet]
    epochs: float
    samples: int
    images: int | None
    training: dict[str, Any]
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Where lines are kept.

    Args:
        name: of the file of rows.
        home: the folder of the table.
        runs: the folder of the runs.
        page: rows to the Markdown beside the table; where there is one, NLLs datum by datum are kept there too.
    """

    name: str
    home: Path
    runs: Path
    page: Callable[[Sequence[dict[str, Any]]], str] | None = None

    def has(self, line: str) -> bool:
        """Whether this line is there."""
        return any(row["protocol"].get("entry") == line for row in kept(self.name, self.home))


def parser_of(doc: str | None, names: Sequence[str], runs: Path) -> argparse.ArgumentParser:
    """What every such script takes: which lines, for how long, with how many threads, in which folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names, help="these lines")
    parser.add_argument("--minutes", type=float, help="stop cleanly after so many; run again to go on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=runs)
    return parser


def fill(table: Table, lines: Mapping[str, Line], limit: Limit) -> int:
    """Make the lines that are missing; 0: all there, 1: something failed, 3: time is up or others are at the rest."""
    failed = False
    for name, line in lines.items():
        if line.plan is None:
            print(f"{name}: there is no recipe {line.recipe} (yet)")
            continue
        with held(table.runs / f"{name}.lock") as mine:
            if not mine:
                print(f"{name}: another process is at it")
            elif not table.has(name):
                print(f"{name}: training", flush=True)
                try:
                    _make(table, name, line, limit)
                except OutOfTime:
                    print(f"{name}: time is up, all is saved; run again to go on")
                    return STOPPED
                except Exception:  # one recipe that fails must not take the night from the others
                    traceback.print_exc()
                    failed = True
    if failed:
        return 1
    return 0 if all(table.has(name) for name, line in lines.items() if line.plan) else STOPPED


def _make(table: Table, name: str, line: Line, limit: Limit) -> None:
    """Train, measure, keep: arrays first, so that what has rows has arrays."""
    folder, clock = table.runs / name, Clock(table.runs / f"{name}.cpu.json")
    assert line.plan is not None
    with clock.running("training"):
        run = trained(folder, line.plan, line.data(), limit, line.epochs, quiet=True, **line.training)
    with clock.running("measuring"):
        said = {"entry": name, "epochs": line.epochs, **line.training, **line.said}
        rows, arrays = measured(run, limit, line.samples, line.images, said)
    rows = [saying(row, clock.said()) for row in rows]
    _keep_arrays(folder / "per_datum.npz", arrays)
    if table.page and "nll_is" in arrays:  # the compact form, from which paired differences can be found again
        _keep_arrays(arrays_of(table.name, name, table.home), {"nll_is": arrays["nll_is"].astype(np.float32)})
    keep(table.name, rows, table.home)
    if table.page:
        with locked(table.name, table.home), whole(table.home / f"{table.name}.md") as file:
            file.write(table.page(kept(table.name, table.home)).encode())


def _keep_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
