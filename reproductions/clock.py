"""CPU seconds of long work, over all its slices, those that were killed too."""

__all__ = ["Clock"]

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourfold._files import whole


class Clock:
    """Adds up, in a file, the CPU seconds that processes spent: all their threads, and work that was lost as well.

    Args:
        file: where they are kept; of one process at a time.
        every: seconds between two writings: so many are missing where a process was killed.
    """

    def __init__(self, file: Path, every: float = 5.0) -> None:
        self._file, self._every = file, every

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """The time of this block goes to this account."""
        before, start, over = self._kept(), time.process_time(), threading.Event()

        def write() -> None:
            spent = before.get(what, 0.0) + time.process_time() - start
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with whole(self._file) as file:
                file.write(json.dumps({**before, what: round(spent, 2)}).encode())

        def writing() -> None:
            while not over.wait(self._every):
                write()

        thread = threading.Thread(target=writing, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            write()

    def said(self) -> dict[str, float]:
        """What goes into a protocol: ``training_cpu_seconds`` and the like."""
        return {f"{what}_cpu_seconds": round(seconds, 1) for what, seconds in self._kept().items()}

    def _kept(self) -> dict[str, float]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}
