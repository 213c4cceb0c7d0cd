"""``fourfold evaluate``, ``encode`` and ``score``: numbers of a run, on its own data or on others."""

__all__ = ["encode", "evaluate", "score"]

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._files import whole
from .flags import Parser
from .show import as_json, target
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation import Evaluation
    from ..runs import Run

_COLUMNS = ("elbo", "cross_entropy_objective", "distortion", "cross_entropy", "rate", "nll_is", "nll_mc")

_BOUNDS = (
    ("elbo", "a lower bound on log p(x)"),
    ("nll_is", "an upper bound on -log p(x), on average"),
    ("nll_mc", "an upper bound on -log p(x), on average"),
)


def evaluate(words: Sequence[str]) -> int:
    """Measures a run and prints the table of results."""
    parser = Parser("evaluate", "Measures a run. Results go into its results.json and report too.")
    add_run(parser)
    add_data(parser)
    _add_budget(parser)
    help_text = "sample the NLL of the first N data only (both kinds)"
    parser.add_argument("--importance-data", type=int, metavar="N", help=help_text)
    help_text = "draws of z for the parts of the rate (mi, tc, dwkl), against all rows; 0 leaves them out (default)"
    parser.add_argument("--decomposition", type=int, default=0, metavar="N", help=help_text)
    help_text = "do generated and real differ? test N draws against N data, with a p-value; 0 leaves it out (default)"
    parser.add_argument("--two-sample", type=int, default=0, metavar="N", help=help_text)
    parser.add_argument("--no-report", action="store_true", help="leave pictures and report.html as they are")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    given = parser.read(words)
    run = open_run(given)
    found = _measured(*subject(run, given), given, keep=True)
    page = None if given.no_report else run.report()
    if given.json:
        print(as_json(_document(run, found)))
        return 0
    from ..evaluation import table

    protocol = found.rows[0].protocol
    shown = [protocol["dataset"], protocol["split"], protocol["data_part"], f"binarize {protocol['binarize']}"]
    print(f"{run.path}, {run.checkpoint} checkpoint: {', '.join(map(str, shown))}, seed {given.seed}")
    print(table(found.rows))
    for row in found.rows:
        if row.metric == "two_sample_p":
            print(f"do generated and real differ? {'yes' if row.value <= 0.05 else 'no evidence'}, p = {row.value:.3g}")
    for remark in found.remarks:
        print(f"note: {remark}")
    for note in found.notes:
        print(f"not computed: {note}")
    if page:
        print(f"report: {page}")
    return 0


def encode(words: Sequence[str]) -> int:
    """Writes posterior means: arrays z (or z_1, z_2 … from the top), and labels if there are some."""
    about = (
        "Posterior means (for a flow: its centre), as an .npz file: z (z_1, z_2 … from top to bottom), labels if given."
    )
    parser = Parser("encode", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .npz file")
    given = parser.read(words)
    path = target(given.out, ".npz")
    run = open_run(given)
    run, part = subject(run, given)
    rows = run.split(part)
    levels = run.encode(rows, seed=given.seed)
    if not levels:
        raise ValueError(f"{run.path}: its model has no latents, so there is nothing to encode.")
    arrays: dict[str, Any] = {"z": levels[0]} if len(levels) == 1 else {f"z_{i}": z for i, z in enumerate(levels, 1)}
    if rows.labels is not None:
        arrays["labels"] = rows.labels
    import numpy as np

    with whole(path) as file:
        np.savez(file, **arrays)
    print(f"{path}: " + ", ".join(f"{name} {array.shape}" for name, array in arrays.items()))
    _tell_of_draws(run, given.seed)
    return 0


def _tell_of_draws(run: "Run", seed: int) -> None:
    if run.view.binarize == "dynamic":
        print(f"pixels were binarised by a draw, seed {seed}: the draw of a row depends on its place in the data")


def score(words: Sequence[str]) -> int:
    """Writes the numbers of every datum."""
    parser = Parser("score", "The bound on log p(x) of every datum and its parts, in nats, as a .csv file.")
    add_run(parser)
    add_data(parser)
    _add_budget(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .csv file")
    given = parser.read(words)
    path = target(given.out, ".csv")
    run = open_run(given)
    found = _measured(*subject(run, given), given, keep=False)
    columns = [name for name in _COLUMNS if name in found.per_datum]
    _refuse_nan({name: found.per_datum[name] for name in columns})
    lines = [",".join(["row", *(f"{name} [nats]" for name in columns)])]
    for i, numbers in enumerate(zip(*(found.per_datum[name].tolist() for name in columns), strict=True)):
        lines.append(",".join([str(i), *(f"{number:.9g}" for number in numbers)]))
    with whole(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
    told = [f"{row.metric}: {row.estimator}, mean {row.value:.2f}" for row in found.rows if row.metric in columns]
    print(f"{path}: {len(lines) - 1} rows, in nats\n  " + "\n  ".join(told))
    _tell_of_draws(run, given.seed)
    for bound, of in _BOUNDS:
        if bound in columns:
            print(f"{bound} is {of}.")
    for note in found.notes:
        print(f"not computed: {note}")
    return 0


def _refuse_nan(columns: "dict[str, np.ndarray]") -> None:
    """A score that is no number must not be taken for one; an infinite one says that a row is out of all reach."""
    for name, values in columns.items():
        broken = (values != values).nonzero()[0]
        if len(broken):
            raise ValueError(
                f"score: {name} of row {broken[0]} is not a number, and of {len(broken)} rows in all: the row is too "
                "large for the model's precision. Scale the data as in training, or leave such rows out."
            )


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=1, metavar="L", help="draws of z a datum in the ELBO (default 1)")
    help_text = "samples of the importance-sampled NLL; 0 leaves it out (default)"
    parser.add_argument("--importance-samples", type=int, default=0, metavar="K", help=help_text)
    help_text = "draws from the prior for the plain Monte Carlo NLL; 0 leaves it out (default)"
    parser.add_argument("--prior-samples", type=int, default=0, metavar="S", help=help_text)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _measured(run: "Run", part: str, given: argparse.Namespace, keep: bool) -> "Evaluation":
    """The evaluation that the flags ask for, with a bar on standard error while it samples."""
    from tqdm import tqdm

    with tqdm(unit=" data", disable=True if given.quiet else None, delay=1) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return run.evaluate(
            part,
            seed=given.seed,
            save=keep,
            progress=show,
            draws=given.draws,
            importance_samples=given.importance_samples,
            prior_samples=given.prior_samples,
            importance_data=getattr(given, "importance_data", None),
            decomposition=getattr(given, "decomposition", 0),
            two_sample=getattr(given, "two_sample", 0),
        )


def _document(run: "Run", found: "Evaluation") -> dict[str, Any]:
    return {
        "run": str(run.path),
        "rows": [row.to_dict() for row in found.rows],
        "kl_per_latent": [None if kl is None else kl.ravel().tolist() for kl in found.kl_per_latent],
        "notes": list(found.notes),
        "remarks": list(found.remarks),
    }
