"""The deep table and its curves against what was expected of them, image by image where two lines saw the same ones.

Run with ``python -m reproductions.deep_compare`` after ``deep_table`` and ``deep_curves``. What was expected is written
down here beforehand; what came out otherwise is told like anything else. A difference counts where it exceeds two
standard errors of the paired differences over test images. Those say nothing of another seed of training.
"""

__all__ = ["CLAIMS", "TRENDS", "Trend", "alive", "main", "trend"]

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fourfold._files import whole

from .compare import CERTAIN, compared, pm, row_of
from .deep_page import levels_of
from .flat_page import by_entry
from .store import HOME, kept

TABLE, CURVES = "deep_table", "deep_curves"
#: (lower, higher, why): the NLL of the first is expected below that of the second.
CLAIMS = (
    ("lvae", "hvae", "equal sizes and tricks: a posterior that corrects the prior instead of a chain from below"),
    ("lvae", "hvae_plain", "the same, with warm-up and batch normalisation against neither"),
    ("hvae", "hvae_plain", "warm-up and batch normalisation"),
    ("lvae", "vae", "five levels against one"),
    ("pixel_vae", "pixel_cnn", "z tells what lies beyond the reach of as many layers"),
    ("pixel_vae", "vae_14", "pixels that see one another"),
    ("vlae", "vae_14", "pixels that see one another, though few"),
)
#: A level is alive with this many nats and at least one active unit.
NATS = 0.1


@dataclass(frozen=True)
class Trend:
    """Rates of points of a curve that are expected to fall from each to the next.

    Args:
        points: in this order.
        said: in words.
    """

    points: tuple[str, ...]
    said: str


TRENDS = (
    Trend(
        ("vlae_2x1", "vlae_4x2", "vlae_6x3", "vlae_10x5"),
        "VLAE: the rate rises as the window shrinks: the less the pixels see, the more z has to tell",
    ),
    Trend(
        ("pixel_vae_0", "pixel_vae_1", "pixel_vae_2", "pixel_vae_4"),
        "PixelVAE: the rate falls with the depth of its PixelCNN (0 is the plain VAE)",
    ),
)

_HEAD = """# The deep table: what was expected, and what came

Written by `python -m reproductions.deep_compare`; not edited by hand. Differences of NLL in nats, lower is better, ±
one standard error of the paired differences over the test images; a verdict needs two. The errors are over images, of
one training seed each, at the budgets of the table: they say nothing of longer training.
"""


def alive(name: str, home: Path = HOME) -> dict[str, Any]:
    """Rates and active units of the levels of a line, from the top, and how many of them are alive."""
    found = by_entry(kept(TABLE, home)).get(name)
    if found is None:
        return {"line": name, "verdict": f"not there yet: {name}"}
    rates, units = levels_of(found, "rate"), levels_of(found, "active_units")
    living = sum(rate >= NATS and active >= 1 for rate, active in zip(rates, units, strict=True))
    return {"line": name, "rates": rates, "active_units": units, "levels": len(rates), "alive": living}


def kept_alive(ladder: dict[str, Any], chain: dict[str, Any]) -> str:
    """Whether all levels of the first live, and fewer of the second."""
    missing = [one["line"] for one in (ladder, chain) if "alive" not in one]
    if missing:
        return f"not there yet: {', '.join(missing)}"
    if ladder["alive"] < ladder["levels"]:
        return f"not as expected: {ladder['alive']} of {ladder['levels']} levels of {ladder['line']} are alive"
    return "as expected" if chain["alive"] < chain["levels"] else f"those of {chain['line']} are all alive too"


def trend(expected: Trend, home: Path = HOME) -> dict[str, Any]:
    """The rates of the points; as expected where each is below the one before by two standard errors of both."""
    told: dict[str, Any] = {"points": list(expected.points), "expected": expected.said}
    rows = [row_of(name, "rate", home, CURVES) for name in expected.points]
    missing = [name for name, row in zip(expected.points, rows, strict=True) if row is None]
    there = [row for row in rows if row]
    values = [float(row["value"]) for row in there]
    errors = [row["standard_error"] or 0.0 for row in there]
    told |= {"rates": values, "standard_errors": errors}
    if missing:
        return {**told, "verdict": f"not there yet: {', '.join(missing)}"}
    steps = list(pairwise(zip(values, errors, strict=True)))
    falls = [before - after > CERTAIN * (e**2 + f**2) ** 0.5 for (before, e), (after, f) in steps]
    verdict = "as expected" if all(falls) else f"falls at {sum(falls)} of {len(falls)} steps"
    return {**told, "verdict": verdict}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the comparison beside the table, as Markdown and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the table")
    home = parser.parse_args(arguments).home
    claims = [{**compared(a, b, home, TABLE), "because": why} for a, b, why in CLAIMS]
    levels = [alive(name, home) for name in ("lvae", "hvae", "hvae_plain", "lvae_plain")]
    living = kept_alive(levels[0], levels[1])
    trends = [trend(one, home) for one in TRENDS]
    found = {"claims": claims, "levels": levels, "levels_verdict": living, "trends": trends}
    text = _page(found)
    for suffix, content in ((".json", json.dumps(found, indent=1) + "\n"), (".md", text)):
        with whole(home / f"deep_compare{suffix}") as file:
            file.write(content.encode())
    print(text)


def _page(found: dict[str, Any]) -> str:
    lines = [_HEAD, "## Likelihoods\n", "| expected | because of | difference | verdict |", "|---|---|---|---|"]
    for one in found["claims"]:
        lines.append(f"| {one['lower']} < {one['higher']} | {one['because']} | {pm(one)} | {one['verdict']} |")
    lines += [
        "\n## Levels\n",
        "Expected: with warm-up and batch normalisation all levels of the ladder live, and not all of the chain.",
        f"A level lives by at least {NATS} nats and one active unit. Lists are from the top level to the bottom one.",
        f"**{found['levels_verdict'].capitalize()}.**\n",
        "| line | rate per level | active units per level | alive |\n|---|---|---|---|",
    ]
    for one in found["levels"]:
        if "alive" in one:
            rates = ", ".join(f"{rate:.2f}" for rate in one["rates"])
            units = ", ".join(f"{count:.0f}" for count in one["active_units"])
            lines.append(f"| {one['line']} | {rates} | {units} | {one['alive']} of {one['levels']} |")
    lines += ["\n## Curves\n", "| expected | points | rate | verdict |", "|---|---|---|---|"]
    for one in found["trends"]:
        rates = ", ".join(f"{r:.2f} ± {e:.2f}" for r, e in zip(one["rates"], one["standard_errors"], strict=True))
        lines.append(f"| {one['expected']} | {', '.join(one['points'])} | {rates or '–'} | {one['verdict']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
