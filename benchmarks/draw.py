"""The pictures of docs/benchmarks.md, drawn from the newest result file of each kind: `python -m benchmarks.draw`.

A kind of which there is no file is left out, and said so; so are trials.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import HERE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURES", "draw", "main", "newest"]

_BASES = ("pythae", "naive repeat", "plain", "all draws at once", "floor")
_OURS, _FLOOR, _OTHERS = "#1f5fa8", "#c9ced6", "#c8a15a"
_COLOURS = (
    "#1f5fa8",
    "#6fa3d8",
    "#2f8f6b",
    "#c8553d",
    "#b8860b",
    "#8a5fb0",
    "#4aa3a2",
    "#777e88",
    "#d98fb0",
    "#a7c957",
    "#5b3a29",
    "#e0a458",
    "#c9ced6",
)


def newest(folder: Path, kind: str) -> dict[str, Any] | None:
    """The last result of a kind that is no trial; tables that it has not are taken from the last one that has them."""
    newest: dict[str, Any] | None = None
    for path in sorted(folder.glob(f"*-{kind}.json"), reverse=True):
        found = json.loads(path.read_text())
        if found.get("trial"):
            continue
        newest = newest or found
        if "tables" in found:
            newest["tables"] = {**found["tables"], **newest["tables"]}
    return newest


def draw(folder: Path, out: Path) -> list[Path]:
    """All pictures that there are results for."""
    made = []
    out.mkdir(parents=True, exist_ok=True)
    for kind, (name, picture) in PICTURES.items():
        found = newest(folder, kind)
        if found is None:
            print(f"{name}: no result of {kind} in {folder}")
            continue
        path = out / name
        picture(found, path)
        print(path)
        made.append(path)
    return made


def _races(found: dict[str, Any], path: Path) -> None:
    """One panel a table: speed beside the peer's, with the interval."""
    from fourfold.pictures.figures import blank, save

    tables = {title: rows for title, rows in found["tables"].items() if any(row["median"] for row in rows)}
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    tall = max(sum(row["median"] is not None for row in rows) for rows in tables.values())
    figure = blank(5.2 * columns, lines * (0.9 + 0.24 * tall))
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (title, rows) in zip(grid, tables.items(), strict=False):
        _bars(axes, title, rows)
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    save(figure, path)


def _bars(axes: Axes, title: str, rows: Sequence[dict[str, Any]]) -> None:
    from fourfold.pictures.figures import INK, SMALL, tidy

    there = [row for row in rows if row["median"] is not None]
    base = next(name for name in _BASES if any(row["name"] == name for row in there))
    for place, row in enumerate(reversed(there)):
        ratio = row["speedup"].get(base)
        if ratio is None:
            continue
        name, value = row["name"], ratio["value"]
        ours = name.startswith(("fourfold", "one backward"))
        axes.barh(place, value, color=_OURS if ours else _FLOOR if "floor" in name or "hand" in name else _OTHERS)
        axes.plot([ratio["low"], ratio["high"]], [place, place], color=INK, linewidth=0.8)
        axes.text(ratio["high"], place, f" {value:.2f}", va="center", fontsize=SMALL, color=INK)
    tidy(axes, title, f"speed, {base} = 1", "")
    axes.set_yticks(range(len(there)), [row["name"] for row in reversed(there)])
    axes.set_xlim(0, 1.15 * axes.get_xlim()[1])
    axes.grid(False, axis="y")


