"""CPU time and memory of a process, and the memory of the machine. The only module that uses psutil."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """Resource usage of a process at one moment.

    cpu_s: CPU seconds since the process began, user and system, of all threads.
    rss_bytes: resident memory.
    own_bytes: the part of it that is not pages of files, such as libraries, which the system can reclaim at any time; all of
        it if the system does not distinguish.
    """

    cpu_s: float
    rss_bytes: int
    own_bytes: int


class ProcessMeter:
    """Measures one process. pid: None for this one."""

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)

    @property
    def started_at_s(self) -> float:
        """Return when the process began, in seconds since 1970."""
        return float(self._process.create_time())

    def usage(self) -> Usage | None:
        """Return the current usage; None if the process has ended."""
        try:
            with self._process.oneshot():
                times, memory = self._process.cpu_times(), self._process.memory_info()
        except psutil.Error:
            return None
        return Usage(times.user + times.system, memory.rss, memory.rss - getattr(memory, "shared", 0))


def free_memory_bytes() -> int:
    """Return how much memory processes can still take on this machine without swapping."""
    return int(psutil.virtual_memory().available)
