"""What all commands share: their flags, and what is said of a wrong one."""

__all__ = ["Parser", "check_known", "dashed", "importable", "trusted", "unknown_name", "value_of"]

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .._checks import nearest


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are exceptions, and which knows flags by their whole names only."""

    def __init__(self, command: str, about: str, **more: Any) -> None:
        super().__init__(prog=f"fourfold {command}", description=about, allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}. See {self.prog} --help.")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of these words."""
        words = dashed(words)
        check_known(words, self)
        return self.parse_args(words)


def dashed(words: Sequence[str]) -> list[str]:
    """Flags with dashes, however they were written: ``--batch_size=5`` is ``--batch-size=5``."""

    def written(word: str) -> str:
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        return ("--print_config" if name == "--print-config" else name) + equals + value

    return [written(word) if word.startswith("--") else word for word in words]


def check_known(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Refuses a flag that the parser does not have, and names the nearest ones."""
    known = {name for action in parser._actions for name in action.option_strings}
    for word in words:
        name = word.partition("=")[0]
        if re.match(r"--?[a-zA-Z]", name) and name not in known and name[:2] not in known - {"--"}:
            raise ValueError(f"{parser.prog}: {unknown_name('flag', name, known)} See {parser.prog} --help.")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a flag that is not there: the ones it begins, then the nearest; all would be too many."""
    bare = name.lstrip("-")
    names = {one.lstrip("-"): one for one in known if one not in ("-h", "-q", "-n")}
    close = [one for one in sorted(names) if len(bare) > 2 and one.startswith(bare)]
    close += [one for one in nearest(bare, names) if one not in close]
    hint = f" Did you mean {' or '.join(names[one] for one in close[:3])}?" if close else ""
    return f"unknown {kind} {name}.{hint}"


def value_of(words: Sequence[str], flag: str) -> str | None:
    """What follows a flag, before there is a parser."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag:
            value = value if equals else next(iter(words[i + 1 :]), "")
            if not value or value.startswith("-"):
                raise ValueError(f"{flag}: wanted a value after it, got {value or 'nothing'}.")
            return value
    return None


def trusted(text: str | None) -> tuple[str, ...]:
    """The packages named by ``--trust``: they may be imported, from the current folder too."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if names:
        importable()
    return names


def importable() -> None:
    """Lets modules of the current folder be imported: done only where the user names one."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
