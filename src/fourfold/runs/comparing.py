"""Runs set against one another on the same data, datum by datum; or recipes, over several seeds of training each."""

__all__ = ["Compared", "Side", "compare"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._metrics import described, differences, metric_of, rounded
from ..evaluation import Comparison, EvaluationOptions, Progress, every_pair, unpaired
from .run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Found = tuple[dict[str, Any], np.ndarray]

# What decides the numbers of a metric; of any other, how many draws of z.
_BUDGETS = {"nll_is": ("importance_samples", "importance_data"), "nll_mc": ("prior_samples", "importance_data")}
_USUAL = EvaluationOptions()
# A row may stand for this run on these data if it says of these what the run says now.
_OF_THE_DATA = ("dataset", "split", "split_seed", "data_part", "binarize", "dequantize", "condition", "seed")
_NOW = (*_OF_THE_DATA, "checkpoint", "steps")
# Two runs of one recipe may differ in these options of training.
_OF_A_MACHINE = ("seed", "devices", "accelerator", "workers", "quiet", "log_steps", "checkpoint_seconds")


@dataclass(frozen=True, slots=True)
class Side:
    """A run, or several of one recipe with different seeds, in a comparison.

    Attributes:
        name: what it is called.
        rows: of each run the row of its results, as in ``results.json``.
        numbers: of each datum, ``(N,)``: those of the run, or the mean over the runs.
    """

    name: str
    rows: tuple[dict[str, Any], ...]
    numbers: np.ndarray


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing runs.

    Attributes:
        metric: what was compared.
        sides: the runs, or the two groups of runs.
        pairs: of each pair of sides, by their numbers, the comparison; differences are in the metric's own sign.
        remarks: how far to trust it.
    """

    metric: str
    sides: tuple[Side, ...]
    pairs: Mapping[tuple[int, int], Comparison]
    remarks: tuple[str, ...]

    @property
    def row(self) -> dict[str, Any]:
        """A row of the results that were compared: they share their protocol."""
        return self.sides[0].rows[0]

    @property
    def title(self) -> str:
        """What was compared, of which data, and how it was estimated."""
        return described(self.row)

    def verdict(self, pair: tuple[int, int] = (0, 1)) -> str:
        """The answer of one pair in one sentence."""
        i, j = pair
        return self.pairs[pair].verdict((self.sides[i].name, self.sides[j].name), self.row["unit"])

    def values(self) -> list[tuple[str, str]]:
        """Every run and its value, as text."""
        sign, unit, told = metric_of(self.metric).sign, self.row["unit"], []
        for side in self.sides:
            for row in side.rows:
                value, error = rounded(sign * float(row["value"]), row["standard_error"])
                name = side.name if len(side.rows) == 1 else f"{side.name}, seed {row['protocol']['training_seed']}"
                told.append((name, f"{value} ± {error} {unit}" if error else f"{value} {unit}"))
        return told

    def __str__(self) -> str:
        lines = [self.title, *(f"  {name}: {value}" for name, value in self.values())]
        return "\n".join([*lines, *map(self.verdict, self.pairs), *self.remarks])

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        sides = [{"name": side.name, "rows": list(side.rows)} for side in self.sides]
        names = [side.name for side in self.sides]
        pairs = [
            {"a": names[i], "b": names[j], **found.to_dict(), "verdict": self.verdict((i, j))}
            for (i, j), found in self.pairs.items()
        ]
        return {"metric": self.metric, "sides": sides, "pairs": pairs, "remarks": list(self.remarks)}

    def picture(self) -> "Figure":
        """Differences with their intervals, and how they are spread over the data.

        Raises:
            ValueError: for numbers that are not finite.
        """
        from ..pictures import paired_differences

        lines = []
        for (i, j), found in self.pairs.items():
            numbers = self.sides[i].numbers - self.sides[j].numbers
            numbers = -numbers if found.better == "lower" else numbers
            name = f"{self.sides[i].name} over {self.sides[j].name}"
            lines.append((name, numbers, found.advantage_interval or (np.nan, np.nan)))
        word = "better" if metric_of(self.metric).better else "higher"
        return paired_differences(lines, f"first {word} by [{self.row['unit']}]", self.title)


def compare(
    *runs: Run | str | Path,
    against: Sequence[Run | str | Path] = (),
    metric: str = "elbo",
    split: str = "test",
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Compared:
    """Sets runs against one another on the same data with the same binarisation, datum by datum.

    What a run has measured already is taken from its folder, if it kept the numbers of each datum; what it has not is
    measured now, as the others were or as the options say, and kept.

    Args:
        runs: at least two, as folders or as runs.
        against: more runs. Then ``runs`` are of one recipe with different seeds of training, these of another, and the
            means of both are compared with an error over seeds.
        metric: ``"elbo"``, ``"nll_is"``, ``"nll_mc"``, ``"rate"``, ``"distortion"`` …
        split: which part of the data.
        seed: of binarisation and draws, and of the bootstrap.
        progress: told (done, total) data where something is measured.
        options: the budget: ``draws=…``; for an NLL ``importance_samples=…`` (or ``prior_samples``) and
            ``importance_data``.

    Raises:
        ValueError: runs that were not measured alike, with what differs; or that cannot be.

    Example:
        >>> import tempfile, fourfold as ff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train = lambda latent: ff.fit(
        ...         ff.recipes.vae(latent=latent), ff.data.digits(), epochs=1, out=f"{folder}/{latent}", quiet=True
        ...     )
        ...     found = ff.compare(train(2), train(5))
        >>> len(found.pairs), found.sides[0].name
        (1, '2')
    """
    groups = [[run if isinstance(run, Run) else Run.open(run) for run in group] for group in (runs, against) if group]
    _check_given(groups, bool(against))
    opened = [run for group in groups for run in group]
    found = _numbers(opened, metric, (split, seed), _budget(metric, options), progress)
    _check_alike(opened, [row for row, _ in found])
    versions = sorted({row["protocol"]["fourfold"] for row, _ in found})
    remarks = [f"measured by different versions of fourfold: {', '.join(versions)}"] if len(versions) > 1 else []
    better = metric_of(metric).better
    if against:
        sides = _groups(groups, found)
        means = [[float(row["value"]) for row in side.rows] for side in sides]
        remarks.append("errors are over seeds of training; the data are the same for all")
        return Compared(metric, sides, {(0, 1): unpaired(*means, better=better)}, tuple(remarks))
    sides = tuple(Side(name, (row,), numbers) for name, (row, numbers) in zip(_names(opened), found, strict=True))
    pairs = every_pair([side.numbers for side in sides], better=better, seed=seed)
    if len(pairs) > 1:
        remarks.append(f"p-values are adjusted for {len(pairs)} pairs (Holm); intervals are of each pair by itself")
    remarks.append(f"errors are over {split} data, of one seed of training each: another seed moves a run as well")
    return Compared(metric, sides, pairs, tuple(remarks))


def _budget(metric: str, options: dict[str, Any]) -> dict[str, Any] | None:
    """The whole budget that options name, or ``None`` where they name none."""
    names = _budget_of(metric)
    if foreign := [name for name in options if name not in names]:
        raise ValueError(f"compare: {foreign[0]} is no budget of {metric}, which takes {' and '.join(names)}.")
    return {name: options.get(name, getattr(_USUAL, name)) for name in names} if options else None


def _numbers(
    runs: list[Run], metric: str, where: tuple[str, int], wanted: dict[str, Any] | None, progress: Progress | None
) -> list[_Found]:
    """A row and its numbers for each run: those that all have kept alike, or with the budget that is wanted."""
    kept = [list(_kept(run, metric, *where)) for run in runs]
    if wanted is None:
        if alike := _alike(kept):
            return alike
        if all(kept):
            return [some[0] for some in kept]  # they differ, and it will be said in what
        wanted = next(filter(None, (_asked(row, metric) for some in kept for row, _ in some)), None)
        wanted = wanted or {name: getattr(_USUAL, name) for name in _budget_of(metric)}
    if metric in _BUDGETS and not wanted[_BUDGETS[metric][0]]:
        flag = _BUDGETS[metric][0]
        raise ValueError(
            f"compare: no run has kept the {metric_of(metric).label} of each datum. Say how to measure it: "
            f"{flag}=5000, or --{flag.replace('_', '-')} 5000, and of how many data."
        )
    found = [next((one for one in some if _asked(one[0], metric) == wanted), None) for some in kept]
    return [one or _measured(run, metric, where, wanted, progress) for run, one in zip(runs, found, strict=True)]


def _kept(run: Run, metric: str, split: str, seed: int) -> Iterator[_Found]:
    """The rows of this metric whose numbers are there, of the model as it is now, the newest first."""
    now = run.protocol(split, seed)
    for row in reversed(run.folder.results()):
        said = row["protocol"]
        if row["metric"] == metric and all(said.get(key) == now.get(key) for key in _NOW):
            numbers = run.folder.per_datum(row)
            if numbers is not None:
                yield row, numbers


def _alike(kept: list[list[_Found]]) -> list[_Found] | None:
    """One row of each run such that all were measured alike."""
    for one in kept[0]:
        others = [next((other for other in some if not differences(one[0], other[0])), None) for some in kept[1:]]
        if None not in others:
            return [one, *(other for other in others if other)]
    return None


def _asked(row: dict[str, Any], metric: str) -> dict[str, Any] | None:
    """The budget of a row of ``evaluate``; ``None`` of another command's, which ``evaluate`` cannot measure again."""
    asked = row["protocol"].get("options")
    if asked is None or asked.keys() - {one.name for one in fields(EvaluationOptions)}:
        return None
    return {name: asked.get(name, getattr(_USUAL, name)) for name in _budget_of(metric)}


def _budget_of(metric: str) -> tuple[str, ...]:
    return _BUDGETS.get(metric, ("draws",))


def _measured(
    run: Run, metric: str, where: tuple[str, int], budget: dict[str, Any], progress: Progress | None
) -> _Found:
    found = run.evaluate(where[0], seed=where[1], progress=progress, **budget)
    row = next((row for row in found.rows if row.metric == metric), None)
    if row is None or metric not in found.per_datum:
        notes = "".join(f" {note}." for note in found.notes)
        raise ValueError(
            f"compare: {run.path} has no {metric} of each datum. It has {', '.join(found.per_datum)}.{notes}"
        )
    return row.to_dict(), found.per_datum[metric]


def _check_given(groups: list[list[Run]], against: bool) -> None:
    """Refuses too few runs, one run twice, and groups that are more than one recipe with several seeds."""
    if against and min(map(len, groups)) < 2:
        raise ValueError(
            f"compare: --against wants at least two runs on each side, got {' and '.join(str(len(g)) for g in groups)}."
            " Two single runs are compared without it."
        )
    paths = [run.folder.path.resolve() for group in groups for run in group]
    if len(paths) < 2:
        raise ValueError(f"compare: wanted at least two runs, got {len(paths)}.")
    if twice := [path for i, path in enumerate(paths) if path in paths[:i]]:
        raise ValueError(f"compare: {twice[0].name} is given twice.")
    for group in groups if against else ():
        first, *others = (_training(run) for run in group)
        for run, other in zip(group[1:], others, strict=True):
            if other != first:
                key = next(key for key in {**first, **other} if first.get(key) != other.get(key))
                raise ValueError(
                    f"compare: {group[0].path} and {run.path} are not one recipe with two seeds: {key} is "
                    f"{first.get(key)} and {other.get(key)}."
                )
        seeds = [run.folder.record()["training"].get("seed") for run in group]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"compare: runs of one side need different seeds of training, got {seeds}.")


