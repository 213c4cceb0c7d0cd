"""``fourfold diagnose``: what is right and what is wrong with a trained model, part by part."""

__all__ = ["diagnose"]

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._checks import positive, positive_int
from .flags import Parser
from .show import as_json
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from ..runs.diagnose import Diagnostics, Found

_PARTS = {
    "information": "what each latent knows of the data and costs, and the total correlation",
    "levels": "what each of several levels adds to what is known of the data, and its rate",
    "aggregate": "the aggregate posterior against the prior: MMD and KSD with p-values, and where they differ",
    "calibration": "is p(x|z) as sure as it should be? reliability, or the probability integral transform",
    "rate-distortion": "rate and distortion of all RUNs in one plane; of a single RUN the curve of its decoder too",
    "generation": "draws against data: a two-sample test, FID- and KID-like distances with the floor of real data",
}
_CHEAP = ("information", "aggregate", "calibration")


def diagnose(words: Sequence[str]) -> int:
    """Measures, draws and tells what the flags ask for, of each run."""
    about = (
        "What is right and what is wrong with a run. Without flags: information, aggregate, calibration, and levels of "
        "latents where there are several. Rows go into results.json, pictures into pictures/diagnose_*.png, their "
        "numbers into diagnose/*.npz of the run folder."
    )
    parser = Parser("diagnose", about)
    add_run(parser, "+")
    add_data(parser)
    _add_parts(parser)
    given = parser.read(words)
    parts = [name for name in _PARTS if getattr(given, name.replace("-", "_"))]
    parts = parts or ([] if given.outliers else list(_CHEAP))
    _check(given, parts)
    documents = []
    points: list[Any] = []
    for path in given.run:
        found = _of_run(path, parts, given, points)
        documents.append({"run": path, "parts": [_document(one) for one in found]})
    picture = _plane(points)
    if given.json:
        print(as_json({"runs": documents} | ({"rate_distortion": picture} if picture else {})))
    elif picture:
        print(f"rate and distortion: {picture}")
    return 0


def _of_run(path: str, parts: Sequence[str], given: argparse.Namespace, points: list[Any]) -> "list[Found]":
    """All parts of one run, each told as soon as it is there."""
    run, part = subject(open_run(given, path), given)
    from ..runs.diagnose import Diagnostics

    bar = _Bar(given.quiet)
    diagnostics = Diagnostics(run, part, given.seed, bar)
    if list(parts) == list(_CHEAP) and len(run.model.latent_shapes) > 1:
        parts = [*parts, "levels"]
    asked = [(name, lambda name=name: _measured(diagnostics, name, given, points)) for name in parts]
    asked += [(f"outliers {data}", lambda data=data: _outliers(diagnostics, data, given)) for data in given.outliers]
    found = []
    for name, measure in asked:
        with bar.of(name):
            found.append(measure())
        if not given.json:
            _tell(diagnostics.title, found[-1])
    return found


def _add_parts(parser: argparse.ArgumentParser) -> None:
    for name, about in _PARTS.items():
        parser.add_argument(f"--{name}", action="store_true", help=about)
    help_text = (
        "scores that tell other data from the run's own, with ROC curves: a data set of the same shape, a file, a "
        "folder, or the data themselves spoiled by noise, inverted, flipped"
    )
    parser.add_argument("--outliers", metavar="DATA", nargs="+", default=[], help=help_text)
    help_text = "further runs on the same data, for the WAIC of outliers"
    parser.add_argument("--ensemble", metavar="RUN", nargs="+", default=[], help=help_text)
    help_text = "draws of z for information (default 1000; twice as many for aggregate)"
    parser.add_argument("-n", "--samples", type=int, default=1000, metavar="N", help=help_text)
    help_text = "the rate-distortion curve is of the first N data; 0 leaves it out (default 50, of several runs 0)"
    parser.add_argument("--curve-data", type=int, metavar="N", help=help_text)
    help_text = "of its annealed importance sampling (default 300)"
    parser.add_argument("--temperatures", type=int, default=300, metavar="T", help=help_text)
    parser.add_argument("--beta", type=float, default=5.0, metavar="B", help="where the curve ends (default 5)")
    help_text = "draws for generation, against as many data (default 2000)"
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help=help_text)
    help_text = (
        "the encoder of this run as feature space of generation, instead of a small classifier trained on the spot"
    )
    parser.add_argument("--features", metavar="RUN", help=help_text)
    help_text = "data of each kind for outliers (default 1000)"
    parser.add_argument("--outlier-data", type=int, default=1000, metavar="N", help=help_text)
    help_text = "K of the importance-sampled likelihood for outliers (default 100)"
    parser.add_argument("--importance-samples", type=int, default=100, metavar="K", help=help_text)
    help_text = "steps of the search for likelihood regret; 0 leaves it out (default 100)"
    parser.add_argument("--regret-steps", type=int, default=100, metavar="N", help=help_text)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _check(given: argparse.Namespace, parts: Sequence[str]) -> None:
    """Refuses values, and flags that nothing asked for has a use for, before anything is measured."""
    for name in ("samples", "temperatures", "draws", "outlier_data", "importance_samples"):
        positive_int(getattr(given, name), f"--{name.replace('_', '-')}")
    positive(given.beta, "--beta")
    for name in ("curve_data", "regret_steps"):
        if getattr(given, name):
            positive_int(getattr(given, name), f"--{name.replace('_', '-')}")
    idle = {
        "--ensemble": (given.ensemble, bool(given.outliers), "--outliers DATA"),
        "--features": (given.features, "generation" in parts, "--generation"),
        "--curve-data": (given.curve_data, "rate-distortion" in parts, "--rate-distortion"),
    }
    for flag, (value, used, wanted) in idle.items():
        if value and not used:
            raise ValueError(f"diagnose: {flag} is for {wanted}. Add it, or leave {flag} out.")


