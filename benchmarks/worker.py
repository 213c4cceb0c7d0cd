"""One candidate in a process of its own: `python -m benchmarks.worker`, started by `processes.py`.

It reads one JSON line from stdin that says what to build, answers with one line, and then does one piece of its work
for each line `run` that comes. Whatever candidates print goes to stderr: the pipe carries answers only.

    parent                                         worker
    {"build": "module:name", "arguments": {…}}  →  {"ready": {…}} or {"absent": "why"} or {"failed": "why"}
    run                                         →  {"seconds": what a piece gives} or {"failed": "why"}, and it ends
    end                                         →  {"peak_mib": …}, and it ends
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib.metadata import version
from typing import IO, Any

from benchmarks.harness import Absent
from benchmarks.system import peak_mib

__all__ = ["serve"]


def serve(source: IO[str], sink: IO[str]) -> None:
    """Answers until `end`, a failure, or the end of its input."""

    def say(**answer: Any) -> None:
        sink.write(json.dumps(answer) + "\n")
        sink.flush()

    order = json.loads(source.readline())
    start = time.perf_counter()
    try:
        if order["threads"] < (os.cpu_count() or 1) and hasattr(os, "sched_setaffinity"):
            # XLA has no other switch for its threads; what torch has (OMP_NUM_THREADS) is set by the parent.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: order["threads"]])
        module, name = order["build"].split(":")
        piece = getattr(importlib.import_module(module), name)(**order["arguments"])
    except Absent as reason:
        return say(absent=str(reason))
    except Exception as error:
        return say(failed=_said(error))
    say(ready={"seconds": round(time.perf_counter() - start, 2), **_versions()})
    for line in source:
        if line.strip() == "end":
            return say(peak_mib=peak_mib())
        try:
            say(seconds=piece())
        except Exception as error:
            return say(failed=_said(error))
    return None


def _versions() -> dict[str, str]:
    """Of what the candidate is made of."""
    return {name: version(name) for name in ("torch", "pythae", "jax") if name in sys.modules}


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not speak for the candidate
    serve(sys.stdin, answers)
