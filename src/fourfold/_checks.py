"""Checks of what a user gives: each says what was wanted, what came, and the fix."""

__all__ = ["choice", "fraction", "may_look", "nearest", "non_negative", "positive", "positive_int", "unknown"]

from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def may_look(tensor: "Tensor") -> bool:
    """Whether its values can be looked at; not while a program is compiled, nor where it stands for one of many."""
    import torch

    batched = torch._C._functorch.is_batchedtensor(tensor)  # type: ignore[attr-defined]
    return not torch.compiler.is_compiling() and not batched


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names most like the given one, best first."""
    return get_close_matches(name, list(known), n=3, cutoff=0.5)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not in a table: the nearest right names, then all of them."""
    known = sorted(known)
    close = nearest(name, known)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}."


def choice(value: T, known: Iterable[T], name: str) -> T:
    """The value, if it is one of the known ones."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{name}: {unknown('value', str(value), [str(k) for k in known])}")
    return value


def positive(value: float, name: str) -> float:
    """The value as a finite number above zero."""
    number = _number(value, name)
    if not (number > 0 and isfinite(number)):
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")
    return number


def non_negative(value: float, name: str) -> float:
    """The value as a finite number of at least zero."""
    number = _number(value, name)
    if not (number >= 0 and isfinite(number)):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")
    return number


def fraction(value: float, name: str) -> float:
    """The value as a number from 0 up to, but not including, 1."""
    number = _number(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}.")
    return number


def positive_int(value: int, name: str) -> int:
    """The value as an integer of at least one."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least 1, got {value!r}.") from None
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return number


def _number(value: float, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}.") from None
