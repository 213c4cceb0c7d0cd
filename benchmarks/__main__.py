"""Run every benchmark with its defaults (`make bench`): about twelve minutes on two quiet cores.

A file that is missing, or a benchmark that ends in an error, is named, and the others run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SUITE", "main"]

#: Module → its arguments here. Time to quality, streaming and the memory of importance sampling take longer: by hand.
SUITE: dict[str, list[str]] = {
    "startup": [],
    "training": ["--rounds", "10", "--only", "a20", "a100", "a512", "b", "c100", "d", "e"],
    "profile_step": ["--rounds", "20", "--modes", "eager", "compiled"],
    "evaluation": ["--rounds", "6"],
    "sweep": ["--quick"],
    "coding": [],
    "sampling": [],
    "memory": [],
}

#: What makes a trial of one that has no `--trial`.
_TRIALS = {"sweep": ["--members", "2", "--rounds", "1"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """One after another; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE), metavar="NAME", help=", ".join(SUITE))
    parser.add_argument("--out", type=Path, help="folder of the JSON files (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="as little work as can be: does it run?")
    options = parser.parse_args(arguments)
    out = ["--out", str(options.out)] if options.out else []
    failed, begin = [], time.monotonic()
    for name in options.only:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            print(f"\n{name}: benchmarks/{name}.py is not there")
            continue
        trial = _TRIALS.get(name, ["--trial"]) if options.trial else []
        start = time.monotonic()
        try:
            importlib.import_module(f"benchmarks.{name}").main([*SUITE[name], *out, *trial])
        except (Exception, SystemExit):
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\nall of it: {time.monotonic() - begin:.0f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
