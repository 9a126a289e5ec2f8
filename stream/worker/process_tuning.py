"""Tuning of the interpreter, the C library's memory allocator and Python's garbage collector for the worker."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20

GC_THRESHOLDS = (100_000, 50, 100)
"""With Python's default of 700, the collector scans the records in flight, which contain no cycles, hundreds of times per
second. Measured: a fifth of the worker's CPU time."""

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may hold the interpreter lock while another waits. With Python's default of 5 ms, the model would wait 5 ms
after each operator, when it takes the lock back, while the event loop decodes."""


def tune_process() -> None:
    """Tune the interpreter and the allocator for a worker."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next poll. Does nothing with other C libraries.

    By default glibc returns fetched megabytes to the system and gets them back, page fault by page fault, at every fetch.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, 256 * _MIB)
    mallopt(_M_TOP_PAD, 64 * _MIB)


def freeze_loaded_objects() -> None:
    """Exclude all loaded objects from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
