"""Run every benchmark with its defaults (`make bench`): about ten minutes on two quiet cores."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Sequence

__all__ = ["SUITE", "main"]

#: Module → its arguments here. Time to quality, and the memory of importance sampling, take minutes more: by hand.
SUITE: dict[str, list[str]] = {
    "startup": [],
    "training": [],
    "profile_step": ["--modes", "eager", "compiled"],
    "evaluation": [],
    "sweep": [],
    "coding": [],
    "sampling": [],
    "memory": [],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """One after another; a module that is not there says so, and the others run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE), metavar="NAME", help=", ".join(SUITE))
    for name in parser.parse_args(arguments).only:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            print(f"\n{name}: benchmarks/{name}.py is not there")
            continue
        importlib.import_module(f"benchmarks.{name}").main(SUITE[name])


if __name__ == "__main__":
    main()
