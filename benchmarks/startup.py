"""How long the commands that need no model take to answer, each in a process of its own.

Run with `python -m benchmarks.startup`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Absent, Protocol, candidate, compare, machine, positive, save, show, timed

__all__ = ["main"]

BASE = "python -c pass"


def answer(command: list[str]) -> Callable[[], float]:
    """Time a command from its start to its exit; one that fails at the first try is no candidate."""
    trial = subprocess.run(command, capture_output=True, text=True, check=False)
    if trial.returncode:
        last = (trial.stderr.strip().splitlines() or ["no message"])[-1]
        raise Absent(f"ended with status {trial.returncode}: {last}")
    return timed(lambda: subprocess.run(command, capture_output=True, check=True))


def imported() -> Callable[[], float]:
    """Time `import fourfold`."""
    if importlib.util.find_spec("fourfold") is None:
        raise Absent("not installed (pip install -e .)")
    return answer([sys.executable, "-c", "import fourfold"])


def fourfold(*arguments: str) -> Callable[[], float]:
    """Time the installed `fourfold` script, as a user starts it."""
    script = Path(sys.executable).with_name("fourfold.exe" if os.name == "nt" else "fourfold")
    if not script.is_file():
        raise Absent("not installed (pip install -e .)")
    return answer([str(script), *arguments])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one round: does it run?")
    options = parser.parse_args(arguments)
    protocol = Protocol(1 if options.trial else options.rounds, warmup=1, unit="ms", scale=1e3)
    before = machine()
    field = [
        candidate(BASE, lambda: answer([sys.executable, "-c", "pass"])),
        candidate("python -c 'import torch'", lambda: answer([sys.executable, "-c", "import torch"])),
        candidate("python -c 'import fourfold'", imported),
        candidate("fourfold --help", lambda: fourfold("--help")),
        candidate("fourfold --version", lambda: fourfold("--version")),
        candidate("fourfold recipes", lambda: fourfold("recipes")),
    ]
    rows = compare(field, [BASE], protocol)
    show("start-up", rows, [BASE], protocol)
    save("startup", {"start-up": rows}, protocol, {"trial": options.trial, "machine": before}, options.out)


if __name__ == "__main__":
    main()
