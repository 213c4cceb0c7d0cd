"""The process that is ours alone: what the command sets for itself, and a library leaves to its host."""

__all__ = ["settle"]

import os

from ._checks import choice

_SWITCH = "FOURFOLD_MALLOC"
_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_LARGEST_MMAP = 32 << 20  # glibc refuses more
_KEPT = 1 << 30


def settle() -> bool:
    """Has glibc keep the memory that a training step gives back, since the next step asks for as much again.

    By default every tensor above a few hundred KiB goes back to the kernel when it is freed, and is faulted in again,
    page by page, when it is next asked for: up to a third of a step with large temporaries. With both thresholds of
    ``mallopt`` raised, blocks below 32 MiB stay with the process, up to 1 GiB of them. Its memory at rest is larger for
    it; its peak is not.

    It is called by the ``fourfold`` command alone, never on import. ``FOURFOLD_MALLOC=default`` leaves the allocator as
    it is, and so does whoever has set glibc's own variables; without glibc nothing happens.

    Returns:
        Whether the thresholds were set.

    Raises:
        ValueError: another value of ``FOURFOLD_MALLOC``.
    """
    if choice(os.environ.get(_SWITCH) or "raised", ("raised", "default"), _SWITCH) == "default" or _chosen():
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ImportError, OSError, ValueError):
        return False
    # glibc stops moving the mmap threshold by itself once either is set, so one alone would be worse than none.
    return bool(mallopt(_MMAP, _LARGEST_MMAP)) and bool(mallopt(_TRIM, _KEPT))


def _chosen() -> bool:
    """Whether the user has settled the allocator already."""
    own = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"} & os.environ.keys()
    return bool(own) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
