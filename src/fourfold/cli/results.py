"""``fourfold compare`` and ``fourfold results``: runs set against one another, and what many runs have found."""

__all__ = ["compare", "results", "show_sweep"]

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._files import whole
from .flags import Parser
from .show import as_json, columns, target
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from pathlib import Path

    from ..runs import Run, Swept
    from ..runs.comparing import Compared

_BUDGET = {
    "draws": "draws of z a datum, for any metric but the NLL",
    "importance_samples": "samples of nll_is",
    "prior_samples": "draws from the prior of nll_mc",
    "importance_data": "the NLL of the first N data only",
}

_FORMATS = {".txt": "table", ".csv": "csv", ".tex": "latex", ".md": "markdown", ".json": "json"}


def compare(words: Sequence[str]) -> int:
    """Prints which run is better, and how sure that is."""
    about = (
        "Is one run better than another? Paired differences on the same data with the same binarisation. What runs "
        "have measured alike already is used; what they have not is measured now."
    )
    parser = Parser("compare", about)
    add_run(parser, "+")
    help_text = "runs of another recipe: then all before are of one recipe, with several seeds of training each"
    parser.add_argument("--against", metavar="RUN", nargs="+", default=[], help=help_text)
    add_data(parser)
    help_text = "elbo, nll_is, nll_mc, rate, distortion … (default elbo)"
    parser.add_argument("--metric", default="elbo", metavar="NAME", help=help_text)
    for name, text in _BUDGET.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=text)
    parser.add_argument("--out", metavar="FILE", help="a picture: differences, intervals, histograms")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    given = parser.read(words)
    path = target(given.out, ".png", ".pdf", ".svg") if given.out else None
    found = _compared(given)
    if path:
        from ..pictures import save

        save(found.picture(), path)
    if given.json:
        print(as_json(found.to_dict() | ({"picture": str(path)} if path else {})))
        return 0
    print(found.title)
    print(columns([("", name, value) for name, value in found.values()]))
    print(_pairs(found) if len(found.pairs) > 1 else found.verdict())
    print(f"{next(iter(found.pairs.values())).method}\n" + "\n".join(found.remarks))
    if path:
        print(f"picture: {path}")
    return 0


def _compared(given: argparse.Namespace) -> "Compared":
    """What the flags ask for, with a bar on standard error while something is measured."""
    from tqdm import tqdm

    from ..runs import compare

    budget = {name: getattr(given, name) for name in _BUDGET if getattr(given, name) is not None}
    part = given.split or "test"
    groups: list[list[Run]] = []
    for paths in (given.run, given.against):
        opened = [open_run(given, path) for path in paths]
        if given.data is not None:  # other data are loaded; a run's own only where something must be measured
            opened, parts = (
                map(list, zip(*(subject(run, given) for run in opened), strict=True)) if opened else ([], [])
            )
            part = parts[0] if parts else part
        groups.append(opened)
    with tqdm(unit=" data", disable=True if given.quiet else None, delay=1) as bar:

        def show(done: int, total: int | None) -> None:
            if done < bar.n:  # the next run
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)

        options = {"metric": given.metric, "split": part, "seed": given.seed, "progress": show, **budget}
        return compare(*groups[0], against=groups[1], **options)


def _pairs(found: "Compared") -> str:
    """A line for each pair."""
    from .._metrics import rounded

    first = next(iter(found.pairs.values()))
    word = "better" if first.better else "higher"
    lines = [("A", "B", f"A {word} by", f"{first.level * 100:g} % interval", "p (Holm)", word)]
    for (i, j), one in found.pairs.items():
        names = found.sides[i].name, found.sides[j].name
        if one.advantage_interval is None:
            lines.append((*names, f"{one.non_finite} not finite", "", "", ""))
            continue
        value, error = rounded(one.advantage, one.standard_error)
        digits = len(value.partition(".")[2])
        span = " … ".join(f"{end:.{digits}f}" for end in one.advantage_interval)
        p = f"{one.adjusted_p:.2g}" if one.adjusted_p >= 1e-4 else "< 0.0001"
        leader = "not told apart" if one.leader is None else names[one.leader]
        lines.append((*names, f"{value} ± {error}".replace("-", "−"), span.replace("-", "−"), p, leader))
    return columns(lines)


