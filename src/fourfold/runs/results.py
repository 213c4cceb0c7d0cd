"""What many runs have found, collected: from their JSON alone, without a model or the libraries that make one."""

__all__ = ["Cell", "Found", "Table", "collect", "long_form", "tabulate"]

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from typing import Any

from .._checks import unknown
from .._metrics import described, differences, metric_of, rounded, shared
from .folder import RunError, RunFolder

_Row = Mapping[str, Any]

#: The columns that a table has unless others are asked for.
_FACTS = ("run", "recipe", "data", "seed", "steps", "parameters")
_USUAL = ("elbo", "nll_is", "perplexity", "perplexity_is", "rate", "active_units", "reconstruction_mse")
_WHOLE_ROW = ("metric", "value", "standard_error", "unit", "estimator", "n", "non_finite")
_MARKS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Found:
    """A run folder and what is in it.

    Attributes:
        path: the folder.
        facts: what is known of the run, by name: run, recipe, data, seed, steps, parameters, minutes, and then every
            argument of its recipe and option of its training.
        rows: its results, as in ``results.json``; the oldest first.
        remarks: what is unfinished about it.
    """

    path: Path
    facts: dict[str, Any]
    rows: list[_Row]
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: a text, the error beside it, and the letters of its notes."""

    text: str = "–"
    error: str = ""
    marks: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells, in lines, with what belongs beneath them.

    Attributes:
        head: of the columns.
        lines: of cells, one for each column.
        notes: by letter: in what a number differs from the others of its column.
        protocols: what the numbers are of, column by column.
    """

    head: list[str]
    lines: list[list[Cell]]
    notes: dict[str, str] = field(default_factory=dict)
    protocols: list[str] = field(default_factory=list)


def collect(folders: Sequence[str | Path]) -> tuple[list[Found], list[str]]:
    """All runs in and under the folders, and what is wrong with those that cannot be read.

    Raises:
        ValueError: for a folder that is not there.
    """
    found, problems, seen = [], [], set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"results: there is no folder {folder}. Name one that holds runs.")
        for path in _run_folders(folder, seen):
            try:
                found.append(_read(RunFolder(path)))
            except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
                text = str(error) if isinstance(error, RunError) else f"{path}: not the folder of a run ({error!r})."
                problems.append(text)
    return found, problems


def tabulate(
    found: Sequence[Found], metrics: Sequence[str] = (), columns: Sequence[str] = (), sort: str | None = None
) -> Table:
    """One line a run, one column a metric; what is not of its column's protocol is marked, and a note says why.

    A column's protocol is that of most of its runs; where the table tells the data, of most of the runs on these data.
    Of a run's rows of one metric the one of that protocol is shown, else its newest.

    Args:
        found: the runs.
        metrics: the columns of numbers; the usual ones by default.
        columns: what else is told of each run.
        sort: a column to sort by, the best or the smallest first; by default runs stand in their order.

    Raises:
        ValueError: for a column that no run has.
    """
    there = {row["metric"] for one in found for row in one.rows}
    known = {name for one in found for name in one.facts}
    metrics = list(metrics) or [name for name in _USUAL if name in there]
    columns = list(columns) or list(_FACTS)
    for name in metrics:
        if name not in there:
            raise ValueError(f"results: {unknown('metric', name, there)}")
    for name in (*columns, *([sort] if sort else [])):
        if name not in known and not (name == sort and name in there):
            raise ValueError(f"results: {unknown('column', name, known)}")
    usual = {name: _usual(found, name, "data" in columns) for name in {*metrics, *([sort] if sort in there else [])}}
    if sort:
        found = sorted(found, key=lambda one: _place(one, sort, usual))
    notes: dict[str, str] = {}
    lines = [[*_facts(one, columns, notes), *_numbers(one, metrics, usual, notes)] for one in found]
    head = [*columns, *(_headed(next(iter(usual[name].values()))) for name in metrics)]
    return Table(head, lines, {mark: text for text, mark in notes.items()}, _protocols(metrics, usual))


def long_form(found: Sequence[Found], metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One entry a number, with its whole protocol, all of one set of keys; the newest of each protocol."""
    entries = []
    for one in found:
        for row in one.rows:
            if not metrics or row["metric"] in metrics:
                entries.append({"run": str(one.path), **{key: row[key] for key in _WHOLE_ROW}, **row["protocol"]})
    keys = dict.fromkeys(key for entry in entries for key in entry)
    return [{key: entry.get(key) for key in keys} for entry in entries]


def _run_folders(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Folders that are runs, or were meant to be, in the order that people count in."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    if any((folder / name).exists() for name in ("run.json", "metrics.jsonl", "checkpoints")):
        yield folder
        return
    below = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    for child in sorted(below, key=lambda path: _counted(path.name)):
        yield from _run_folders(child, seen)


def _counted(text: str) -> list[tuple[int, int | str]]:
    """A key by which vae-2 comes before vae-10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]


