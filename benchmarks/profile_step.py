"""The budget: where the time of a training step goes, in Fourfold's own loop, eager and compiled.

Run with `python -m benchmarks.profile_step`. Clocks are put around the parts of the loop while it trains as always;
each instant belongs to the innermost part that is running, so the parts add up to the whole, and what none of them
claims is the loop itself. A clock costs about a microsecond; `plain` is the step without any. Compiled, the step is
one program, inside which nothing can be told apart.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.harness import Absent, machine, positive, save_document
from benchmarks.ours import MODELS, options_for, prepared_for, settle

__all__ = ["Clock", "PARTS", "main", "profiled"]

DATA, REST = "data: order and rows", "the loop itself"
#: Part → where it is, `module:class.method`; what the compiled step holds inside is not looked into there.
PARTS = {
    "view: bytes to floats, binarising": ("fourfold.data.view:View.forward",),
    "noise": ("fourfold.noise:Noise.draw", "fourfold.noise:Noise.at"),
    "forward: model": ("fourfold.models.vae:VAE.forward",),
    "forward: objective": ("fourfold.objectives.bounds:ELBO.forward",),
    "forward: terms and numbers": ("fourfold.training.step:Step.forward",),
    "backward": ("torch:Tensor.backward", "torch:autograd.grad"),
    "optimiser": ("fourfold.training.course:Actor.update",),
    "numbers of a step kept": ("fourfold.training.meter:Meter.add",),
    "numbers read, metrics.jsonl": ("fourfold.training.loop:Loop._boundary",),
    "gradient: around forward and backward": ("fourfold.training.program:Program.gradient",),
}
_INSIDE = tuple(PARTS)[:6]
_COMPILED = "the compiled step: view, model, objective, backward"


class Clock:
    """Counts time to the innermost part that runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = 0.0

    def enter(self, part: str) -> None:
        """From here on, time is this part's."""
        self._turn()
        self._inside.append(part)

    def leave(self) -> None:
        """Time is the outer part's again."""
        self._turn()
        self._inside.pop()

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted."""

        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                return function(*arguments, **named)
            finally:
                self.leave()

        return counted

    def rows(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that gives an iterator, with the time of each of its rows counted to the data."""

        def counted(*arguments: Any, **named: Any) -> Iterator[Any]:
            rows = function(*arguments, **named)
            try:
                while True:
                    self.enter(DATA)
                    try:
                        row = next(rows)
                    except StopIteration:
                        return
                    finally:
                        self.leave()
                    yield row
            finally:
                rows.close()

        return counted

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now


def _install(clock: Clock, compiled: bool) -> list[str]:
    """Puts clocks around what there is, and names what there is not."""
    missing = []
    for part, places in PARTS.items():
        if compiled and part in _INSIDE and part != "noise":  # noise is drawn outside the program
            continue
        label = _COMPILED if compiled and part.startswith("gradient") else part
        for place in places:
            module, path = place.split(":")
            try:
                *owners, name = path.split(".")
                owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
                setattr(owner, name, clock.around(label, getattr(owner, name)))
            except (ImportError, AttributeError):
                missing.append(place)
    from fourfold.data.feeds import Feed

    Feed.batches = clock.rows(Feed.batches)  # type: ignore[method-assign]
    return missing


def profiled(mode: str, batch: int, steps: int, rounds: int, clocks: bool = True) -> dict[str, Any]:
    """Microseconds of a step by part, the medians over rounds of `steps` steps; in this process, which it changes."""
    settle()
    from benchmarks.loops import images_of
    from fourfold.training import Job, intervals, launch

    options = options_for(mode, batch_size=batch, log_steps=steps, accelerator="cpu")
    clock = Clock()
    missing = _install(clock, mode in ("compiled", "bf16")) if clocks else []
    prepared, data = prepared_for("vae", images_of(MODELS["vae"][2], batch), options)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(prepared.step, data.train, None, options, Path(folder), quiet=True, stages=prepared.stages)
        loop = intervals(job, launch(options))
        done = next(loop).step  # start-up, and compiling
        found: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            clock.seconds.clear()
            clock.enter(REST)
            start = time.perf_counter()
            now = next(loop).step
            seconds, trained, done = time.perf_counter() - start, now - done, now
            clock.leave()
            for part in (DATA, *PARTS, _COMPILED, REST):
                found[part].append(1e6 * clock.seconds.get(part, 0.0) / trained)
            found["the whole step"].append(1e6 * seconds / trained)
        cast(Generator[Any], loop).close()
    medians = {part: statistics.median(times) for part, times in found.items()}
    return {"parts": {part: value for part, value in medians.items() if value}, "missing": missing}


def _child(mode: str, clocks: bool, size: list[int]) -> dict[str, Any]:
    """The same in a process of its own."""
    import json

    words = ["--child", mode, "--batch", str(size[0]), "--steps", str(size[1]), "--rounds", str(size[2])]
    words += ["--threads", str(size[3]), *([] if clocks else ["--plain"])]
    command = [sys.executable, "-m", "benchmarks.profile_step", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Absent((done.stderr.strip().splitlines() or ["no message"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def _print(mode: str, found: dict[str, Any]) -> None:
    whole = found["parts"]["the whole step"]
    print(f"\n| {mode} | µs a step | % |\n|---|---|---|")
    for part in (DATA, *PARTS, _COMPILED, REST, "the whole step"):
        if part in found["parts"]:
            value = found["parts"][part]
            print(f"| {part} | {value:,.0f} | {100 * value / whole:.0f} |")
    print(f"| the same without clocks | {found['plain']:,.0f} | |")
    if found["missing"]:
        print(f"not in this version: {', '.join(found['missing'])}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, measure each mode in a process of its own, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--batch", type=positive, default=100)
    parser.add_argument("--steps", type=positive, default=50, help="of a round")
    parser.add_argument("--rounds", type=positive, default=40)
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled", "bf16"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one round of two steps: does it run?")
    options = parser.parse_args(arguments)
    if options.trial:
        options.batch, options.steps, options.rounds = 4, 2, 1
    if options.child:
        import json

        import torch

        torch.set_num_threads(options.threads)
        print(json.dumps(profiled(options.child, options.batch, options.steps, options.rounds, not options.plain)))
        return
    before, tables = machine(options.threads), {}
    for mode in options.modes:
        size = [options.batch, options.steps, options.rounds, options.threads]
        try:
            tables[mode] = _child(mode, True, size)
            tables[mode]["plain"] = _child(mode, False, size)["parts"]["the whole step"]
        except Absent as reason:
            print(f"\n{mode}: {reason}")
            continue
        _print(mode, tables[mode])
    about = {"batch": options.batch, "steps": options.steps, "rounds": options.rounds, "trial": options.trial}
    save_document("profile", {**about, "machine": before, "modes": tables}, options.out)


if __name__ == "__main__":
    main()