def results(words: Sequence[str]) -> int:
    """Prints what runs have found, as a table."""
    from ..runs.results import collect, long_form, tabulate
    from ..runs.swept import is_sweep, read_sweep
    from ..runs.tables import as_csv, as_latex, as_markdown, as_text

    given = _read_results(words)
    path = target(given.out, *_FORMATS) if given.out else None
    form = given.format or ("json" if given.json else _FORMATS[path.suffix] if path else "table")
    metrics, chosen = _listed(given.metric), _listed(given.columns)
    if len(given.folders) == 1 and is_sweep(given.folders[0]) and not chosen:
        found_sweep = read_sweep(given.folders[0])
        _put(show_sweep(found_sweep, form, metrics, given.sort), path, f"{len(found_sweep.rows)} members")
        return 0
    found, problems = collect(given.folders)
    for problem in problems:
        print(f"fourfold: left out: {problem}", file=sys.stderr)
    if not found:
        raise ValueError(f"results: there is no run that can be read in {', '.join(given.folders)}. Train one first.")
    if form == "json":
        rows = [{"run": str(one.path), "facts": one.facts, "remarks": one.remarks, "rows": one.rows} for one in found]
        text = as_json({"runs": rows, "problems": problems})
    elif form == "csv":
        text = as_csv(long_form(found, metrics))
    else:
        table = tabulate(found, metrics, chosen, given.sort)
        text = {"table": as_text, "latex": as_latex, "markdown": as_markdown}[form](table)
    _put(text, path, f"{len(found)} runs")
    return 0


def show_sweep(found: "Swept", form: str = "table", metrics: Sequence[str] = (), sort: str | None = None) -> str:
    """What a sweep has found; as text with a picture beside it, which is drawn into its folder."""
    from ..runs.tables import as_csv, as_latex, as_markdown, as_text

    if form == "json":
        return as_json({"sweep": str(found.path), "axes": found.axes, "units": found.units, "members": found.rows})
    if form == "csv":
        keys = dict.fromkeys(key for row in found.rows for key in row)
        return as_csv([{key: row.get(key) for key in keys} for row in found.rows])
    text = {"table": as_text, "latex": as_latex, "markdown": as_markdown}[form](found.table(metrics, sort))
    if form == "table" and found.drawable and found.units:
        text += f"\npicture: {found.picture_file(metrics)}"
    return text


def _put(text: str, path: "Path | None", told: str) -> None:
    """Into the file, or onto the terminal."""
    if path is None:
        print(text)
        return
    with whole(path) as file:
        file.write(f"{text}\n".encode())
    print(f"{path}: {told}")


def _read_results(words: Sequence[str]) -> argparse.Namespace:
    about = (
        "What runs have found, one line a run; of a sweep's folder, one line a combination, with a picture. Numbers "
        "of another protocol than the rest of their column are marked, with a note that says in what they differ. CSV "
        "and JSON have every row with its whole protocol."
    )
    parser = Parser("results", about)
    parser.add_argument("folders", metavar="FOLDER", nargs="*", help="runs, or folders of runs (default runs)")
    parser.add_argument("--metric", metavar="NAMES", help="which: elbo,nll_is,… (default: the usual ones)")
    help_text = "what else is told: run,recipe,data,seed,steps,parameters,minutes, or any option, such as latent,lr"
    parser.add_argument("--columns", metavar="NAMES", help=help_text)
    parser.add_argument("--sort", metavar="NAME", help="by this metric or column, the smallest first")
    forms = tuple(_FORMATS.values())
    parser.add_argument("--format", choices=forms, help="default: table, or what the name of --out says")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--out", metavar="FILE", help=f"a file instead ({', '.join(_FORMATS)})")
    given = parser.read(words)
    given.folders = given.folders or ["runs"]
    if given.json and given.format not in (None, "json"):
        raise ValueError(f"results: --json and --format {given.format} are two formats. Choose one.")
    return given


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
