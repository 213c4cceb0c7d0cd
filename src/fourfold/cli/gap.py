"""``fourfold gap``: what the gap between log p(x) and the ELBO of a run is made of."""

__all__ = ["gap"]

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

from .flags import Parser
from .show import as_json, columns
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from pathlib import Path

    from ..evaluation import Gaps, Progress, Row
    from ..runs import Run


def gap(words: Sequence[str]) -> int:
    """Takes the gap apart, prints and draws it."""
    about = (
        "What is log p(x) - ELBO made of? The best posterior of each datum is searched for: what it wins is lost by "
        "the encoder (amortisation), the rest by the family of posteriors (approximation). Results go into "
        "RUN/results.json, the picture into RUN/pictures/gap.png."
    )
    parser = Parser("gap", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("--data-count", type=int, default=100, metavar="N", help="the first N data (default 100)")
    help_text = "of each search (default 1000)"
    parser.add_argument("--steps", type=int, default=1000, metavar="T", help=help_text)
    help_text = "draws of z a datum from each posterior found, for its ELBO and for log p(x) (default 5000)"
    parser.add_argument("--importance-samples", type=int, default=5000, metavar="K", help=help_text)
    help_text = "what a flow of each datum's own would win (default: yes)"
    parser.add_argument("--flow", action=argparse.BooleanOptionalAction, default=True, help=help_text)
    help_text = "estimate log p(x) by AIS with T temperatures too; 0 leaves it out (default)"
    parser.add_argument("--ais", type=int, default=0, metavar="T", help=help_text)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    given = parser.read(words)
    run = open_run(given)
    from dataclasses import replace

    from ..evaluation import Ascent, GapOptions
    from ..evaluation.evidence import USUAL
    from ..runs.gap import draw_gaps, gaps_of

    annealing = replace(USUAL, temperatures=given.ais) if given.ais else None
    options = GapOptions(Ascent(steps=given.steps), given.importance_samples, given.flow, annealing)
    other, part = subject(run, given)
    with _bar(given.quiet) as show:
        found, rows = gaps_of(other, options, data=given.data_count, split=part, seed=given.seed, progress=show)
    picture = draw_gaps(other, found)
    if given.json:
        print(as_json(_document(run, found, rows, picture)))
    else:
        _tell(run, found, rows, picture)
    return 0


@contextmanager
def _bar(quiet: bool) -> "Iterator[Progress]":
    """A bar on standard error."""
    from tqdm import tqdm

    with tqdm(unit=" rows", disable=True if quiet else None, delay=1, unit_scale=True) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _tell(run: "Run", found: "Gaps", rows: "Sequence[Row]", picture: "Path | None") -> None:
    """The tree of the gap, what log p(x) was estimated to be, and how all of it was had."""
    protocol, values = rows[0].protocol, {row.metric: row for row in rows}
    shown = [protocol["dataset"], protocol["data_part"], protocol["rows"], f"binarize {protocol['binarize']}"]
    print(f"{run.path}, {run.checkpoint} checkpoint: {', '.join(map(str, shown))}, seed {protocol['seed']}")
    lines = [
        ("bound gap", "bound_gap", "log p(x) − ELBO"),
        ("├ amortisation", "amortisation_gap", f"the encoder: best {found.family} of each datum − the encoder's"),
        ("└ approximation", "approximation_gap", f"the family: log p(x) − best {found.family} of each datum"),
        ("  ├ won by a flow", "flow_gain", "best flow of each datum − best of the family"),
        ("  └ left", "flow_gap", "log p(x) − best flow of each datum"),
    ]
    print(columns([(label, _value(values[name]), about) for label, name, about in lines if name in values]))
    print("log p(x), by estimates that are too low on average; the highest is taken:")
    estimates = sorted(found.evidence.items(), key=lambda item: -item[1].mean())
    print(columns([(f"  {values.mean():.2f}", name) for name, values in estimates]))
    ascent, options = found.options.ascent, found.options
    print(
        f"each search: {ascent.steps} steps of Adam, {ascent.draws} fresh draws each; ELBOs: {options.samples} others"
    )
    for name, count in found.stayed.items():
        if count:
            print(f"note: the search for {name} found nothing better for {count} of {rows[0].n} data")
    for note in found.notes:
        print(f"note: {note}")
    if picture:
        print(f"picture: {picture}")


def _value(row: "Row") -> str:
    from .._metrics import rounded

    value, error = rounded(row.value, row.standard_error)
    return f"{value} ± {error} nats" if error else f"{value} nats"


def _document(run: "Run", found: "Gaps", rows: "Sequence[Row]", picture: "Path | None") -> dict[str, Any]:
    return {
        "run": str(run.path),
        "rows": [row.to_dict() for row in rows],
        "log_p": {name: _number(values.mean()) for name, values in found.evidence.items()},
        "still_rising": {name: _number(values.mean()) for name, values in found.rises.items()},
        "nothing_better": found.stayed,
        "notes": list(found.notes),
        "picture": str(picture) if picture else None,
    }


def _number(value: Any) -> float | str:
    """A number as JSON takes it: as text where it is not finite."""
    return float(value) if isfinite(value) else str(float(value))
