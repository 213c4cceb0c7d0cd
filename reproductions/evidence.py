"""How loose are the bounds of trained models? ELBO, importance sampling, AIS and the BDMC sandwich, image by image.

Run with ``python -m reproductions.evidence`` after ``python -m reproductions.flat_table``; about 25 minutes on one core
that has nothing else to do. Every model sees the same binarised images, the first of the test set. AIS starts from the
encoder. A model whose rows are there with the same budget is not measured again.

What was expected is written down here beforehand: ELBO ≤ IS ≤ AIS for every model, and of Wu, Burda, Salakhutdinov and
Grosse 2016 (arXiv:1611.04273, Table 1): that importance sampling is about one nat too low on a model trained by IWAE
with 50 latents (theirs: −86.902 with 10,000 draws, −86.464 with 100,000, AIS −85.619).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourfold._files import whole
from fourfold.evaluation import Annealing, EvidenceOptions
from fourfold.evaluation.evidence import Stage
from fourfold.runs import Run
from fourfold.runs.evidence import evidence_of

from .slices import Limit, OutOfTime, held
from .store import HOME, keep, kept

__all__ = ["main"]

NAME = "evidence"
MODELS = ("vae", "iwae50", "iaf_vae", "vamp_vae")
CERTAIN = 2.0  # standard errors

_HEAD = """# How loose are the bounds?

