"""Several processes that train one model end together: when one is lost, the others say so and end too."""

__all__ = ["Together", "WorkerLost", "supervise", "together"]

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GRACE = 10.0  # seconds in which a process finds out by itself, from the connection, that another is gone
_CONNECTION = re.compile(
    r"gloo|nccl|connection (was )?(closed|reset|refused|aborted)|socket|broken pipe|timed? ?out", re.IGNORECASE
)


class WorkerLost(RuntimeError):
    """Another process of the same run has gone."""


@dataclass
class Together:
    """What there is to say if one is lost.

    Attributes:
        home: the run folder, once it is known.
        lost: who has gone and how, as the process that started them sees it.
        waiting: whether this process may be waiting for the others.
    """

    home: str | None = None
    lost: str = "another process of this run has ended, or cannot be reached"
    waiting: bool = False

    def said(self, rank: int, world: int) -> str:
        """The message, with what to do."""
        text = f"Process {rank} of {world} stopped: {self.lost}; its own words, if it had any, are above."
        if self.home is None:
            return f"{text} Nothing was trained."
        kept = (Path(self.home) / "checkpoints" / "last.safetensors").exists()
        state = "The last checkpoint is whole" if kept else "There is no checkpoint yet: it begins again"
        return f"{text} {state}. Continue with: fourfold train --resume {self.home}"


_STATE = Together()


@contextmanager
def together(fabric: Any) -> Iterator[Together]:
    """What several processes do in step: the error of a broken connection becomes one that says what has happened.

    Raises:
        WorkerLost: when another process has gone.
    """
    _STATE.home, _STATE.waiting = None, True
    if fabric.world_size == 1:
        yield _STATE
        return
    try:
        yield _STATE
    except RuntimeError as error:
        if isinstance(error, WorkerLost) or not _CONNECTION.search(f"{type(error).__name__}: {error}"):
            raise
        if "TORCHELASTIC_RUN_ID" in os.environ and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which would end this one before its last word
        else:
            time.sleep(1.0)  # until whoever watches the processes has seen which
        raise WorkerLost(_STATE.said(fabric.global_rank, fabric.world_size)) from error
    finally:
        _STATE.waiting = False


def supervise(fabric: Any) -> None:
    """Watches the processes that this one has started; does nothing where a launcher such as torchrun does so.

    A process that waits for a lost one may wait for long: Gloo sees a closed connection at once, NCCL may not. Ten
    seconds after a loss all are ended. The engine's own watch is relieved: it kills this process too, without a word.
    """
    children: list[subprocess.Popen[bytes]] = list(getattr(fabric.strategy.launcher, "procs", ()))
    if not children:
        return
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            thread._child_processes = []  # type: ignore[attr-defined]
    _STATE.waiting = True
    threading.Thread(target=_watch, args=(children, fabric.world_size), daemon=True, name="fourfold-watch").start()
    atexit.register(_dismiss, children)


def _watch(children: list[subprocess.Popen[bytes]], world: int) -> None:
    while True:
        time.sleep(0.25)
        codes = [child.poll() for child in children]
        if all(code == 0 for code in codes):
            return
        if any(codes):
            break
    rank, code = next((i, code) for i, code in enumerate(codes, 1) if code)
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    _STATE.lost = f"process {rank} has ended {how}"
    time.sleep(_GRACE)
    for child in children:
        child.kill()
    if _STATE.waiting:  # for one that will not come: no exception reaches the main thread there
        print(f"fourfold: error: {_STATE.said(0, world)}", file=sys.stderr, flush=True)
        os._exit(1)


def _dismiss(children: list[subprocess.Popen[bytes]]) -> None:
    """After a loss nobody is left waiting."""
    if not any(child.poll() for child in children):
        return
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE / 2)
        child.kill()
