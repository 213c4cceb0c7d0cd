"""What is asked of the operating system: the peak of this process's memory, and an allocator that keeps its pages."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

__all__ = ["keep_pages", "peak_mib"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def peak_mib() -> float | None:
    """The peak of resident memory in MiB; `None` where there is no /proc.

    Not `ru_maxrss`: that begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def keep_pages() -> bool:
    """Has glibc keep freed memory, up to 1 GiB of blocks below 32 MiB (it takes no larger ones), for the next step.

    By default it goes back to the kernel and is faulted in again. For the loops that show what is possible: Fourfold's
    command has settings of its own.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, 32 << 20)) and bool(libc.mallopt(_TRIM_THRESHOLD, 1 << 30))
