"""Long work in slices: it stops when its time is up, goes on where it stood, and is done by one process at a time."""

__all__ = ["Limit", "OutOfTime", "held", "trained"]

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import fourfold as ff
from fourfold.plan import Plan
from fourfold.runs import Run, resume


class OutOfTime(KeyboardInterrupt):
    """The slice is over; everything is saved."""


class Limit:
    """A slice of time: training is stopped as by Ctrl-C when it is over, which saves and loses nothing.

    Args:
        minutes: of the slice; ``None`` is as long as it takes.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() >= self._end

    def check(self) -> None:
        """Raises ``OutOfTime`` when the time is up."""
        if self.over:
            raise OutOfTime

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.check()
        raise KeyboardInterrupt

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """What is within is interrupted when the time is up, and ``OutOfTime`` raised; another Ctrl-C is a Ctrl-C."""
        self.check()
        if self._end is None:
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)  # a program in the background may ignore Ctrl-C
        timer = threading.Timer(self._end - time.monotonic(), signal.raise_signal, [signal.SIGINT])
        timer.daemon = True
        timer.start()
        try:
            yield
        except KeyboardInterrupt:  # the one with which fit ends when it was interrupted
            self.check()
            raise
        finally:
            timer.cancel()
            signal.signal(signal.SIGINT, before)


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """A lock by this file: whether this process has it. The system gives it back when a process ends, however it ends.

    Where the system has no such lock (Windows), every process has it: run one at a time there.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def trained(folder: Path, plan: Plan, data: ff.DataSet, limit: Limit, epochs: float, **options: Any) -> Run:
    """The finished run of this folder: started, or taken up from its last checkpoint.

    Raises:
        ValueError: for a folder trained with another recipe, other data or other options: numbers would mix.
        OutOfTime: when the slice is over; the state is saved.
    """
    record = folder / "run.json"
    if record.exists() and not record.stat().st_size:
        shutil.rmtree(folder)  # killed while it was being made
    with limit.stopping():
        if not record.exists():
            return ff.fit(plan, data, out=folder, epochs=epochs, **options)
        before = json.loads(record.read_text())["training"]["epochs"]
        if before != epochs:
            raise ValueError(f"{folder} was trained for {before} epochs, wanted {epochs}: name another folder.")
        return resume(folder, data, recipe=plan, epochs=epochs, **options)