def _read(folder: RunFolder) -> Found:
    record, rows = folder.record(), folder.results()
    state, remarks = _state(folder), []
    if state is None:
        remarks.append("has no checkpoint yet")
    elif not state.get("finished", True):
        remarks.append(f"stopped at step {state['step']:,}, unfinished")
    if not rows:
        remarks.append("not evaluated yet")
    for row in rows:
        float(row["value"])  # which may be the text "inf"
    steps = state["step"] if state else None
    facts = {
        "run": str(folder.path),
        "recipe": record["recipe"]["recipe"] or "built by hand",
        "data": record["data"]["protocol"]["dataset"],
        "seed": record["training"].get("seed"),
        "steps": steps,
        "parameters": record.get("parameters"),
        "minutes": None if state is None else round(float(state.get("seconds", 0)) / 60, 1),
    }
    more = {**record["recipe"]["arguments"], **record["training"]}
    return Found(folder.path, {**more, **facts}, _newest(rows), remarks)


def _state(folder: RunFolder) -> dict[str, Any] | None:
    """Where training stands, from the header of the last checkpoint; ``None`` where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder.checkpoint("last"), "numpy") as file:  # type: ignore[no-untyped-call]
            return json.loads((file.metadata() or {})["fourfold"])["state"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _newest(rows: Sequence[_Row]) -> list[_Row]:
    """The last row of each metric and protocol."""
    kept: list[_Row] = []
    for row in reversed(rows):
        if not any(_same(row, other) for other in kept):
            kept.insert(0, row)
    return kept


def _same(row: _Row, other: _Row) -> bool:
    said, also = row["protocol"].get("checkpoint"), other["protocol"].get("checkpoint")
    return said == also and not differences(row, other)


def _usual(found: Sequence[Found], metric: str, by_data: bool) -> dict[Any, _Row]:
    """For each data set (or for all) a row of the protocol that most runs have; of equals, test data and then most."""
    votes: dict[Any, Counter[str]] = {}
    newest: dict[Any, dict[str, _Row]] = {}
    for one in found:
        data = one.facts["data"] if by_data else None
        rows = {json.dumps(shared(row)): row for row in one.rows if row["metric"] == metric}
        votes.setdefault(data, Counter()).update(rows.keys())
        newest.setdefault(data, {}).update(rows)

    def rank(data: Any, key: str) -> tuple[int, bool, int]:
        row = newest[data][key]
        return votes[data][key], row["protocol"].get("data_part") == "test", row["n"]

    return {data: rows[max(rows, key=lambda key, of=data: rank(of, key))] for data, rows in newest.items() if rows}


def _shown(one: Found, metric: str, usual: Mapping[Any, _Row]) -> tuple[_Row, str] | None:
    """The row of a run that a column shows, and in what it differs from the column's protocol."""
    rows = [row for row in one.rows if row["metric"] == metric]
    if not rows:
        return None
    wanted = usual[one.facts["data"] if one.facts["data"] in usual else None]
    row = next((row for row in reversed(rows) if not differences(wanted, row)), rows[-1])
    return row, "; ".join(
        f"{what} {_worded(own)}, not {_worded(others)}" for what, others, own in differences(wanted, row)
    )


def _headed(row: _Row) -> str:
    return metric_of(row["metric"]).label + (f" [{row['unit']}]" if row["unit"] not in ("", "units") else "")


def _protocols(metrics: Sequence[str], usual: Mapping[str, Mapping[Any, _Row]]) -> list[str]:
    """What the columns are of; columns of one protocol share a line."""
    told: dict[str, tuple[_Row, list[str]]] = {}
    for name in metrics:
        for row in usual[name].values():
            told.setdefault(described(row, "those"), (row, []))[1].append(metric_of(name).label)
    return [described(row, ", ".join(labels)) for row, labels in told.values()]


def _worded(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _place(one: Found, sort: str, usual: Mapping[str, Mapping[Any, _Row]]) -> tuple[bool, Any]:
    """Where a run stands among others: what it does not have comes last."""
    if sort in usual:
        shown = _shown(one, sort, usual[sort])
        value = nan if shown is None else metric_of(sort).sign * float(shown[0]["value"])
        return isnan(value), value
    value = one.facts.get(sort)
    return value is None, [(0, value)] if isinstance(value, int | float) else _counted(str(value))


def _facts(one: Found, columns: Sequence[str], notes: dict[str, str]) -> list[Cell]:
    cells = []
    for i, name in enumerate(columns):
        value = one.facts.get(name)
        text = "–" if value is None else _worded(value) if name in ("steps", "parameters") else str(value)
        cells.append(Cell(text, marks="".join(_mark(text, notes) for text in one.remarks) if i == 0 else ""))
    return cells


def _numbers(
    one: Found, metrics: Sequence[str], usual: Mapping[str, Mapping[Any, _Row]], notes: dict[str, str]
) -> list[Cell]:
    cells = []
    for name in metrics:
        shown = _shown(one, name, usual[name])
        if shown is None:
            cells.append(Cell())
            continue
        row, apart = shown
        value, error = rounded(metric_of(name).sign * float(row["value"]), row["standard_error"])
        marks = _mark(apart, notes) if apart else ""
        marks += _mark(f"{row['non_finite']:,} of {row['n']:,} not finite", notes) if row["non_finite"] else ""
        cells.append(Cell(value.replace("-", "−"), error, marks))
    return cells


def _mark(text: str, notes: dict[str, str]) -> str:
    """The letter of a note; notes of one text share it."""
    if text not in notes:
        rank, place = divmod(len(notes), len(_MARKS))
        notes[text] = _MARKS[place] * (rank + 1)
    return notes[text]