Written by `python -m reproductions.evidence`, whose docstring is the protocol; not edited by hand. Nats, ± one standard
error over images; differences are paired, image by image. The sandwich is of data simulated from the model.
"""


@dataclass(frozen=True)
class Budget:
    """What is spent on each model."""

    images: int = 100
    samples: int = 5000
    temperatures: int = 1000
    chains: int = 8
    simulated: int = 20

    @property
    def options(self) -> EvidenceOptions:
        """As the library takes it."""
        annealing = Annealing(self.temperatures, self.chains, start="encoder")
        return EvidenceOptions((1, 50, self.samples), annealing, self.simulated)


def measured(name: str, runs: Path, budget: Budget, limit: Limit, home: Path) -> None:
    """Measures one model, and keeps its rows and the numbers of each image."""
    run = Run.open(runs / name)
    with limit.stopping():
        found = evidence_of(run, budget.options, data=budget.images, progress=_said(name))
    said = {"entry": name, "budget": asdict(budget)}
    rows = [replace(row, protocol={**row.protocol, **said}) for row in found.rows]
    arrays = {"ais": found.ais, "curve": found.curve.bounds, "samples": np.array(found.curve.samples)}
    if found.sandwich is not None:
        arrays |= {"bdmc_lower": found.sandwich.lower, "bdmc_upper": found.sandwich.upper}
    (home / NAME).mkdir(parents=True, exist_ok=True)
    with whole(home / NAME / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)
    keep(NAME, rows, home)


def _said(name: str) -> Stage:
    """Tells each tenth on standard error."""
    last = [""]

    def say(stage: str, done: int, total: int | None) -> None:
        now = f"{name}: {stage}" + (f" {10 * done // total}/10" if total else "")
        if now != last[0]:
            last[0] = now
            print(now, file=sys.stderr, flush=True)

    return say


def verdicts(name: str, home: Path) -> dict[str, Any]:
    """The numbers of one model, and whether the bounds stand in the order that they must have."""
    rows = {(row["metric"], row["estimator"]): row for row in kept(NAME, home) if row["protocol"]["entry"] == name}
    by_metric = {metric: row for (metric, _), row in rows.items()}  # of several K the last, the largest
    with np.load(home / NAME / f"{name}.npz") as arrays:
        elbo, best, ais = arrays["curve"][0], arrays["curve"][-1], arrays["ais"]
    steps = {"ELBO ≤ IS": best - elbo, "IS ≤ AIS": ais - best}
    told = {what: _pm(values) for what, values in steps.items()}
    return {"rows": by_metric, "steps": told, "ordered": {what: _order(*told[what]) for what in told}}


def _pm(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _order(mean: float, error: float) -> str:
    if abs(mean) <= CERTAIN * error:
        return "not told apart"
    return "yes" if mean > 0 else "no"


def page(names: Sequence[str], home: Path) -> str:
    """The table as Markdown, with the verdict on what was expected."""
    head = "| model | −ELBO | NLL (IS) | NLL (AIS) | log p − ELBO | log p − IS | sandwich | ELBO ≤ IS | IS ≤ AIS |"
    lines = [_HEAD, head, "|" + "---|" * 9]
    for name in names:
        found = verdicts(name, home)
        rows, cells = found["rows"], []
        for metric, digits in (("elbo", 2), ("nll_is", 2), ("nll_ais", 2), ("bound_gap", 2), ("is_gap", 3)):
            value = -rows[metric]["value"] if metric == "elbo" else rows[metric]["value"]
            cells.append(f"{value:.{digits}f} ± {rows[metric]['standard_error']:.{digits}f}")
        gap = rows.get("bdmc_gap")
        cells.append("–" if gap is None else f"{gap['value']:.3f} ± {gap['standard_error']:.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {' | '.join(found['ordered'].values())} |")
    if names:
        row = verdicts(names[0], home)["rows"]["nll_ais"]
        is_row = verdicts(names[0], home)["rows"]["nll_is"]
        digests = {verdicts(name, home)["rows"]["nll_ais"]["protocol"]["data_digest"] for name in names}
        lines.append(f"\n{row['n']} images ({row['protocol']['rows']} of the test set, dynamically binarised, seed 0).")
        lines[-1] += " All models saw the same." if len(digests) == 1 else " NOT ALL MODELS SAW THE SAME."
        lines.append(f"IS: {is_row['estimator']}. {row['estimator']}.")
    if "iwae50" in names:
        lines.append("\n" + _claim(verdicts("iwae50", home)["steps"]["IS ≤ AIS"]))
    return "\n".join(lines) + "\n"


def _claim(gap: tuple[float, float]) -> str:
    """Wu et al.: importance sampling is about a nat too low on an IWAE of 50 latents."""
    mean, error = gap
    if mean <= CERTAIN * error:
        verdict = "not settled"
    elif abs(mean - 1) <= CERTAIN * error:
        verdict = "confirmed"
    else:
        verdict = f"too low it is, but {'less' if mean < 1 else 'more'} than by a nat"
    return (
        f"**Is importance sampling about a nat too low on IWAE-50?** By {mean:.2f} ± {error:.2f} nats here: {verdict}. "
        "(Wu et al. 2016: by 1.28 with 10,000 draws and 0.85 with 100,000.)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is missing and writes the page; 3 while there is more to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=MODELS, metavar="NAME", help="folders in --runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/flat_table"))
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the table")
    parser.add_argument("--minutes", type=float, help="stop after so long; what was begun is begun anew")
    for name, value in asdict(Budget()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args(arguments)
    budget = Budget(**{name: getattr(given, name) for name in asdict(Budget())})
    limit = Limit(given.minutes)
    try:
        for name in given.only:
            with held(given.runs / f"{name}.evidence.lock") as mine:
                if mine and not _there(name, budget, given.home):
                    limit.check()
                    measured(name, given.runs, budget, limit, given.home)
    except OutOfTime:
        return 3
    done = [name for name in (*MODELS, *given.only) if _there(name, budget, given.home)]
    done = list(dict.fromkeys(done))
    text = page(done, given.home)
    with whole(given.home / f"{NAME}.md") as file:
        file.write(text.encode())
    print(text)
    return 0 if set(given.only) <= set(done) else 3


def _there(name: str, budget: Budget, home: Path) -> bool:
    rows = [row["protocol"] for row in kept(NAME, home) if row["protocol"]["entry"] == name]
    return bool(rows) and rows[0]["budget"] == asdict(budget) and (home / NAME / f"{name}.npz").exists()


if __name__ == "__main__":
    sys.exit(main())
