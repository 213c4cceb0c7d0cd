"""Peaks of memory: training by the `fourfold` command, above an interpreter that has torch.

Run with `python -m benchmarks.memory` (Linux). Each figure is the peak of resident memory (VmHWM) of a process of its
own, less that of `python -c "import torch"`. A compiler's helpers are processes of their own and are not in it. What a
feed of data larger than memory needs is measured by `benchmarks/streaming.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Absent, machine, save_document
from benchmarks.system import peak_mib

__all__ = ["LIMIT", "main", "peak_of"]

LIMIT = 1.2e9 / 2**20  # MiB: the goal
_VAE = ["vae", "--latent", "50", "--hidden", "200,200", "--activation", "tanh"]
_TRAIN = {
    "train vae": _VAE,
    "train vae --no-report": [*_VAE, "--no-report"],
    "train vae --compile on": [*_VAE, "--no-report", "--compile", "on"],
    "train iwae, 50 draws": ["iwae", *_VAE[1:], "--no-report"],
}


def _child(task: list[str]) -> None:
    """In the process that is measured: do it, and print the peak as the last line."""
    if task[0] == "torch":
        import torch  # noqa: F401
    else:
        from fourfold.cli import main as command

        if status := command(task):
            raise SystemExit(status)
    print(peak_mib())


def peak_of(*task: str) -> float:
    """Peak in MiB of a process that imports torch (`torch`), or does what the `fourfold` command does with the words.

    Raises:
        Absent: if it fails.
    """
    words = [sys.executable, "-m", "benchmarks.memory", "--child", json.dumps(task)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Absent(f"{task[0]}: ended with status {done.returncode}: {last}")
    return float(done.stdout.split()[-1])


def training(data: str, epochs: str, names: Sequence[str]) -> dict[str, float | str]:
    """MiB above the interpreter with torch, of each command; for one that failed, why."""
    base = peak_of("torch")
    print(f"\npeak resident memory, data {data}\n{'python, import torch':28}{base:8.0f} MiB", flush=True)
    found: dict[str, float | str] = {"import torch": base}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                more = ["--data", data, "--epochs", epochs, "--quiet", "--out", f"{folder}/run"]
                peak = peak_of("train", *_TRAIN[name], *more) - base
            except Absent as reason:
                found[name] = str(reason)
                print(f"{name:28}{reason}", flush=True)
                continue
        found[name] = peak
        print(f"{name:28}{peak:+8.0f} MiB  ({'within' if peak <= LIMIT else 'above'} {LIMIT:,.0f})", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="mnist needs its files; digits are always there")
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--only", nargs="+", choices=_TRAIN, default=list(_TRAIN), metavar="NAME")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="a tenth of an epoch of digits: does it run?")
    options = parser.parse_args(arguments)
    if options.child:
        _child(options.child)
        return 0
    if peak_mib() is None:
        print("memory: absent: peaks are read from /proc, which this system has not")
        return 2
    before = machine()
    data, epochs = ("digits", "0.1") if options.trial else (options.data, options.epochs)
    found = training(data, epochs, options.only)
    about = {"data": data, "epochs": epochs, "limit_mib": LIMIT, "trial": options.trial, "machine": before}
    save_document("memory", {**about, "above_torch_mib": found}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
