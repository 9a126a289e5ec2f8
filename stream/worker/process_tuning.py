"""The C library's allocator and Python's collector, told what kind of process this is."""

from __future__ import annotations

import ctypes
import gc
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20

GC_THRESHOLDS = (100_000, 50, 100)
"""At Python's 700 the collector scans the records in flight, which hold no cycles, hundreds of times a second: measured, a
fifth of the worker's processor time."""


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the next poll: by default it gives fetched megabytes back to the system and takes
    them again, page fault by page fault, at every fetch. Nothing on other C libraries."""
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, 256 * _MIB)
    mallopt(_M_TOP_PAD, 64 * _MIB)


def freeze_what_is_loaded() -> None:
    """Take all that was loaded out of the collector's sight, and have it look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