def _curves(found: dict[str, Any], path: Path) -> None:
    """Test −ELBO over seconds of training."""
    from fourfold.pictures.figures import GREY, SMALL, blank, save, tidy

    figure = blank(7, 4)
    axes = figure.subplots()
    for colour, (name, one) in zip(_COLOURS, found["contest"].items(), strict=False):
        if one["curve"]:
            points = [(p["seconds"], p["nats"]) for p in one["curve"]]
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", markersize=2.5, linewidth=1.2)
    axes.axhline(found["target"], color=GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(found["target"] - 2, found["target"] + 30)
    axes.legend(fontsize=SMALL, frameon=False)
    tidy(axes, "Time to quality: MNIST, 784-200-200-50", "seconds of training", "test −ELBO (nats)")
    save(figure, path)


def _budget(found: dict[str, Any], path: Path) -> None:
    """Where a step's time goes."""
    from fourfold.pictures.figures import SMALL, blank, save, tidy

    modes = found["modes"]
    parts = list(dict.fromkeys(p for one in modes.values() for p in one["parts"] if p != "the whole step"))
    figure = blank(10, max(0.9 + 0.5 * len(modes), 0.4 + 0.19 * len(parts)))
    axes = figure.subplots()
    left = [0.0] * len(modes)
    for number, part in enumerate(parts):
        widths = [one["parts"].get(part, 0.0) for one in modes.values()]
        axes.barh(range(len(modes)), widths, left=left, color=_COLOURS[number % len(_COLOURS)], label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    tidy(axes, f"One step at batch {found['batch']}", "µs", "")
    axes.set_yticks(range(len(modes)), list(modes))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    figure.legend(fontsize=SMALL, frameon=False, loc="outside right upper")
    save(figure, path)


def _memory(found: dict[str, Any], path: Path) -> None:
    """Peaks of training above torch."""
    from fourfold.pictures.figures import GREY, INK, SMALL, blank, save, tidy

    peaks = {k: v for k, v in found["above_torch_mib"].items() if not isinstance(v, str) and k != "import torch"}
    figure = blank(7, 0.9 + 0.3 * len(peaks))
    axes = figure.subplots()
    for place, value in enumerate(peaks.values()):
        axes.barh(place, value, color=_OURS)
        axes.text(value, place, f" {value:.0f}", va="center", fontsize=SMALL, color=INK)
    axes.axvline(found["limit_mib"], color=GREY, linewidth=0.8, linestyle=":")
    axes.text(found["limit_mib"], -0.45, " goal", fontsize=SMALL, color=GREY)
    axes.set_xlim(0, 1.12 * found["limit_mib"])
    tidy(axes, f"Peak memory of training on {found['data']}", "MiB above an interpreter with torch", "")
    axes.set_yticks(range(len(peaks)), list(peaks))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    save(figure, path)


def _streaming(found: dict[str, Any], path: Path) -> None:
    """Speed and anonymous memory over the size of the data."""
    from fourfold.pictures.figures import SMALL, blank, save, tidy

    figure = blank(9, 3)
    left, right = figure.subplots(1, 2)
    kinds = list(dict.fromkeys((row["what"], row["shuffle"]) for row in found["rows"]))
    for colour, kind in zip(_COLOURS, kinds, strict=False):
        rows = [row for row in found["rows"] if (row["what"], row["shuffle"]) == kind]
        size = [row["gigabytes"] for row in rows]
        style: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3, "label": ", ".join(kind)}
        left.plot(size, [row["images_per_second"] for row in rows], **style)
        right.plot(size, [row["RssAnon_peak_MiB"] for row in rows], **style)
    tidy(left, "Images a second", "GB of shards", "")
    tidy(right, "Most anonymous memory (MiB)", "GB of shards", "")
    places = sorted({row["gigabytes"] for row in found["rows"]})
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:.0f}" for place in places], minor=False)
        axes.set_xticks([], minor=True)
    left.set_yscale("log")
    right.set_ylim(bottom=0)
    right.legend(fontsize=SMALL, frameon=False)
    save(figure, path)


#: Kind of result → file of its picture, and who draws it.
PICTURES: dict[str, tuple[str, Callable[[dict[str, Any], Path], None]]] = {
    "training": ("benchmark_training.png", _races),
    "evaluation": ("benchmark_evaluation.png", _races),
    "profile": ("benchmark_budget.png", _budget),
    "quality": ("benchmark_quality.png", _curves),
    "memory": ("benchmark_memory.png", _memory),
    "streaming": ("benchmark_streaming.png", _streaming),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "pictures")
    options = parser.parse_args(arguments)
    draw(options.results, options.out)


if __name__ == "__main__":
    main()
