"""Several processes that share the members of a sweep, and the one that watches them."""

__all__ = ["Voice", "train_in_processes"]

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch

from ..training import Interrupts
from .folder import RunError
from .sweep_folder import SweepFolder
from .sweeping import Listener

_EVERY = 0.2  # seconds between two reports of steps


class Voice:
    """A worker's reports: a JSON object a line on standard output, steps not more often than five times a second.

    Who reads them may be killed. Then standard input, which is a pipe of the same process and otherwise silent, ends,
    and this process with it: nobody else would, and a sweep that is resumed would meet it in the same folders.
    """

    def __init__(self) -> None:
        self.taken, self.told = 0, time.monotonic()
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()

    def listener(self) -> Listener:
        """Whom the training tells."""
        return Listener(
            steps=self.steps,
            line=lambda text: self.say(line=text),
            ended=lambda name, frozen: self.say(ended=name, frozen=frozen),
        )

    def steps(self, steps: int) -> None:
        """Some more were taken."""
        self.taken += steps
        if time.monotonic() - self.told >= _EVERY:
            self.say()

    def say(self, **event: Any) -> None:
        """A report, with the steps since the last one."""
        print(json.dumps({**event, "steps": self.taken}), flush=True)
        self.taken, self.told = 0, time.monotonic()


def train_in_processes(
    home: Path, share: tuple[int, int], processes: int, told: Listener, trust: tuple[str, ...] = ()
) -> bool:
    """Trains what is left of a share, each process every n-th member of it; whether it was interrupted.

    An interrupt is passed on once: workers save, then end. They are in a group of their own, so that a terminal's
    Ctrl-C does not reach them too, which would be the second one, that does not wait.

    Args:
        home: the sweep's folder.
        share: of it.
        processes: how many.
        told: who is told of progress.
        trust: packages that they may import.

    Raises:
        RunError: when one of them ends otherwise; the others have come to their end by then.
    """
    parts = [(share[0] + share[1] * i, share[1] * processes) for i in range(processes)]
    workers = [_start(home, part, i, processes, trust) for i, part in enumerate(parts)]
    events: Queue[tuple[int, dict[str, Any]]] = Queue()
    readers = [threading.Thread(target=_read, args=(i, one, events), daemon=True) for i, one in enumerate(workers)]
    for reader in readers:
        reader.start()
    stopped = False
    try:
        with Interrupts() as interrupts:
            while any(reader.is_alive() for reader in readers) or not events.empty():
                with suppress(Empty):
                    _tell(*events.get(timeout=_EVERY), processes, told)
                if interrupts.asked and not stopped:
                    stopped = True
                    for one in workers:
                        one.send_signal(signal.SIGINT)
        codes = [one.wait() for one in workers]
    except BaseException:
        for one in workers:
            one.kill()
        raise
    finally:
        for one in workers:
            if one.stdin is not None:
                one.stdin.close()
    # One that was asked to stop before it had begun to train has ended by the signal itself.
    asked = (130, -signal.SIGINT) if stopped else (130,)
    lost = [(i, code) for i, code in enumerate(codes) if code not in (0, *asked)]
    if lost:
        i, code = lost[0]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        raise RunError(
            f"Process {i + 1} of {processes} ended {how}; its own words, if it had any, are above. The others went on "
            f"to their end, and what it had saved is kept. Continue with: fourfold sweep --resume {home}"
        )
    return any(code in asked for code in codes)  # an interrupt may come after the last step


def _end_with(pipe: int) -> None:
    while os.read(pipe, 1):  # not by way of the buffer, whose lock a thread must not hold when the interpreter ends
        pass
    os._exit(1)


def _start(
    home: Path, share: tuple[int, int], i: int, processes: int, trust: tuple[str, ...]
) -> "subprocess.Popen[str]":
    gpus = 0 if SweepFolder(home).record()["training"]["accelerator"] == "cpu" else torch.cuda.device_count()
    beside = -(-processes // gpus) if gpus else processes  # how many share one memory
    words = ["sweep", "--resume", str(home), "--share", f"{share[0] + 1}/{share[1]}", "--worker", str(beside)]
    words += ["--trust", ",".join(trust)] if trust else []
    own = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes))}
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        own["CUDA_VISIBLE_DEVICES"] = seen[i % len(seen)]
    if trust:  # what was imported here is found there
        own["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "fourfold", *words],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | own,
        start_new_session=True,
    )


def _read(i: int, worker: "subprocess.Popen[str]", events: "Queue[tuple[int, dict[str, Any]]]") -> None:
    assert worker.stdout is not None
    with worker.stdout:
        for line in worker.stdout:
            with suppress(ValueError):
                if isinstance(event := json.loads(line), dict):  # a user's code may print what it likes
                    events.put((i, event))


def _tell(i: int, event: dict[str, Any], processes: int, told: Listener) -> None:
    told.steps(event.get("steps", 0))
    if "line" in event:
        told.line(f"process {i + 1} of {processes}: {event['line']}")
    if "ended" in event:
        told.ended(event["ended"], event["frozen"])
