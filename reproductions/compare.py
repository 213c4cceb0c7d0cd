"""The lines of the flat table set against one another, image by image: paired differences and promised rates.

Run with ``python -m reproductions.compare`` after ``python -m reproductions.flat_table``. What was expected is written
down here beforehand; an order that comes out otherwise is told like any other. A difference counts where it exceeds two
standard errors of the paired differences. Those are errors over test images: another seed of training moves a
line too, and nothing here says by how much.
"""

__all__ = ["CLAIMS", "PROMISES", "Promise", "compared", "main", "pm", "promised", "row_of"]

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourfold._files import whole
from fourfold.evaluation import paired

from .flat_table import NAME, PLAN
from .store import HOME, arrays_of, kept

#: (lower, higher, why): the NLL of the first is expected below that of the second.
CLAIMS = (
    ("iwae50", "iwae5", "a tighter bound"),
    ("iwae5", "vae", "a tighter bound"),
    ("af_prior_vae", "vae", "a richer prior"),
    ("vamp_vae", "vae", "a richer prior"),
    ("iaf_vae", "vae", "a richer posterior"),
)
CERTAIN = 2.0  # standard errors


@dataclass(frozen=True)
class Promise:
    """What a recipe says of its mean rate: from its arguments the wanted rate, and how far from it counts as kept.

    Args:
        wanted: arguments of the recipe to nats.
        below: nats by which the mean rate may fall short.
        above: nats by which it may exceed; ``None``: as much as it likes.
        said: the promise in words.
    """

    wanted: Callable[[dict[str, Any]], float]
    below: float
    above: float | None
    said: str


PROMISES = {
    "free_bits_vae": Promise(
        lambda given: given["nats"] * given["latent"], 0.5, None, "λ nats for each latent on average, or more"
    ),
    "delta_vae": Promise(lambda given: given["rate"], 0.0, None, "δ nats or more"),
    "capacity_vae": Promise(lambda given: given["capacity"], 0.5, 0.5, "the rate within half a nat of C at the end"),
}

_HEAD = """# The flat table, image by image

Written by `python -m reproductions.compare`; not edited by hand. Differences of NLL in nats, lower is better, ± one
standard error of the paired differences over the test images; a verdict needs two. The errors are over
images, of one training seed each: another seed moves a line as well.
"""


def compared(lower: str, higher: str, home: Path = HOME, table: str = NAME) -> dict[str, Any]:
    """NLL(lower) − NLL(higher) over the images of both, with a verdict.

    Raises:
        ValueError: if the two were not measured on the same binarised images.
    """
    rows = {name: row_of(name, "nll_is", home, table) for name in (lower, higher)}
    missing = [name for name, row in rows.items() if row is None]
    told: dict[str, Any] = {"lower": lower, "higher": higher}
    if missing:
        return {**told, "verdict": f"not there yet: {', '.join(missing)}"}
    seen = [[row["protocol"]["images"], row["estimator"]] for row in rows.values() if row]
    estimators = {how for _, how in seen if not how.startswith("exact")}  # what is exact goes with any estimate
    if len({images for images, _ in seen}) > 1 or len(estimators) > 1:
        raise ValueError(f"compare: {lower} and {higher} were not measured alike on the same images: {seen}.")
    found = paired(_nll(lower, home, table), _nll(higher, home, table))
    mean, error = found.difference, found.standard_error
    if error is None:
        return {**told, "verdict": "an NLL is not finite", "n": found.n}
    verdict = "not told apart"
    if abs(mean) > CERTAIN * error:
        verdict = "as expected" if mean < 0 else "the other way round"
    return {**told, "difference": mean, "standard_error": error, "n": found.n, "verdict": verdict}


def promised(name: str, promise: Promise, home: Path = HOME) -> dict[str, Any]:
    """The mean test rate of a recipe beside what it promised."""
    row = row_of(name, "rate", home)
    if row is None:
        return {"recipe": name, "promise": promise.said, "verdict": "not there yet"}
    wanted = promise.wanted(row["protocol"]["arguments"])
    rate, error = float(row["value"]), row["standard_error"] or 0.0
    above = float("inf") if promise.above is None else promise.above
    keeps = wanted - promise.below <= rate <= wanted + above
    return {
        "recipe": name,
        "promise": promise.said,
        "wanted": wanted,
        "rate": rate,
        "standard_error": error,
        "n": row["n"],
        "verdict": "kept" if keeps else "not kept",
    }


def row_of(name: str, metric: str, home: Path = HOME, table: str = NAME) -> dict[str, Any] | None:
    """The row of this metric in a line of the table; ``None`` where there is none."""
    rows = (row for row in kept(table, home) if row["protocol"]["entry"] == name and row["metric"] == metric)
    return next(rows, None)


def _nll(name: str, home: Path, table: str) -> np.ndarray:
    with np.load(arrays_of(table, name, home)) as arrays:
        return arrays["nll_is"].astype(np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the comparison beside the table, as Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the table")
    home = parser.parse_args(arguments).home
    claims = [{**compared(a, b, home), "because": why} for a, b, why in CLAIMS]
    promises = [promised(name, promise, home) for name, promise in PROMISES.items()]
    others = [name for name in PLAN if name != "vae" and row_of(name, "nll_is", home)]
    against = [compared(name, "vae", home) for name in others] if row_of("vae", "nll_is", home) else []
    against.sort(key=lambda one: one.get("difference", float("inf")))
    text = _page(claims, promises, against)
    found = {"claims": claims, "promises": promises, "against_vae": [_plainly(one) for one in against]}
    home.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".json", json.dumps(found, indent=1) + "\n"), (".md", text)):
        with whole(home / f"flat_compare{suffix}") as file:
            file.write(content.encode())
    print(text)


def _plainly(one: dict[str, Any]) -> dict[str, Any]:
    """Without the verdict: nothing was expected."""
    return {key: value for key, value in one.items() if key != "verdict"}


def _page(claims: list[dict[str, Any]], promises: list[dict[str, Any]], against: list[dict[str, Any]]) -> str:
    lines = [_HEAD, "## What was expected\n", "| expected | because of | difference | verdict |", "|---|---|---|---|"]
    for one in claims:
        lines.append(f"| {one['lower']} < {one['higher']} | {one['because']} | {pm(one)} | {one['verdict']} |")
    lines += ["\n## Promised rates\n", "| recipe | promise | wanted | rate | verdict |", "|---|---|---|---|---|"]
    for one in promises:
        wanted = f"{one['wanted']:.2f}" if "wanted" in one else "–"
        rate = f"{one['rate']:.2f} ± {one['standard_error']:.2f}" if "rate" in one else "–"
        lines.append(f"| {one['recipe']} | {one['promise']} | {wanted} | {rate} | {one['verdict']} |")
    if against:
        lines += ["\n## All against the VAE\n", "| recipe | NLL − that of vae |", "|---|---|"]
        lines += [f"| {one['lower']} | {pm(one)} |" for one in against]
    return "\n".join(lines) + "\n"


def pm(one: dict[str, Any]) -> str:
    """The difference and its error, or a dash."""
    return f"{one['difference']:+.3f} ± {one['standard_error']:.3f}" if "difference" in one else "–"


if __name__ == "__main__":
    main()
