"""The factors of variation of data: what was varied when they were made, as told by a simulator or by a table."""

__all__ = ["Factor"]

from dataclasses import dataclass
from typing import final

from .._checks import choice

_KINDS = ("categorical", "ordinal", "continuous")


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of variation.

    A column of factors holds, of a discrete factor, the *number* of a value, 0 … size − 1, and of a continuous one the
    value itself.

    Args:
        name: such as ``"scale"``.
        kind: ``"categorical"``, values without an order (shape); ``"ordinal"``, a grid of values in their order (scale,
            position); ``"continuous"``, any value from ``low`` to ``high``.
        values: what the numbers stand for, of a discrete factor: names or numbers.
        low: the least value of a continuous factor.
        high: its greatest.
        period: after how many *values* (the numbers of an ordinal factor, units of a continuous one) it comes round to
            where it began; None where it does not. A factor with a period has no first and no last value.

    Raises:
        ValueError: for a kind that there is not; a discrete factor without values; a continuous one without a range; a
            period that is not positive, or of a categorical factor.

    Example:
        >>> Factor("shape", "categorical", values=("square", "ellipse", "heart")).size
        3
    """

    name: str
    kind: str
    values: tuple[str | float, ...] | None = None
    low: float | None = None
    high: float | None = None
    period: float | None = None

    def __post_init__(self) -> None:
        where = f"Factor {self.name!r}"
        choice(self.kind, _KINDS, f"{where}: kind")
        if self.discrete and (not self.values or len(set(self.values)) != len(self.values)):
            raise ValueError(f"{where}: a {self.kind} factor wants values, each once, got {self.values!r}.")
        if not self.discrete and (self.low is None or self.high is None or not self.low < self.high):
            raise ValueError(f"{where}: a continuous factor wants low < high, got {self.low!r} and {self.high!r}.")
        if self.period is not None and (self.kind == "categorical" or not self.period > 0):
            raise ValueError(f"{where}: period must be positive, and no categorical factor has one: {self.period!r}.")

    @property
    def discrete(self) -> bool:
        """Whether it has so many values and no others."""
        return self.kind != "continuous"

    @property
    def size(self) -> int | None:
        """How many values it has; None if continuous."""
        return len(self.values) if self.discrete and self.values else None