def _measured(diagnostics: "Diagnostics", name: str, given: argparse.Namespace, points: list[Any]) -> "Found":
    if name == "levels":
        from ..runs.by_level import by_level

        return by_level(diagnostics, min(given.samples, 100))
    if name == "information":
        return diagnostics.information(given.samples)
    if name == "aggregate":
        return diagnostics.aggregate(2 * given.samples)
    if name == "calibration":
        return diagnostics.calibration()
    if name == "generation":
        return diagnostics.generation(given.draws, _space(given))
    from dataclasses import replace

    from ..evaluation.distortion import CURVE

    data = given.curve_data if given.curve_data is not None else (50 if len(given.run) == 1 else 0)
    found, point = diagnostics.rates(data, replace(CURVE, temperatures=given.temperatures), given.beta)
    if point is not None:
        points.append(
            (diagnostics.run.folder, point, next(row for row in found.rows if row.metric == "elbo").to_dict())
        )
    return found


def _space(given: argparse.Namespace) -> Any:
    """The encoder of the run that --features names."""
    if given.features is None:
        return None
    from ..compression.header import model_digest
    from ..evaluation.features import Features

    run = open_run(given, given.features)
    name, digest = f"posterior means of {Path(given.features).resolve().name}", model_digest(run.model)[:8]
    return Features(name, digest, lambda x: run.model.encode(x)[0].flatten(1))


def _outliers(diagnostics: "Diagnostics", data: str, given: argparse.Namespace) -> "Found":
    from ..evaluation.outliers import CORRUPTIONS
    from ..runs.outlying import Hunt, corrupted_rows, outlying

    ensemble = tuple(open_run(given, path) for path in given.ensemble)
    hunt = Hunt(given.outlier_data, given.importance_samples, given.regret_steps, ensemble)
    if data in CORRUPTIONS:
        return outlying(diagnostics, data, corrupted_rows(diagnostics, data, hunt.data), hunt)
    named = argparse.Namespace(**{**vars(given), "data": data, "split": None})
    other, part = subject(diagnostics.run, named)
    return outlying(diagnostics, Path(data).stem, other.split(part), hunt)


def _plane(points: list[Any]) -> str | None:
    """All runs in one plane of rate and distortion, drawn into the folder of the first."""
    if not points:
        return None
    from .._metrics import differences
    from ..runs.diagnose import draw_rates

    folder, _, first = points[0]
    for other, _, row in points[1:]:
        if differing := differences(first, row):
            what = "; ".join(f"{one.what}: {one.first} and {one.second}" for one in differing)
            raise ValueError(
                f"diagnose: {folder.path} and {other.path} do not belong in one plane. They differ in {what}."
            )
    return str(draw_rates([point for _, point, _ in points], folder.pictures() / "diagnose_rate_distortion.png"))


class _Bar:
    """A progress bar, one for each part."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.bar = quiet, None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """While this lasts, progress is of the part of this name."""
        from tqdm import tqdm

        with tqdm(desc=name, disable=True if self.quiet else None, delay=1, leave=False) as self.bar:
            yield

    def __call__(self, done: int, total: int | None) -> None:
        assert self.bar is not None
        if done < self.bar.n:  # the next thing to be counted
            self.bar.reset()
        self.bar.total = total
        self.bar.update(done - self.bar.n)


def _tell(title: str, found: "Found") -> None:
    from ..evaluation import table

    print(f"{found.name.replace('_', ' ')}: {title}")
    for text in (table(found.rows) if found.rows else "", *found.lines):
        if text:
            print("  " + text.replace("\n", "\n  "))
    for note in found.notes:
        print(f"  not computed: {note}")
    if found.picture:
        print(f"  picture: {found.picture}")


def _document(found: "Found") -> dict[str, Any]:
    return {
        "part": found.name,
        "rows": [row.to_dict() for row in found.rows],
        "notes": list(found.notes),
        "picture": str(found.picture) if found.picture else None,
        "arrays": {name: _listed(array) for name, array in found.arrays.items()},
    }


def _listed(array: Any) -> Any:
    """The array as lists; what is not finite as text, which JSON can hold."""
    import numpy as np

    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    return [_listed(one) for one in array] if array.ndim else str(float(array))
