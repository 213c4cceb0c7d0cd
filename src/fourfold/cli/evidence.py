"""``fourfold evidence``: how loose is the bound of a run?"""

__all__ = ["evidence"]

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .flags import Parser
from .show import as_json
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from ..evaluation import Evidence, EvidenceOptions
    from ..evaluation.evidence import Stage
    from ..runs import Run

_CURVE = (1, 10, 100, 1000, 10_000)


def evidence(words: Sequence[str]) -> int:
    """Estimates log p(x) in every way there is, on the same data."""
    about = (
        "How loose is the bound? ELBO, importance sampling, AIS and the BDMC sandwich on the same data. "
        "Results go into RUN/results.json, the picture into RUN/pictures/evidence.png."
    )
    parser = Parser("evidence", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("--data-count", type=int, default=100, metavar="N", help="the first N data (default 100)")
    help_text = "draws of z a datum for importance sampling (default 5000)"
    parser.add_argument("--importance-samples", type=int, default=5000, metavar="K", help=help_text)
    help_text = "importance sampling at K = 1, 10, 100, 1,000 and 10,000: how far does it still rise?"
    parser.add_argument("--curve", action="store_true", help=help_text)
    _add_annealing(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    given = parser.read(words)
    run = open_run(given)
    from ..runs.evidence import draw_evidence, evidence_of

    other, part = subject(run, given)
    options = _options(given)
    with _bars(given.quiet) as show:
        found = evidence_of(other, options, data=given.data_count, split=part, seed=given.seed, progress=show)
    picture = draw_evidence(other, found)
    if given.json:
        print(as_json(_document(run, found)))
        return 0
    _tell(run, found)
    if picture:
        print(f"picture: {picture}")
    return 0


def _add_annealing(parser: argparse.ArgumentParser) -> None:
    help_text = "temperatures of AIS (default 200); 0 leaves AIS and BDMC out"
    parser.add_argument("--ais", type=int, default=200, metavar="T", help=help_text)
    parser.add_argument("--chains", type=int, default=8, metavar="C", help="chains of AIS a datum (default 8)")
    help_text = "where chains start (default encoder); the prior needs more temperatures, and no encoder"
    parser.add_argument("--start", choices=("encoder", "prior"), default="encoder", help=help_text)
    help_text = "BDMC on N data simulated from the model: the error bar of AIS (default 20); 0 leaves it out"
    parser.add_argument("--bdmc", type=int, default=20, metavar="N", help=help_text)


def _options(given: argparse.Namespace) -> "EvidenceOptions":
    from ..evaluation import Annealing, EvidenceOptions

    annealing = None
    if given.ais:
        annealing = Annealing(temperatures=given.ais, chains=given.chains, start=given.start)
    samples = _CURVE if given.curve else ()
    if not given.curve or given.importance_samples != 5000:
        samples = (*samples, 1, given.importance_samples)
    return EvidenceOptions(tuple(sorted(set(samples))), annealing, given.bdmc)


@contextmanager
def _bars(quiet: bool) -> "Iterator[Stage]":
    """One bar on standard error, which says what is being done."""
    from tqdm import tqdm

    now = ""
    with tqdm(disable=True if quiet else None, delay=1) as bar:

        def show(stage: str, done: int, total: int | None) -> None:
            nonlocal now
            if stage != now:
                now = stage
                bar.reset(total)
                bar.set_description_str(stage, refresh=False)
            bar.update(done - bar.n)

        yield show


def _tell(run: "Run", found: "Evidence") -> None:
    from ..evaluation import table
    from ..evaluation.evidence import trust

    protocol = found.rows[0].protocol
    shown = [protocol["dataset"], protocol["data_part"], protocol["rows"], f"binarize {protocol['binarize']}"]
    print(f"{run.path}, {run.checkpoint} checkpoint: {', '.join(map(str, shown))}, seed {protocol['seed']}")
    print(table(found.rows))
    if said := trust(found):
        print(said)
    for note in found.notes:
        print(f"not computed: {note}")


def _document(run: "Run", found: "Evidence") -> dict[str, Any]:
    from ..evaluation.evidence import trust

    return {
        "run": str(run.path),
        "rows": [row.to_dict() for row in found.rows],
        "trust": trust(found),
        "notes": list(found.notes),
    }