def _training(run: Run) -> dict[str, Any]:
    """Everything that decides a run, but for its seed."""
    record = run.folder.record()
    training = {key: value for key, value in record["training"].items() if key not in _OF_A_MACHINE}
    return {"recipe": record["recipe"]["recipe"], **record["recipe"]["arguments"], **training, **record["view"]}


def _check_alike(runs: list[Run], rows: list[dict[str, Any]]) -> None:
    for run, row in zip(runs[1:], rows[1:], strict=True):
        if found := differences(rows[0], row):
            told = "; ".join(f"{one.what}: {one.first} and {one.second}" for one in found)
            raise ValueError(
                f"compare: {runs[0].path} and {run.path} were not measured alike, so their numbers must not be "
                f"compared. They differ in {told}. Measure both alike."
            )


def _names(runs: list[Run]) -> list[str]:
    """Names of folders, or whole paths where those are not distinct."""
    names = [run.folder.path.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _groups(groups: list[list[Run]], found: list[_Found]) -> tuple[Side, ...]:
    recipes = [str(group[0].folder.record()["recipe"]["recipe"]) for group in groups]
    if recipes[0] == recipes[1]:
        recipes = [f"{name} ({_names(group)[0]} …)" for name, group in zip(recipes, groups, strict=True)]
    parts = found[: len(groups[0])], found[len(groups[0]) :]
    return tuple(
        Side(name, tuple(row for row, _ in part), np.mean([numbers for _, numbers in part], axis=0))
        for name, part in zip(recipes, parts, strict=True)
    )
