"""A number with its protocol."""

__all__ = ["Row", "table"]

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from .._metrics import metric_of, rounded


@dataclass(frozen=True, slots=True)
class Row:
    """One result: a value, and everything needed to compare it with another.

    A mean over data that are not all finite is not finite either: nothing is left out of it, ``non_finite`` says how
    many there are, and in JSON the value is the text ``"inf"``, ``"-inf"`` or ``"nan"``.

    Args:
        metric: what it is: ``"elbo"``, ``"nll_is"``, …
        value: the value, with the sign that the metric's name says.
        unit: ``"nats"``, ``"bits/dim"``, …
        standard_error: of the value, over the data; ``None`` where it is not a mean of at least two finite numbers.
        estimator: how it was estimated, with the budget.
        n: how many data it is of.
        protocol: dataset, split, binarisation, seed, parameters, steps, wall time, device, version, …: anything that
            JSON can hold.
        non_finite: how many of the n numbers (for active units: of the variances) are not finite.

    Raises:
        ValueError: a value that is not finite although no datum is said to be so; a protocol that JSON cannot hold.

    Example:
        >>> row = Row("elbo", -98.13, "nats", 0.21, "1 draw, analytic KL", 10_000, {"data": "mnist"})
        >>> Row.from_dict(row.to_dict()) == row
        True
        >>> print(table([row]))
        −ELBO  98.13 ± 0.21 nats  n = 10000  1 draw, analytic KL
    """

    metric: str
    value: float
    unit: str
    standard_error: float | None
    estimator: str
    n: int
    protocol: dict[str, Any] = field(default_factory=dict)
    non_finite: int = 0

    def __post_init__(self) -> None:
        if not isfinite(self.value) and not self.non_finite:
            raise ValueError(f"Row: {self.metric} is {self.value}, but non_finite is 0. Say how many are not finite.")
        if self.standard_error is not None and not isfinite(self.standard_error):
            raise ValueError(f"Row: the standard error of {self.metric} is {self.standard_error}. Give None.")
        try:
            protocol = json.loads(json.dumps(self.protocol, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"Row: the protocol of {self.metric} must be what JSON can hold: {error}.") from None
        object.__setattr__(self, "protocol", protocol)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON takes it."""
        value = self.value if isfinite(self.value) else str(self.value)
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"value": value}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Row":
        """The row that ``to_dict`` made these entries of."""
        names = {f.name for f in fields(cls)}
        if set(entries) != names:
            missing, foreign = sorted(names - set(entries)), sorted(set(entries) - names)
            raise ValueError(f"Row.from_dict: missing {missing}, unknown {foreign}. Was it written by to_dict?")
        return cls(**{**entries, "value": float(entries["value"])})


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text, one a line: what it is, the value ± its standard error, n, and the estimator.

    The ELBO is shown as −ELBO. Values show two digits of their standard error; without one they show four
    digits, and whole numbers all.
    """
    cells = [_cells(row) for row in rows]
    wide = [max((len(line[i]) for line in cells), default=0) for i in range(3)]
    return "\n".join(
        f"{label:<{wide[0]}}  {value:<{wide[1]}}  {n:<{wide[2]}}  {estimator}" for label, value, n, estimator in cells
    )


def _cells(row: Row) -> tuple[str, str, str, str]:
    metric = metric_of(row.metric)
    value, error = rounded(metric.sign * row.value, row.standard_error)
    shown = f"{value} ± {error}" if error else value
    broken = f" ({row.non_finite} not finite)" if row.non_finite else ""
    return metric.label, f"{shown} {row.unit}".rstrip(), f"n = {row.n}{broken}", row.estimator
