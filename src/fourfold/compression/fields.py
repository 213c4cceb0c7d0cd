"""What a header says, checked: nothing in a file is believed before it is known to be what it should be."""

__all__ = ["Fields"]

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, final

from .container import ContainerError


@final
class Fields:
    """Entries of a JSON object of a file; each is checked when it is asked for.

    Args:
        entries: the object.
        where: the file, for errors.

    Raises:
        ContainerError: for an entry that is missing, or not what was asked for.

    Example:
        >>> Fields({"n": 3}, "some.ff").whole("n", 1, 10)
        3
    """

    def __init__(self, entries: object, where: str) -> None:
        if not isinstance(entries, Mapping):
            raise ContainerError(f"{where}: wanted a JSON object in its header, got {str(entries)[:60]!r}.")
        self.entries: Mapping[str, Any] = entries
        self._where = where

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.entries.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._refuse(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.entries.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
            self._refuse(name, "a finite number")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.entries.get(name)
        if not isinstance(value, bool):
            self._refuse(name, "true or false")
        return value

    def text(self, name: str, known: Iterable[str] | None = None) -> str:
        """A text; one of the known ones if there are some."""
        value, known = self.entries.get(name), known and list(known)
        if not isinstance(value, str) or (known and value not in known):
            self._refuse(name, f"one of {', '.join(known)}" if known else "a text")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of different texts."""
        value = self.entries.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._refuse(name, "a list of texts")
        if len(set(value)) != len(value):
            self._refuse(name, "a list of different texts")
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """One to four positive whole numbers."""
        value = self.entries.get(name)
        good = isinstance(value, list) and all(type(one) is int and 1 <= one <= 1 << 24 for one in value)
        if not isinstance(value, list) or not good or not 1 <= len(value) <= 4:
            self._refuse(name, "a list of one to four positive whole numbers")
        return tuple(value)

    def pairs(self, name: str) -> list[tuple[int, int]]:
        """A list of pairs of whole numbers."""
        value = self.entries.get(name)
        pairs = [one for one in value if isinstance(one, list)] if isinstance(value, list) else [[]]
        if not all([type(number) for number in pair] == [int, int] for pair in pairs) or len(pairs) != len(value or ()):
            self._refuse(name, "a list of pairs of whole numbers")
        return [(first, second) for first, second in pairs]

    def inner(self, name: str) -> dict[str, Any]:
        """An object within this one."""
        value = self.entries.get(name)
        if not isinstance(value, dict):
            self._refuse(name, "an object")
        return value

    def has(self, name: str) -> bool:
        """Whether there is such an entry, and it is not null."""
        return self.entries.get(name) is not None

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        got = str(self.entries.get(name, "nothing"))[:60]
        raise ContainerError(f"{self._where}: {name}: wanted {wanted}, got {got!r}. It was not written by fourfold.")
