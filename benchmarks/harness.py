"""Run candidates interleaved and compare their times, round by round.

On a shared machine the clock drifts by tens of percent from one minute to the next, so two programs timed one after
the other say little. Here every round runs every candidate once, in an order that rotates; what is read is the median
over rounds of the ratio of two times of the *same* round, so that a slow minute counts on both sides of it, with a
bootstrap interval over rounds.

What it is not: a profiler, nor a judge of times below a millisecond.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "HERE",
    "Absent",
    "Candidate",
    "Protocol",
    "Ratio",
    "Row",
    "candidate",
    "compare",
    "machine",
    "positive",
    "race",
    "ratio",
    "save",
    "save_document",
    "show",
    "timed",
]

HERE = Path(__file__).resolve().parent


class Absent(Exception):
    """A candidate cannot run here, or not to the end; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to time: `run()` does a piece of work and returns its cost in seconds per item; `None` when absent."""

    name: str
    run: Callable[[], float] | None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a race is run and shown: `scale` turns seconds per item into `unit`."""

    rounds: int = 40
    warmup: int = 4
    unit: str = "us/image"
    scale: float = 1e6


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median of ratios, above 1 when the candidate is faster than its base, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one candidate; `times` are in the protocol's unit, one a round."""

    name: str
    absent: str
    median: float | None
    times: tuple[float, ...]
    speedup: dict[str, Ratio]


def candidate(name: str, build: Callable[[], Callable[[], float]]) -> Candidate:
    """Build a candidate; one that raises `Absent` becomes a row which says so.

    Example:
        >>> def missing():
        ...     raise Absent("peer is not installed")
        >>> candidate("peer", missing).absent
        'peer is not installed'
    """
    try:
        return Candidate(name, build())
    except Absent as reason:
        return Candidate(name, None, str(reason))


def timed(piece: Callable[[], object], items: int = 1) -> Callable[[], float]:
    """A function that runs `piece` once and returns its wall time in seconds, divided by `items`."""

    def run() -> float:
        start = time.perf_counter()
        piece()
        return (time.perf_counter() - start) / items

    return run


def positive(text: str) -> int:
    """The argparse type of a count: an integer of at least 1.

    Example:
        >>> positive("3")
        3
    """
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def race(
    candidates: Sequence[Candidate], protocol: Protocol, lost: dict[str, str] | None = None
) -> dict[str, list[float]]:
    """Run the candidates round robin; the costs of the rounds after warm-up, in the protocol's unit.

    One that raises `Absent` in a round has no costs at all; why is put into `lost`, and the others go on.

    Example:
        >>> costs = iter([9.0, 9.0, 1.0, 2.0])  # the first round is the warm-up
        >>> pair = [Candidate("a", lambda: next(costs)), Candidate("b", lambda: next(costs))]
        >>> race(pair, Protocol(rounds=1, warmup=1, scale=1.0))
        {'a': [2.0], 'b': [1.0]}
    """
    if protocol.rounds < 1 or protocol.warmup < 0:
        raise ValueError(f"race: wanted rounds >= 1 and warmup >= 0, got {protocol.rounds} and {protocol.warmup}")
    runners = [(c.name, c.run) for c in candidates if c.run is not None]
    costs: dict[str, list[float]] = {name: [] for name, _ in runners}
    for number in range(protocol.warmup + protocol.rounds):
        # Rotated, so that nobody always inherits the caches and the hot threads of the same neighbour.
        first = number % max(len(runners), 1)
        for name, run in runners[first:] + runners[:first]:
            try:
                cost = run()
            except Absent as reason:
                if lost is None:
                    raise
                lost[name] = str(reason)
                del costs[name]
                runners = [runner for runner in runners if runner[0] != name]
                continue
            if number >= protocol.warmup:
                costs[name].append(cost * protocol.scale)
    return costs


def ratio(base: Sequence[float], other: Sequence[float], resamples: int = 4000, seed: int = 0) -> Ratio:
    """Median over rounds of base / other, with the 95 % percentile interval of a bootstrap over rounds (Efron, 1979).

    Example:
        >>> ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0])
        Ratio(value=2.0, low=2.0, high=2.0)
    """
    if len(base) != len(other) or not base:
        raise ValueError(f"ratio: wanted the same rounds of base and other, got {len(base)} and {len(other)}")
    draw = random.Random(seed)
    each = [b / o for b, o in zip(base, other, strict=True)]
    values = sorted(statistics.median(draw.choices(each, k=len(each))) for _ in range(resamples))
    return Ratio(statistics.median(each), values[int(0.025 * resamples)], values[int(0.975 * resamples)])


def compare(candidates: Sequence[Candidate], bases: Sequence[str], protocol: Protocol) -> list[Row]:
    """Race the candidates and set each against those named in `bases` (a base that is absent gives no ratio)."""
    lost: dict[str, str] = {}
    costs = race(candidates, protocol, lost)
    rows = []
    for c in candidates:
        times = tuple(costs.get(c.name, ()))
        speedup = {base: ratio(costs[base], times) for base in bases if times and base in costs}
        rows.append(
            Row(c.name, c.absent or lost.get(c.name, ""), statistics.median(times) if times else None, times, speedup)
        )
    return rows


def show(title: str, rows: Sequence[Row], bases: Sequence[str], protocol: Protocol) -> None:
    """Print one table: median, range, and speed relative to each base with its interval."""
    wide = max(len(row.name) for row in rows)
    heads = "".join(f"  {'x ' + base:>20}" for base in bases)
    print(f"\n{title} ({protocol.rounds} rounds)\n{'':{wide}}  {protocol.unit:>10}  {'min - max':>15}{heads}")
    for row in rows:
        if row.median is None:
            print(f"{row.name:{wide}}  {row.absent}")
            continue
        cells = (row.speedup.get(base) for base in bases)
        ratios = "".join(f"  {f'{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]' if r else '-':>20}" for r in cells)
        print(f"{row.name:{wide}}  {row.median:10.1f}  {f'{min(row.times):.1f} - {max(row.times):.1f}':>15}{ratios}")


def machine(threads: int | None = None) -> dict[str, object]:
    """What a reader needs to judge a time: processor, cores, memory, versions, load; nothing that names the host."""
    info: dict[str, object] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": threads,
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    for package in ("torch", "fourfold"):
        try:
            info[package] = version(package)
        except PackageNotFoundError:
            info[package] = None
    info["revision"] = _revision()
    return info


def save(
    name: str, tables: dict[str, list[Row]], protocol: Protocol, about: dict[str, object], folder: Path | None
) -> Path:
    """Write one dated JSON with every time of every round (default folder: `results/` beside this file)."""
    rows = {title: [asdict(row) for row in rows] for title, rows in tables.items()}
    return save_document(name, {"protocol": asdict(protocol), **about, "tables": rows}, folder)


def save_document(name: str, content: dict[str, object], folder: Path | None) -> Path:
    """Write one dated JSON: all or nothing of it."""
    target = HERE / "results" if folder is None else folder
    target.mkdir(parents=True, exist_ok=True)
    now = datetime.now().astimezone()
    path = target / f"{now:%Y-%m-%d-%H%M%S}-{name}.json"
    document = {"benchmark": name, "date": now.isoformat(timespec="seconds"), **content}
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(_rounded(document), indent=1) + "\n")
    partial.replace(path)
    print(f"\nwritten: {path.relative_to(HERE.parent) if path.is_relative_to(HERE.parent) else path}")
    return path


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _revision() -> str | None:
    """The git revision of the working tree, marked when it has uncommitted changes; `None` outside a repository."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "describe", "--always", "--dirty"],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
