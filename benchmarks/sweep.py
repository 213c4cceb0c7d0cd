"""Many models at once: K members as one program against the same K trained one after another.

Run with `python -m benchmarks.sweep` (`--threads 1` or `2`; `--compiled` adds the compiled program, which takes its
compiler some 15 s for each K; `--quick` for a look). Members are beta-VAEs 64-64-10 on scikit-learn's digits (8 x 8,
dynamically binarised), batch 64, Adam, each with a seed, an order, noise and a beta of its own. One after another is
our own `train` loop, step by step: a turn of the race takes some steps of all members together, and some of one member
alone, whose time is counted K times. Both sides draw the same noise and read the same rows.

Then networks of 784-200-20, for which one program of all loses on a CPU, and what `auto` makes of it: the whole of
`train_several` against the whole of `train`, K times, validation and checkpoints included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Candidate, Protocol, Row, compare, machine, positive, ratio, save, show

__all__ = ["main"]

SMALL, WIDE = {"latent": 10, "hidden": (64,)}, {"latent": 20, "hidden": (200,)}
TOGETHER, COMPILED, AFTER = "together", "together, compiled", "one after another"


def digits(width: int) -> Any:
    """Scikit-learn's digits, 8 x 8, or enlarged to 784 pixels: only the size counts here."""
    import numpy as np

    import fourfold as ff

    data = ff.data.digits()
    if width == 64:
        return data
    x = np.pad(np.kron(data.train.x, np.ones((1, 1, 3, 3), np.uint8)), ((0, 0), (0, 0), (2, 2), (2, 2)))
    return ff.data.from_arrays(x, data.train.labels)


def jobs_of(data: Any, arguments: dict[str, Any], count: int, options: Any, home: Path | None = None) -> list[Any]:
    """Members with a seed and a beta each."""
    import fourfold as ff
    from fourfold.runs.prepare import prepare
    from fourfold.training import Job

    made = []
    for i in range(count):
        own = options.but(seed=i)
        ready = prepare(ff.recipes.beta_vae(beta=1.0 + i / 8, **arguments), data, own)
        folder = None if home is None else home / str(i)
        if folder is not None:
            folder.mkdir(parents=True)
        made.append(Job(ready.step, data.train, data.validation, own, folder, quiet=True, stages=ready.stages))
    return made


def as_one(jobs: list[Any], fabric: Any, steps: int, compiled: bool) -> Callable[[], float]:
    """Seconds of one step of all members."""
    from fourfold.training.members import Members
    from fourfold.training.pace import Pace

    members = Members(jobs, fabric, measured=False)
    for loop in members.loops:
        loop.step.train()
    members.prepare()
    members.pace = Pace("off", None, "together")
    members.stack.compiled = compiled

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            members.advance()
        spent = time.perf_counter() - started
        members.numbers.clear()
        members.steps.clear()
        return spent / steps

    run()
    return run


def one_after_another(job: Any, count: int, fabric: Any, steps: int) -> Callable[[], float]:
    """Seconds of one step of so many members, by the steps of one of them."""
    from fourfold.training.pace import single_step

    taken = single_step(job, fabric, time.perf_counter)
    assert taken is not None

    def run() -> float:
        return count * sum(taken() for _ in range(steps)) / steps

    return run


def race_of(width: int, arguments: dict[str, Any], count: int, options: argparse.Namespace) -> list[Row]:
    """One table."""
    from fourfold.training import Training, launch

    data = digits(width)
    training = Training(epochs=10**6, batch_size=64, quiet=True, compile="off", log_steps=10**6)
    fabric = launch(training)
    steps = options.steps
    together = as_one(jobs_of(data, arguments, count, training), fabric, steps, False)
    alone = one_after_another(jobs_of(data, arguments, 1, training)[0], count, fabric, 4 * steps)
    candidates = [Candidate(AFTER, alone), Candidate(TOGETHER, together)]
    if options.compiled:
        fast = as_one(jobs_of(data, arguments, count, training), fabric, steps, True)
        candidates.append(Candidate(COMPILED, fast))
    return compare(candidates, [AFTER], options.protocol)


def whole(width: int, arguments: dict[str, Any], count: int, epochs: int, options: argparse.Namespace) -> list[Row]:
    """Whole trainings, with everything that belongs to them, `auto` deciding."""
    from fourfold.training import Told, Training, launch, train, train_several

    data = digits(width)
    training = Training(epochs=epochs, batch_size=64, quiet=True)
    fabric = launch(training)
    times: dict[str, list[float]] = {AFTER: [], "train_several": []}
    for number in range(options.whole + 1):
        for name in times:
            with tempfile.TemporaryDirectory() as home:
                jobs = jobs_of(data, arguments, count, training, Path(home))
                lines: list[str] = []
                started = time.perf_counter()
                if name == AFTER:
                    for job in jobs:
                        train(job, fabric)
                else:
                    train_several(jobs, fabric, Told(line=lines.append))
                if number:
                    times[name].append((time.perf_counter() - started) * 1e3)
                elif lines:
                    print(f"\nauto, {count} of {width}-{arguments['hidden'][0]}: {lines[0]}", flush=True)
    speedup = {name: {AFTER: ratio(times[AFTER], values)} for name, values in times.items()}
    return [Row(name, "", statistics.median(v), tuple(v), speedup[name]) for name, v in times.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--members", type=positive, nargs="+", default=[16, 50, 64])
    parser.add_argument("--rounds", type=positive, default=20)
    parser.add_argument("--steps", type=positive, default=5, help="of all members, in each turn")
    parser.add_argument("--whole", type=positive, default=2, help="whole trainings of each kind")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; no whole trainings")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    options.protocol = Protocol(5 if options.quick else options.rounds, 1, "ms/step", 1e3)
    about: dict[str, object] = {"machine": machine(options.threads), "batch": 64, "compiled": options.compiled}
    tables: dict[str, list[Row]] = {}
    for count in options.members:
        tables[f"{count} of 64-64-10"] = race_of(64, SMALL, count, options)
    tables["16 of 784-200-20"] = race_of(784, WIDE, 16, options)
    for title, rows in tables.items():
        show(title, rows, [AFTER], options.protocol)
    if not options.quick:
        of_all = Protocol(options.whole, 1, "ms in all", 1e3)
        for width, made, count, epochs in ((64, SMALL, 50, 6), (784, WIDE, 8, 20)):
            title = f"whole trainings: {count} of {width}-{made['hidden'][0]}-{made['latent']}, {epochs} epochs"
            tables[title] = whole(width, made, count, epochs, options)
            show(title, tables[title], [AFTER], of_all)
    save("sweep", tables, options.protocol, about, options.out)


if __name__ == "__main__":
    main()
