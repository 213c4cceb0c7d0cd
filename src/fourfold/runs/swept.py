"""What a sweep has found: a row for each member, a table over its seeds, a picture; read without torch."""

__all__ = ["Swept", "is_sweep", "read_sweep"]

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from .._checks import unknown
from .._metrics import metric_of, rounded
from .folder import RunFolder
from .results import Cell, Table
from .sweep_folder import SweepFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..models import Model

_KEY = re.compile(r"(validation|train)/(?P<name>[^/]+) \[(?P<unit>.+)\]$")
_USUAL = ("elbo", "rate", "distortion")
_BESIDE = " found"  # what was measured, beside an axis of the same name
_TAIL = 1 << 16  # bytes at the end of metrics.jsonl that are looked at


@dataclass(frozen=True)
class Swept:
    """Members of a sweep, each with its last numbers.

    Attributes:
        path: the folder.
        recipe: its name.
        axes: of the grid, with their values.
        rows: one for each member: its values by the names of the axes, ``seed``, ``member`` (the name of its folder),
            ``state`` (finished, frozen, unfinished or not begun), ``why``, ``step``, and the numbers of its last
            validation (of its last interval of training, where there are no validation data), by name; with " found"
            behind it where an axis has that name.
        units: of the numbers, by name.
        part: which rows the numbers are of: validation or train.
    """

    path: Path
    recipe: str
    axes: dict[str, list[Any]]
    rows: list[dict[str, Any]]
    units: dict[str, str]
    part: str

    @property
    def models(self) -> "dict[str, Model]":
        """The finished members by name, loaded as ``fourfold.load`` does."""
        from .run import load

        return {row["member"]: load(self.path / row["member"]) for row in self.rows if row["state"] == "finished"}

    @property
    def drawable(self) -> bool:
        """Whether any member is finished."""
        return any(row["state"] == "finished" for row in self.rows)

    def metrics(self, asked: Sequence[str] = ()) -> list[str]:
        """Names of numbers: those asked for, else the usual ones, and the objective where it is another than the ELBO.

        Raises:
            ValueError: for one that no member has.
        """
        for name in asked:
            if name not in self.units:
                raise ValueError(f"results: {unknown('metric', name, self.units)}")
        if asked:
            return list(asked)
        own = any(row.get("objective") != row.get("elbo") for row in self.rows)
        usual = [*(["objective"] if own else []), *_USUAL]
        return [name for one in usual for name in (one, one + _BESIDE) if name in self.units]

    @cached_property
    def groups(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Values of the axes, and the members that have them: one for each seed."""
        found: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        for row in self.rows:
            own = {name: row[name] for name in self.axes}
            found.setdefault(json.dumps(own), (own, []))[1].append(row)
        return list(found.values())

    def table(self, asked: Sequence[str] = (), sort: str | None = None) -> Table:
        """One line for each combination: mean ± standard deviation over the seeds that are finished.

        Args:
            asked: names of numbers.
            sort: by this axis or number, as it is told, the smallest first.
        """
        names = self.metrics(asked)
        if sort is not None and sort not in (*self.axes, *self.units):
            raise ValueError(f"results: {unknown('column', sort, [*self.axes, *self.units])}")
        notes: dict[str, str] = {}
        lines = []
        for own, rows in sorted(self.groups, key=lambda group: _place(group, sort)) if sort else self.groups:
            cells = [Cell(_told(value)) for value in own.values()]
            marks = "".join(_mark(f"{row['member']}: {row['why']}", notes) for row in rows if row["state"] == "frozen")
            done = [row for row in rows if row["state"] == "finished"]
            cells.append(Cell(f"{len(done)} of {len(rows)}" if len(done) < len(rows) else str(len(rows)), marks=marks))
            lines.append(
                [*cells, *(_cell([metric_of(name).sign * row[name] for row in done if name in row]) for name in names)]
            )
        head = [*self.axes, "seeds", *(f"{metric_of(name).label} [{self.units[name]}]" for name in names)]
        said = [f"{self.recipe}: {self.part}, last epoch; mean ± standard deviation over the seeds that are finished"]
        return Table(head, lines, {mark: text for text, mark in notes.items()}, said if names else [])

    def picture(self, asked: Sequence[str] = ()) -> "Figure":
        """Numbers against the first axis that has several values, a line for each combination of the others.

        Args:
            asked: names of numbers, at most four; the usual ones by default.
        """
        from ..pictures import swept

        names = self.metrics(asked)[:4]
        x = next((name for name, values in self.axes.items() if len(values) > 1), next(iter(self.axes), "seed"))
        done = [row for row in self.rows if row["state"] == "finished"]
        points: dict[str, list[tuple[Any, dict[str, float]]]] = {}
        for row in done:
            others = [
                f"{name} {_told(row[name])}" for name, values in self.axes.items() if name != x and len(values) > 1
            ]
            own = {name: metric_of(name).sign * row[name] for name in names if name in row}
            points.setdefault(", ".join(others), []).append((row[x], own))
        titles = {name: (metric_of(name).label, self.units[name]) for name in names}
        return swept(points, x, titles)

    def picture_file(self, asked: Sequence[str] = ()) -> Path:
        """The picture, in the folder of the sweep."""
        from ..pictures import save

        return save(self.picture(asked), self.path / "sweep.png")


def read_sweep(path: str | Path) -> Swept:
    """What a sweep has found so far.

    Raises:
        RunError: if the folder is none of a sweep.
    """
    home = SweepFolder(Path(path))
    record, frozen = home.record(), home.frozen()
    rows, units, parts = [], {}, set()
    for member in record["members"]:
        folder = home.member(member["name"])
        state, step = _state(folder)
        why = frozen.get(member["name"], "")
        row = {
            **member["values"],
            "member": member["name"],
            "state": "frozen" if why else state,
            "why": why,
            "step": step,
        }
        for part, name, unit, value in _last(folder):
            name = f"{name}{_BESIDE}" if name in member["values"] else name
            row[name], units[name] = value, unit
            parts.add(part)
        rows.append(row)
    part = "validation" if "validation" in parts else "train"
    return Swept(Path(path), record["recipe"], record["axes"], rows, units, part)


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (Path(path) / "sweep.json").is_file()


def _state(folder: RunFolder) -> tuple[str, int]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder.checkpoint("last"), "numpy") as file:  # type: ignore[no-untyped-call]
            state = json.loads((file.metadata() or {})["fourfold"])["state"]
        return "finished" if state["finished"] else "unfinished", int(state["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return "not begun", 0


def _last(folder: RunFolder) -> Iterator[tuple[str, str, str, float]]:
    """The last numbers of validation, or of training where there are none: part, name, unit, value."""
    file = folder.path / "metrics.jsonl"
    if not file.exists():
        return
    with file.open("rb") as held:
        held.seek(max(0, file.stat().st_size - _TAIL))
        lines = held.read().decode(errors="replace").splitlines(keepends=True)
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:  # the first, cut, or the last, torn
            continue
    with_validation = [row for row in rows if any(key.startswith("validation/") for key in row)]
    for row in (with_validation or rows)[-1:]:
        part = "validation" if with_validation else "train"
        for key, value in row.items():
            if (found := _KEY.match(key)) and found[1] == part and isinstance(value, int | float):
                yield part, found["name"], found["unit"], float(value)


def _cell(values: list[float]) -> Cell:
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return Cell()
    value, error = rounded(fmean(finite), stdev(finite) if len(finite) > 1 else None)
    return Cell(value.replace("-", "−"), error)


def _told(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else ",".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )


def _mark(text: str, notes: dict[str, str]) -> str:
    if text not in notes:
        rank, place = divmod(len(notes), 26)
        notes[text] = chr(ord("a") + place) * (rank + 1)
    return notes[text]


def _place(group: tuple[dict[str, Any], list[dict[str, Any]]], sort: str) -> tuple[int, Any]:
    own, rows = group
    if sort in own:
        return (0, own[sort]) if isinstance(own[sort], int | float) else (1, str(own[sort]))
    values = [metric_of(sort).sign * row[sort] for row in rows if sort in row and row["state"] == "finished"]
    return (0, fmean(values)) if values else (2, 0)
