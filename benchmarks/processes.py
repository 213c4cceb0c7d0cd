"""Candidates in processes of their own, raced one at a time by the process that started them.

What one candidate leaves behind (an allocator's state, a pool of threads, a compiler's caches) then helps or hurts no
other. A worker that waits for its turn sleeps in a read and costs nothing. All are started at once and build side by
side, which is in no time; then each round runs each of them once, alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import HERE, Absent, Candidate, Protocol, Row, compare

__all__ = ["Spec", "Worker", "crew", "peers_python", "race_processes"]

_LAST_WORDS = 4096


@dataclass(frozen=True, slots=True)
class Spec:
    """A candidate to be started.

    Args:
        name: of its row.
        build: `module:function`, called in the worker with the arguments; what it returns does one piece of work and
            gives the seconds an item of it took.
        arguments: JSON values, by name.
        peer: whether it runs under the interpreter that has the peers.
        absent: why it is not even started.
    """

    name: str
    build: str
    arguments: dict[str, Any] = field(default_factory=dict)
    peer: bool = False
    absent: str = ""


def peers_python() -> str:
    """The interpreter that has pythae and JAX: `FOURFOLD_BENCH_PYTHON`, by default the one that runs this."""
    return os.environ.get("FOURFOLD_BENCH_PYTHON") or sys.executable


class Worker:
    """The parent's end of one worker.

    Args:
        spec: what it is to build.
        threads: of torch, OpenMP, MKL and, through its affinity, XLA.
        patience: seconds that an answer may take; building can mean compiling.
    """

    def __init__(self, spec: Spec, threads: int, patience: float = 400.0) -> None:
        self.spec, self.patience = spec, patience
        self.facts: dict[str, Any] = {}
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [peers_python() if spec.peer else sys.executable, "-m", "benchmarks.worker"],
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._send(json.dumps({"build": spec.build, "arguments": spec.arguments, "threads": threads}))

    def ready(self) -> None:
        """Waits until it has built.

        Raises:
            Absent: if it cannot.
        """
        self.facts |= self._answer("ready")

    def run(self) -> Any:
        """One piece of work: seconds an item, or what else the piece gives.

        Raises:
            Absent: if it failed, died or did not answer.
        """
        self._send("run")
        return self._answer("seconds")

    def end(self) -> None:
        """Asks for its peak of memory and lets it go; one that does not go is killed."""
        if self._process.poll() is None:
            with contextlib.suppress(Absent):
                self._send("end")
                self.facts["peak_mib"] = self._answer("peak_mib")
        self._stop()
        self._stderr.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the answer that does not come tells of it
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self, wanted: str) -> Any:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], self.patience)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            why = "ended" if readable else f"no answer within {self.patience:g} s"
            self._stop()
            raise Absent(f"{why} (status {self._process.returncode}): {self._last_words()}")
        answer = json.loads(line)
        if wanted in answer:
            return answer[wanted]
        self._stop()
        raise Absent(answer.get("absent") or answer.get("failed") or f"answered {answer}")

    def _last_words(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _LAST_WORDS))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _stop(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def crew(
    specs: Sequence[Spec], threads: int, quiet: bool = False, one_by_one: bool = False
) -> Iterator[dict[str, Worker | str]]:
    """All workers, built and waiting, by name; for one that is absent, why.

    They build side by side, or `one_by_one` where building is timed.
    """
    found: dict[str, Worker | str] = {}
    workers: list[Worker] = []
    try:
        start = time.monotonic()
        for spec in specs:
            if spec.absent:
                found[spec.name] = spec.absent
                continue
            workers.append(Worker(spec, threads))
            found[spec.name] = workers[-1]
            if one_by_one:
                _await(workers[-1], found)
        for worker in workers:
            if not one_by_one:
                _await(worker, found)
        if not quiet:
            print(f"  {len(workers)} workers after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        yield found
    finally:
        for worker in workers:
            worker.end()


def _await(worker: Worker, found: dict[str, Worker | str]) -> None:
    try:
        worker.ready()
    except Absent as reason:
        found[worker.spec.name] = str(reason)


def race_processes(
    specs: Sequence[Spec], bases: Sequence[str], protocol: Protocol, threads: int, quiet: bool = False
) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """Race candidates in processes of their own: their rows; and of each its seconds to build and its peak memory."""
    with crew(specs, threads, quiet) as found:
        field = [
            Candidate(name, None, worker) if isinstance(worker, str) else Candidate(name, worker.run)
            for name, worker in found.items()
        ]
        rows = compare(field, bases, protocol)
    return rows, {name: worker.facts for name, worker in found.items() if isinstance(worker, Worker)}
